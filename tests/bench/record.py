"""How many entries a second go on record, and get their place in the log, signed and in every region."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from strongroom.audit import entries, inspecting, sequencing
from strongroom.audit.entries import Deed
from strongroom.audit.sequencing import Sequencer
from strongroom.db import Role
from tests.bench.stand import BENCH, Stand
from tests.bench.usage import Load

AT_ONCE = 10  # acts in one transaction
ALONE = 500  # acts with a transaction each
WRITERS = 4


@dataclass(frozen=True)
class Recorded:
    """Entries a second of wall time; the stack's own sequencer may take a part of them."""

    entries: int
    alone: float  # written by one process, a transaction for each
    written: float  # by four at once, ten acts in a transaction
    placed: float  # sequenced, signed and kept in every region
    verified: float  # all of it looked at again, regions included
    cpu: float  # seconds of this process for a thousand entries, written and placed
    foreign: float  # processors that others kept busy


def measure(stand: Stand, *, count: int) -> Recorded:
    load, before = Load(), time.process_time()
    alone = _timed(lambda: _write(stand, ALONE, at_once=1))
    written = _timed(lambda: _write_together(stand, count))
    _place(stand)
    _write(stand, count, at_once=count)  # at one moment, so that the stack's own has had none yet
    placed = _timed(lambda: _place(stand))
    used = time.process_time() - before
    verified = _timed(lambda: _require_whole(stand))
    return Recorded(
        entries=2 * count + ALONE,
        alone=ALONE / alone,
        written=count / written,
        placed=count / placed,
        verified=(2 * count + ALONE) / verified,
        cpu=used / (2 * count + ALONE) * 1000,
        foreign=load.foreign(),
    )


def _timed(act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _write_together(stand: Stand, count: int) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        share = count // WRITERS
        for done in [pool.submit(_write, stand, share, at_once=AT_ONCE) for _ in range(WRITERS)]:
            done.result()


def _write(stand: Stand, count: int, *, at_once: int) -> None:
    database, tenant = stand.platform.database, uuid.uuid4()
    for first in range(0, count, at_once):
        with database.session(Role.WORKER) as session:
            for number in range(first, min(first + at_once, count)):
                deed = Deed("bench.done", "things", tenant, details={"number": number})
                entries.note(session, deed, by=BENCH, at=stand.platform.now())


def _place(stand: Stand) -> None:
    sequencer = Sequencer(stand.platform)
    while _waiting(stand):
        if not sequencer.round():
            time.sleep(0.01)  # the stack's own is at it


def _waiting(stand: Stand) -> int:
    with stand.platform.database.session(Role.OPERATOR) as session:
        return sequencing.waiting(session)[0]


def _require_whole(stand: Stand) -> None:
    report = inspecting.inspect(stand.platform)
    if report.problems:
        raise RuntimeError(f"The record is not what was signed: {report.problems[:3]}")
