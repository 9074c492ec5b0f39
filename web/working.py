"""Dispatcher, workers and upkeep: `python -m web.working serve worker --queue backup …`.

A program of its own, so that what runs for months and in numbers holds neither pages nor command
line in memory: a third of what a worker would use. `strongroom serve` becomes this program.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from celery.signals import worker_process_init, worker_ready

from restore.delivery import making
from strongroom import beats, control_restores, program, runtime
from strongroom.audit import entries
from strongroom.audit.leaves import Channel
from strongroom.audit.sequencing import Sequencer
from strongroom.beats import Beating, Part
from strongroom.db import Database, Role
from strongroom.dispatch import Dispatcher
from strongroom.errors import StrongroomError
from strongroom.looks import Lookout
from strongroom.settings import Settings
from strongroom.worker import Queue
from web import duties, logs, parts
from web.places import find_settings

ROUND_SECONDS = 1.0
CHILD_MEMORY_KIB = 400_000  # a worker process above this is replaced after its task
CHILD_TASKS = 500

log = structlog.get_logger(__name__)


def main(words: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; gives the exit code."""
    reader = argparse.ArgumentParser(prog="web.working")
    parts_of_it = reader.add_subparsers(required=True).add_parser("serve")
    kinds = parts_of_it.add_subparsers(dest="part", required=True)
    for name in ("dispatcher", "worker", "upkeep"):
        kind = kinds.add_parser(name)
        kind.add_argument("--home", type=Path)
        if name == "worker":
            kind.add_argument("--queue", type=Queue, action="append", required=True)
            kind.add_argument("--concurrency", type=int, default=1)
    told = reader.parse_args(words)
    logs.configure(logging.INFO)
    entries.come_from(Channel(told.part))
    try:
        settings = find_settings(told.home)
    except StrongroomError as error:
        print(error.message, file=sys.stderr)
        return error.exit_code
    if told.part == "worker":
        return work(settings, told.queue, concurrency=told.concurrency)
    {"dispatcher": dispatch, "upkeep": keep_up}[told.part](settings)
    return 0


def dispatch(settings: Settings) -> None:
    """Go round until SIGTERM; one second between two rounds that found nothing."""
    stop = _stop_event()
    made = parts.make_runtime(settings)
    runtime.use(made)  # planners ask for settings
    control_restores.require_finished(made.database.engine(Role.DISPATCHER))
    going = Dispatcher(
        database=made.database,
        app=made.app,
        dues=duties.DUES,
        planners=duties.PLANNERS,
        started=made.now(),
    )
    # Between the rounds: one that hangs gives no sign of life.
    beating = Beating(
        made.database, Role.DISPATCHER, Part.DISPATCHER, lambda: {"failing": sorted(going.failing)}
    )
    log.info("the dispatcher runs", process=os.getpid())
    while not stop.is_set():
        began = time.monotonic()
        going.round(made.now())
        beating.go_on()
        stop.wait(max(0.0, ROUND_SECONDS - (time.monotonic() - began)))
    beating.end()


def work(settings: Settings, queues: Sequence[Queue], *, concurrency: int) -> int:
    """Serve these queues until SIGTERM; each process of the pool has a runtime of its own."""

    def begin(**_: Any) -> None:
        program.die_with_parent()
        runtime.use(parts.make_runtime(settings))

    worker_process_init.connect(begin, weak=False)
    made = parts.make_runtime(settings)
    control_restores.require_finished(made.database.engine(Role.WORKER))
    made.database.close()  # the processes of the pool have connections of their own
    beating = _beats_of_worker(settings, queues)

    def ready(sender: Any, **_: Any) -> None:  # by the loop that hands out work, and forks
        sender.timer.call_repeatedly(beats.SECONDS, beating.go_on)
        beating.go_on()

    worker_ready.connect(ready, weak=False)
    if Queue.RESTORE in queues:
        making.sweep(made)  # what the last one here left opened when it was killed
    worker = made.app.Worker(
        queues=[queue.value for queue in queues],
        concurrency=concurrency,
        max_memory_per_child=CHILD_MEMORY_KIB,
        max_tasks_per_child=CHILD_TASKS,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
        hostname=f"{queues[0].value}-{os.getpid()}@{socket.gethostname()}",
    )
    try:
        worker.start()
    finally:
        beating.end()
    return int(worker.exitcode or 0)


def _beats_of_worker(settings: Settings, queues: Sequence[Queue]) -> Beating:
    """Of the process that hands out work; a process of the pool is forked from it at any time, so
    no connection stays open between two beats."""
    part = Part.RESTORES if Queue.RESTORE in queues else Part.WORKER

    def facts() -> dict[str, int]:
        return {"free_bytes": shutil.disk_usage(settings.work).free}

    return Beating(Database(settings.databases, keep=False), Role.WORKER, part, facts)


def keep_up(settings: Settings) -> None:
    """Dumps of the control database, escrow wraps and records, until SIGTERM."""
    from web import upkeep
    from web.picture import Photographer

    stop = _stop_event()
    made = parts.make_runtime(settings)
    control_restores.require_finished(made.database.engine(Role.WORKER))
    going = upkeep.Upkeep(made)
    # Beside the rounds, for a dump takes its time. A round of theirs that is cut short is made good
    # by the next process.
    beside = [
        _thread("sequencer", Sequencer(made).run, stop),
        _thread("lookout", Lookout(made).run, stop),
        _thread("picture", Photographer(made).run, stop),
        Beating(made.database, Role.OPERATOR, Part.UPKEEP, dict).start(stop),
    ]
    log.info("the upkeep runs", process=os.getpid())
    while not stop.is_set():
        going.round()
        stop.wait(upkeep.ROUND_SECONDS)
    for thread in beside:
        thread.join(timeout=5)


def _thread(
    name: str, run: Callable[[threading.Event], None], stop: threading.Event
) -> threading.Thread:
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    return thread


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    sys.exit(main())
