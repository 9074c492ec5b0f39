"""Looks after services: starts them in order, starts again what dies, stops in reverse order.

All of it happens in one thread, the main one: the system ends a child as soon as the *thread*
that started it ends, and not only with the process.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from strongroom import program
from strongroom.errors import StrongroomError
from strongroom.program import Command
from strongroom.stack import files

LONGEST_PAUSE = 60.0  # seconds between attempts
STEADY_SECONDS = 60.0  # who lived that long begins again with the shortest pause
TEND_SECONDS = 0.5

log = structlog.get_logger(__name__)


class ChildFailed(StrongroomError):
    """A child did not become ready."""

    code = "child-failed"


class Service(Protocol):
    """What can be looked after."""

    @property
    def name(self) -> str: ...

    def start(self) -> None:
        """Return when it is ready; leave nothing behind when it raises."""
        ...

    def stop(self) -> None:
        """Safe to call on what has ended."""
        ...

    def alive(self) -> bool: ...


@dataclass(frozen=True)
class Child:
    """A program to look after."""

    name: str  # also of its log
    command: Command
    ready: Callable[[], bool] | None = None  # asked until it says yes; None: ready once started
    ready_seconds: float = 120.0  # a busy machine takes its time; one that ends is told at once
    grace: float = program.GRACE_SECONDS  # between SIGTERM and SIGKILL


@dataclass
class _Kept:
    """A service and what became of it."""

    service: Service
    started: float  # on the clock of Children
    failures: int = 0  # in a row
    again_at: float | None = None  # when the next attempt is due; None: it lives


class Children:
    """The services of one stack; every method belongs to the main thread."""

    def __init__(self, logs: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._logs = logs
        self._clock = clock
        self._kept: list[_Kept] = []

    def start(self, wanted: Child | Service) -> None:
        """Start and look after it from now on; raises what its start raises."""
        assert threading.current_thread() is threading.main_thread(), "see this module's head"
        service = _Process(wanted, self._logs) if isinstance(wanted, Child) else wanted
        service.start()
        self._kept.append(_Kept(service, self._clock()))
        log.info("started", service=service.name)

    def drop(self, service: Service) -> None:
        """Stop one and look after it no more; `start` takes it up again."""
        self._kept = [kept for kept in self._kept if kept.service is not service]
        service.stop()
        log.info("stopped", service=service.name)

    def tend(self) -> None:
        """One round: notice who died, and start again whose pause is over."""
        for kept in self._kept:
            if kept.again_at is None and not kept.service.alive():
                self._note_death(kept)
            if kept.again_at is not None and self._clock() >= kept.again_at:
                self._revive(kept)

    def watch(self, stop: threading.Event) -> None:
        """Tend until told to stop; set the event from a signal handler."""
        while not stop.wait(TEND_SECONDS):
            self.tend()

    def stop(self) -> None:
        """Stop all, the last one first; one that fails keeps no other running."""
        failures = []
        while self._kept:
            service = self._kept.pop().service
            try:
                service.stop()
                log.info("stopped", service=service.name)
            except Exception as error:  # the others still have to be stopped
                log.exception("could not stop", service=service.name)
                failures.append(error)
        if failures:
            raise failures[0]

    def _note_death(self, kept: _Kept) -> None:
        lived = self._clock() - kept.started
        kept.failures = 1 if lived >= STEADY_SECONDS else kept.failures + 1
        kept.again_at = self._clock() + pause(kept.failures)
        log.warning("died", service=kept.service.name, failures=kept.failures)

    def _revive(self, kept: _Kept) -> None:
        try:
            kept.service.stop()  # whatever is left of it
            kept.service.start()
        except StrongroomError as error:
            kept.failures += 1
            kept.again_at = self._clock() + pause(kept.failures)
            log.warning("could not start again", service=kept.service.name, reason=error.message)
        else:
            kept.started, kept.again_at = self._clock(), None
            log.info("started again", service=kept.service.name)


def pause(failures: int) -> float:
    """Seconds before the next attempt: none after the first death, then doubling."""
    return 0.0 if failures <= 1 else min(2.0 ** (failures - 2), LONGEST_PAUSE)


class _Process:
    """A Child as a service."""

    def __init__(self, child: Child, logs: Path) -> None:
        self._child = child
        self._log = logs / f"{child.name}.log"
        self._running: program.Running | None = None

    @property
    def name(self) -> str:
        return self._child.name

    def start(self) -> None:
        with files.open_log(self._log.parent, self.name) as output:
            self._running = program.start(self._child.command, stdout=output, stderr=output)
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end(grace=self._child.grace)

    def alive(self) -> bool:
        return self._running is not None and self._running.process.poll() is None

    def _await_ready(self) -> None:
        assert self._running is not None
        deadline = time.monotonic() + self._child.ready_seconds
        while self._child.ready is not None and not self._child.ready():
            try:
                self._running.process.wait(0.05)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            raise ChildFailed(
                f"Wanted to start {self.name}, but it did not become ready within "
                f"{self._child.ready_seconds:.0f} seconds. See {self._log}.",
                child=self.name,
            )
