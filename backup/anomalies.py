"""Points that look wrong though every step went well: rows gone, a source empty, all of it new.

`judge` is pure: what a source held, what its earlier points held, and what is odd about it. `look`
asks it for each source of a new point and opens a finding, which marks every point that holds
this state of the source and freezes removal until a person decides.

What counts as usual begins anew where a person accepted a finding, and where a restore in place
replaced the data (its safety point tells); points that are marked are no yardstick.
`docs/decisions/anomalies.md` has the thresholds with their reasons.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backup import findings
from backup.findings import Sight
from backup.models import Finding, Point, PointSource, Snapshot, Source
from backup.states import Decision, Outcome, Trigger

SOURCE_EMPTY = "anomaly-source-empty"  # then, now: bytes, files or rows
TABLE_EMPTY = "anomaly-table-empty"  # table, then, now: rows; tables: how many
ROWS_DOWN = "anomaly-rows-down"  # table or none for the whole database, then, now; tables
FILES_DOWN = "anomaly-files-down"  # then, now
ALL_CHANGED = "anomaly-all-changed"  # now: bytes stored anew; then: bytes of the source before
SIZE = "anomaly-size"  # then: the median, now: bytes
CODES = (SOURCE_EMPTY, TABLE_EMPTY, ROWS_DOWN, FILES_DOWN, ALL_CHANGED, SIZE)

LEFT = 0.05  # of rows or files: less is "down 95 %"
MANY_ROWS = 100
MANY_FILES = 20
RECENT = 5  # points whose least counts: what is emptied every night is no news
HISTORY = 30  # points that a size is held against
ENOUGH = 5  # earlier points before a size can be far from them
NOISE = 64 * 1024  # bytes; smaller changes say nothing
SHRUNK, GROWN = 0.5, 4.0  # of the median: within these no size is far
SPREADS = 6.0  # median absolute deviations, scaled to a standard deviation
TO_SIGMA = 1.4826
FEW_NEW, MOST_NEW = 0.25, 0.75  # part of the data stored anew: usual at most, odd at least
USUAL = 3  # earlier points in the same repository before "all new" is odd

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class State:
    """What a point held of one source."""

    bytes: int
    files: int
    added: int  # bytes stored anew, after compression
    repository: UUID | None  # where it was made; None: it vanished there
    tables: Mapping[str, int] | None = None  # rows by table; None: no database

    @property
    def rows(self) -> int | None:
        return None if self.tables is None else sum(self.tables.values())


@dataclass(frozen=True)
class Oddity:
    """One thing that is odd."""

    code: str
    then: int
    now: int
    more: Mapping[str, Any] = field(default_factory=dict)


def judge(now: State, earlier: Sequence[State]) -> Oddity | None:
    """The worst that is odd about a source, given its earlier points, newest first; or None.

    One earlier point is enough to see that rows are gone; a first one is never odd.
    """
    if not earlier:
        return None
    checks = (_emptied, _tables_down, _rows_down, _files_down, _all_changed, _size)
    return next((odd for check in checks if (odd := check(now, earlier)) is not None), None)


def _emptied(now: State, earlier: Sequence[State]) -> Oddity | None:
    rows = [each.rows for each in earlier[:RECENT] if each.rows is not None]
    if now.rows == 0 and rows and min(rows) > 0:
        return Oddity(SOURCE_EMPTY, min(rows), 0) if min(rows) >= MANY_ROWS else None
    before = min(each.bytes for each in earlier[:RECENT])
    return Oddity(SOURCE_EMPTY, before, 0) if now.bytes == 0 and before > 0 else None


def _tables_down(now: State, earlier: Sequence[State]) -> Oddity | None:
    """A table that still exists; those that were dropped or renamed count in the sum only."""
    if now.tables is None:
        return None
    down = []
    for table, left in now.tables.items():
        before = _least([each.tables.get(table) for each in earlier if each.tables is not None])
        if before >= MANY_ROWS and left <= before * LEFT:
            down.append((left, -before, table))
    if not down:
        return None
    left, before, table = min(down)
    code = TABLE_EMPTY if left == 0 else ROWS_DOWN
    return Oddity(code, -before, left, {"table": table, "tables": len(down)})


def _rows_down(now: State, earlier: Sequence[State]) -> Oddity | None:
    before = _least([each.rows for each in earlier])
    if now.rows is None or before < MANY_ROWS or now.rows > before * LEFT:
        return None
    return Oddity(ROWS_DOWN, before, now.rows)


def _files_down(now: State, earlier: Sequence[State]) -> Oddity | None:
    before = _least([each.files for each in earlier])
    if before < MANY_FILES or now.files > before * LEFT:
        return None
    return Oddity(FILES_DOWN, before, now.files)


def _least(counts: Sequence[int | None]) -> int:
    """Of the most recent counts, back to where there was none yet."""
    known = itertools.takewhile(lambda each: each is not None, counts[:RECENT])
    return min((each for each in known if each is not None), default=0)


def _all_changed(now: State, earlier: Sequence[State]) -> Oddity | None:
    """Nearly everything is stored anew, where little was: beyond what the source grew by."""
    here = [each for each in earlier if each.repository == now.repository and each.bytes]
    if now.repository is None or len(here) < USUAL:
        return None
    before = here[0].bytes
    usual = statistics.median_low(each.added / each.bytes for each in here)
    new = now.added - max(0, now.bytes - before)
    if before < NOISE or usual > FEW_NEW or new < before * MOST_NEW:
        return None
    return Oddity(ALL_CHANGED, before, now.added)


def _size(now: State, earlier: Sequence[State]) -> Oddity | None:
    """Far from the median, both by its own spread and by a factor."""
    sizes = [each.bytes for each in earlier]
    if len(sizes) < ENOUGH:
        return None
    middle = statistics.median(sizes)
    spread = TO_SIGMA * statistics.median(abs(size - middle) for size in sizes)
    away = abs(now.bytes - middle)
    far = now.bytes < middle * SHRUNK or now.bytes > middle * GROWN
    if not far or away <= max(SPREADS * spread, NOISE):
        return None
    return Oddity(SIZE, int(middle), now.bytes)


def look(session: Session, point: Point, *, now: datetime) -> list[Finding]:
    """Open a finding for each source of a new point that looks wrong.

    A point must not fail because of it: what cannot be judged is logged.
    """
    try:
        with session.begin_nested():
            return _look(session, point, now=now)
    except (SQLAlchemyError, ArithmeticError, LookupError, TypeError, ValueError):
        log.exception("a point could not be judged", point=str(point.id))
        return []


def _look(session: Session, point: Point, *, now: datetime) -> list[Finding]:
    if point.kind is Trigger.SAFETY:
        return []
    parts = session.execute(
        select(PointSource, Source)
        .join(Source, Source.id == PointSource.source_id)
        .where(
            PointSource.point_id == point.id,
            PointSource.outcome == Outcome.COMPLETE,
            PointSource.snapshot_id.is_not(None),
        )
    ).all()
    found = []
    for row in parts:
        states = _states(session, row.PointSource)
        odd = judge(states[0], states[1:]) if states else None
        if odd is not None:
            sight = _sight(session, row.PointSource, row.Source, odd)
            found.append(findings.see(session, point.tenant_id, sight, now=now))
    return found


def _sight(session: Session, part: PointSource, source: Source, odd: Oddity) -> Sight:
    """By the first point that held this state: the same again is not a second finding."""
    first = session.execute(
        select(func.min(Point.number))
        .join(PointSource, PointSource.point_id == Point.id)
        .where(PointSource.snapshot_id == part.snapshot_id)
    ).scalar_one()
    return Sight(
        code=odd.code,
        subject=f"{source.name}, point {first}",
        params={
            "source": source.name,
            "point": first,
            "snapshot": str(part.snapshot_id),
            "then": odd.then,
            "now": odd.now,
            **odd.more,
        },
        point=part.point_id,
        source=source.id,
        freezes=True,
    )


def _states(session: Session, part: PointSource) -> list[State]:
    """The source in this point and in those that are its yardstick, newest first."""
    number = select(Point.number).where(Point.id == part.point_id).scalar_subquery()
    rows = session.execute(
        select(PointSource, Point.number, Point.kind, Snapshot)
        .join(Point, Point.id == PointSource.point_id)
        .join(Snapshot, Snapshot.id == PointSource.snapshot_id)
        .where(
            PointSource.source_id == part.source_id,
            PointSource.outcome == Outcome.COMPLETE,
            Point.number <= number,
        )
        .order_by(Point.number.desc())
        .limit(HISTORY + 1)
    ).all()
    marks = _marks(session, part)
    found = []
    for row, before in itertools.zip_longest(rows, rows[1:]):
        mine, decision = row.PointSource.id == part.id, marks.get(row.Snapshot.id, "none")
        if row.kind is Trigger.SAFETY:
            break  # a restore replaced the data after it
        if mine and decision is Decision.ACCEPTED:
            return []  # this very state was accepted
        if mine or decision in ("none", Decision.ACCEPTED):
            state = _state(row.PointSource, row.Snapshot)
            same = before is not None and before.Snapshot.id == row.Snapshot.id
            found.append(replace(state, added=0) if same else state)
        if decision is Decision.ACCEPTED:
            break  # from there on this is how it should be
    return found


def _state(part: PointSource, snapshot: Snapshot) -> State:
    tables = None
    if part.manifest is not None:
        tables = {
            f"{each['schema']}.{each['name']}": each["rows"] for each in part.manifest["tables"]
        }
    return State(
        bytes=snapshot.bytes,
        files=snapshot.files,
        added=snapshot.added_bytes,
        repository=snapshot.repository_id if snapshot.lost_at is None else None,
        tables=tables,
    )


def _marks(session: Session, part: PointSource) -> dict[UUID, Decision | None]:
    """By snapshot of this source, what a person decided about it; None: nothing yet."""
    rows = session.execute(
        select(Finding).where(Finding.source_id == part.source_id, Finding.code.in_(CODES))
    ).scalars()
    return {UUID(row.params["snapshot"]): row.decision for row in rows}


def marked(session: Session, tenant: UUID) -> Mapping[UUID, Sequence[str]]:
    """By snapshot, the codes of what is odd about it and not accepted."""
    found: dict[UUID, list[str]] = {}
    for row in session.execute(_standing(tenant)).scalars():
        found.setdefault(UUID(row.params["snapshot"]), []).append(row.code)
    return found


def rejected(session: Session, tenant: UUID) -> frozenset[UUID]:
    """Snapshots of which a person said that they are wrong."""
    rows = session.execute(_standing(tenant).where(Finding.decision == Decision.REJECTED))
    return frozenset(UUID(row.params["snapshot"]) for row in rows.scalars())


def _standing(tenant: UUID) -> Any:
    return select(Finding).where(
        Finding.tenant_id == tenant,
        Finding.code.in_(CODES),
        Finding.decision.is_distinct_from(Decision.ACCEPTED),
    )
