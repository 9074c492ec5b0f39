"""Workers in processes of their own, and what the dispatcher makes of their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom import dispatch
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import duties

ROOT = Path(__file__).parents[1]
DRIVER = Path(__file__).with_name("worker_driver.py")
PATIENCE = 120.0


@dataclass(frozen=True)
class Doing:
    """What a worker is to do."""

    work: str  # a key of `worker_driver.WORK`
    tenant: Tenant
    row: uuid.UUID
    at: tuple[str, str] | None = None  # ("module:function", "before" or "after"): stand still there
    upload_kib: int | None = None  # per second
    lease: float | None = None  # seconds, instead of a minute


class Worker:
    """A running worker."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hear(self, *words: str) -> str:
        """Wait for one of these words; log lines between are passed over."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("#") and line[1:].strip() in words:
                return line[1:].strip()
        raise AssertionError("the worker ended without a word:\n" + "".join(lines[-40:]))

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        assert until(lambda: not self.children())

    def stop(self) -> None:
        """As if the whole host stood still: the worker and all that it started."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def children(self) -> list[int]:
        """Processes it started, by the session that they share with it."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and int(entry.name) != self.process.pid:
                found.append(int(entry.name))
        return found

    def _signal(self, number: signal.Signals) -> None:
        for pid in [self.process.pid, *self.children()]:
            os.kill(pid, number)


@contextmanager
def working(runtime: Runtime, doing: Doing) -> Iterator[Worker]:
    """A worker that has started; it is gone, with its children, after the block."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
    )
    worker = Worker(process)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(_told(runtime, doing)) + "\n")
        process.stdin.flush()
        worker.hear("started")
        yield worker
    finally:
        for pid in [process.pid, *worker.children()]:
            if process.poll() is None or pid != process.pid:
                os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)


def killed(runtime: Runtime, doing: Doing, *, when: Callable[[], bool] | None = None) -> None:
    """Run a worker and kill it where it stands still, or as soon as `when` holds."""
    with working(runtime, doing) as worker:
        if when is None:
            worker.hear("reached")
        else:
            assert until(when)
        assert worker.process.poll() is None
        worker.kill()


def _told(runtime: Runtime, doing: Doing) -> dict[str, Any]:
    known = runtime.settings
    return {
        "settings": {
            "databases": {str(role): url for role, url in known.databases.items()},
            "broker": known.broker,
            "regions": {n: [c.access_key, c.secret_key] for n, c in known.regions.items()},
            "keys": str(known.keys),
            "work": str(known.work),
            "restic": known.restic,
            "small_bytes": known.small_bytes,
        },
        "work": doing.work,
        "tenant": str(doing.tenant.id),
        "row": str(doing.row),
        "at": doing.at,
        "upload_kib": doing.upload_kib,
        "lease": doing.lease,
    }


def reap(runtime: Runtime) -> list[Any]:
    """What the next round of a dispatcher puts back, without waiting for a lease to end."""
    put_back = []
    with runtime.database.session(Role.DISPATCHER) as session:
        for due in duties.DUES:
            if due.leased:
                for row in dispatch.find_lost(session, due.kind):
                    dispatch.put_back(session, row, now=runtime.now())
                    put_back.append(row)
    return put_back


def until(holds: Callable[[], bool], *, seconds: float = PATIENCE) -> bool:
    """Ask until it holds; False when the time is up."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # what is asked is often a dozen statements, or a list of a region
    return True
