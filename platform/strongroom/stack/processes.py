"""Which process is which: a pid alone is reused, a pid with its start time is not.

Servers leave a mark, a small file that says which process they are and who started them. After a
crash the mark tells an orphan, which may be ended, from a server that somebody still looks after.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from strongroom.stack import files

PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """One process of this boot, never mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks since boot, as /proc/<pid>/stat has it


@dataclass(frozen=True)
class Mark:
    """What a server's mark says."""

    server: Identity
    keeper: Identity  # who started it, and ends it


def identify(pid: int) -> Identity | None:
    """None for a process that is gone or only waits to be reaped."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]))


def myself() -> Identity:
    """The process that asks."""
    found = identify(os.getpid())
    assert found is not None
    return found


def is_alive(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def working_in(folder: Path, *, program: str) -> list[Identity]:
    """Processes of that program whose working folder is this one, as far as we may see them."""
    wanted = str(folder.resolve())
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            runs = str((entry / "exe").readlink()).removesuffix(" (deleted)")
            if Path(runs).name == program and str((entry / "cwd").readlink()) == wanted:
                identity = identify(int(entry.name))
                found += [identity] if identity else []
    return found


def end(processes: Iterable[Identity], *, first: signal.Signals, grace: float) -> None:
    """Ask each to end, insist after the grace, and return when all are gone."""
    with _handles(processes) as handles:
        for handle in handles:
            _send(handle, first)
        for handle in _still_there(handles, grace):
            _send(handle, signal.SIGKILL)
        _still_there(handles, 10.0)


def leave_mark(path: Path, pid: int) -> None:
    """Say in a file that this process is a server of ours."""
    server = identify(pid)
    if server is not None:
        mark = {"server": asdict(server), "keeper": asdict(myself())}
        files.write(path, json.dumps(mark).encode())


def read_mark(path: Path) -> Mark | None:
    """None where there is no mark, or one that was cut short."""
    try:
        parsed = json.loads(path.read_text())
        return Mark(Identity(**parsed["server"]), Identity(**parsed["keeper"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _handles(processes: Iterable[Identity]) -> Iterator[list[int]]:
    """A descriptor for each process that is still the one meant."""
    handles: list[int] = []
    try:
        for process in processes:
            with suppress(ProcessLookupError):
                handles.append(os.pidfd_open(process.pid))
                if not is_alive(process):
                    os.close(handles.pop())
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def _send(handle: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _still_there(handles: list[int], seconds: float) -> list[int]:
    """Those that have not ended when the time is up."""
    left = list(handles)
    deadline = time.monotonic() + seconds
    while left and (remaining := deadline - time.monotonic()) > 0:
        waiting = select.poll()
        for handle in left:
            waiting.register(handle, select.POLLIN)
        ended = {handle for handle, _ in waiting.poll(remaining * 1000)}
        left = [handle for handle in left if handle not in ended]
    return left
