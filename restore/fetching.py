"""Bringing data out of one region: a database through a pipe into a throw-away cluster."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace

from backup import watching
from backup.making import DUMP_NAME
from backup.repositories import Site
from backup.restic import commands
from backup.restic.calls import Repository as ResticRepository
from backup.restic.calls import Surroundings
from restore import scratch
from restore.scratch import Place, Scratch
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from strongroom.storage import Act

SECONDS = 12 * 3600.0
DRAIN_SECONDS = 30.0  # for restic to give the rest, when what it gave did not load
FETCH_SECONDS = 5.0  # and then to end by itself


@dataclass(frozen=True)
class Origin:
    """One snapshot in one region."""

    site: Site
    restic_id: str
    stop: threading.Event | None = None  # ends whatever is under way
    from_cache: bool = True  # False: everything comes from the region, and from nowhere else

    def opened(self) -> ResticRepository:
        opened = self.site.restic(Act.READ)
        return opened if self.from_cache else replace(opened, cache=None)

    def here(self, *, seconds: float) -> Surroundings:
        return watching.surroundings(self.site, seconds=seconds, stop=self.stop)


def place(runtime: Runtime) -> Place:
    """Where this process has its throw-away clusters."""
    return Place(runtime.folder("clusters"), runtime.settings.work / "cluster-template")


@dataclass
class Coming:
    """A dump on its way: restic opens the repository while the cluster is being started."""

    origin: Origin
    reading: int  # the end of the pipe that is read; -1 once it is closed
    fetched: Future[None]

    def into(self, cluster: Scratch, *, piecemeal: bool = False) -> float:
        """Straight into pg_restore; the seconds it took.

        Raises what restic or `scratch.load` raises, restic's word first.
        """
        stop = self.origin.stop
        try:
            seconds = scratch.load(cluster, self.reading, stop=stop, piecemeal=piecemeal)
        except StrongroomError:
            self.judge()
            raise
        self.close()
        self.fetched.result()
        return seconds

    def judge(self) -> None:
        """Where what came could not be used: raises restic's word, if it broke off on its way."""
        self._drain()
        wait([self.fetched], timeout=FETCH_SECONDS)
        if self.fetched.done():
            self.fetched.result()

    def _drain(self) -> None:
        """Let restic come to its own end, so that it says whether what it gave was whole."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while (left := deadline - time.monotonic()) > 0 and not self._is_stopped():
            ready, _, _ = select.select([self.reading], [], [], min(left, 1.0))
            if ready and not os.read(self.reading, scratch.MIB):
                return

    def _is_stopped(self) -> bool:
        return self.origin.stop is not None and self.origin.stop.is_set()

    def close(self) -> None:
        """Nobody reads any more: restic ends by itself."""
        if self.reading >= 0:
            os.close(self.reading)
        self.reading = -1


@contextmanager
def begun(
    origin: Origin, *, path: str = DUMP_NAME, told: Callable[[int], None] | None = None
) -> Iterator[Coming]:
    """Begin to bring a dump, or a file; the one who writes lives until restic has ended."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(2, thread_name_prefix="fetch") as pool:
        fetched = pool.submit(dump, origin, writing, path=path)
        if told is not None:
            counted, passing = os.pipe()
            pool.submit(_pass_on, reading, passing, told)
            reading = counted
        coming = Coming(origin, reading, fetched)
        try:
            yield coming
        finally:
            coming.close()


def _pass_on(source: int, target: int, told: Callable[[int], None]) -> None:
    """Bytes from one pipe to another without reading them, and how many there were; closes both.

    Whoever reads no more is a broken pipe for us, and then for restic.
    """
    passed = 0
    try:
        while count := os.splice(source, target, scratch.MIB):
            passed += count
            told(passed)
    except BrokenPipeError:
        return
    finally:
        os.close(source)
        os.close(target)


def load(
    origin: Origin,
    cluster: Scratch,
    *,
    piecemeal: bool = False,
    told: Callable[[int], None] | None = None,
) -> float:
    """A dump into a cluster that is up; as `Coming.into`. `told` gets the bytes that have come."""
    with begun(origin, told=told) as coming:
        return coming.into(cluster, piecemeal=piecemeal)


def dump(origin: Origin, into: int, *, path: str = DUMP_NAME) -> None:
    """Write a database's dump, or another file, into the descriptor, and close it."""
    with os.fdopen(into, "wb") as pipe:
        commands.dump(
            origin.opened(),
            origin.here(seconds=SECONDS),
            snapshot=origin.restic_id,
            path=path,
            to=pipe,
        )
