"""The long-running processes: dispatcher, workers, web."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery.signals import worker_process_init
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from strongroom import control_restores, program, runtime
from strongroom.db import Role
from strongroom.dispatch import Dispatcher
from strongroom.settings import Settings
from strongroom.worker import Queue
from web import parts
from web.app import create_app
from web.upkeep import ROUND_SECONDS as UPKEEP_SECONDS
from web.upkeep import Upkeep

ROUND_SECONDS = 1.0
CHILD_MEMORY_KIB = 400_000  # a worker process above this is replaced after its task
CHILD_TASKS = 500

log = structlog.get_logger(__name__)


def dispatcher(settings: Settings) -> None:
    """Go round until SIGTERM; one second between two rounds that found nothing."""
    stop = _stop_event()
    made = parts.make_runtime(settings)
    control_restores.require_finished(made.database.engine(Role.DISPATCHER))
    going = Dispatcher(
        database=made.database,
        app=made.app,
        dues=parts.DUES,
        planners=parts.PLANNERS,
        started=made.now(),
    )
    log.info("the dispatcher runs", process=os.getpid())
    while not stop.is_set():
        began = time.monotonic()
        going.round(made.now())
        stop.wait(max(0.0, ROUND_SECONDS - (time.monotonic() - began)))


def upkeep(settings: Settings) -> None:
    """Dumps of the control database, escrow wraps and records, until SIGTERM."""
    stop = _stop_event()
    made = parts.make_runtime(settings)
    control_restores.require_finished(made.database.engine(Role.WORKER))
    going = Upkeep(made)
    log.info("the upkeep runs", process=os.getpid())
    while not stop.is_set():
        going.round()
        stop.wait(UPKEEP_SECONDS)


def worker(settings: Settings, queues: Sequence[Queue], *, concurrency: int) -> None:
    """Serve these queues until SIGTERM; each process of the pool has a runtime of its own."""

    def begin(**_: Any) -> None:
        program.die_with_parent()
        runtime.use(parts.make_runtime(settings))

    worker_process_init.connect(begin, weak=False)
    made = parts.make_runtime(settings)
    control_restores.require_finished(made.database.engine(Role.WORKER))
    made.database.close()  # the processes of the pool have connections of their own
    app = made.app
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(queue.value for queue in queues)}",
            f"--concurrency={concurrency}",
            f"--max-memory-per-child={CHILD_MEMORY_KIB}",
            f"--max-tasks-per-child={CHILD_TASKS}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
            f"--hostname={queues[0].value}-{os.getpid()}@%h",
        ]
    )


def web(settings: Settings, *, host: str, port: int, workers: int = 1) -> None:
    """Serve the pages until SIGTERM."""
    options = {
        "bind": f"{host}:{port}",
        "workers": workers,
        "threads": 8,
        "worker_class": "gthread",
        "loglevel": "warning",
        "control_socket_disable": True,
    }
    _Gunicorn(lambda: create_app(parts.make_runtime(settings)), options).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """gunicorn without a command line of its own."""

    def __init__(self, make: Callable[[], Flask], options: dict[str, Any]) -> None:
        self._make = make
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        return self._make()


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
