"""What was named: a source, one of its points, or all of them that still stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from backup.clearing import stands
from backup.models import Copy, Point, PointSource, Source
from backup.states import CopyState, Outcome
from restore.browsing import errors


@dataclass(frozen=True)
class Ref:
    """A point, as far as a list needs it."""

    id: UUID
    number: int
    taken_at: datetime
    local_date: date
    outcome: Outcome


@dataclass(frozen=True)
class Part:
    """What one point has of one source."""

    source: UUID
    source_name: str
    source_kind: str
    point: Ref


def part(session: Session, source: UUID, number: int) -> Part:
    """Raises NotFound, and NotListedYet where browsing would show an earlier point's contents."""
    row = session.execute(
        _parts()
        .add_columns(PointSource.catalogued_at, stands().label("stands"))
        .where(PointSource.source_id == source, Point.number == number)
    ).one_or_none()
    if row is None:
        raise errors.no_part()
    if not row.stands:
        raise errors.gone()
    if row.catalogued_at is None:
        raise errors.NotListedYet(
            "What this point has is not listed yet; that follows each backup. Try again soon."
        )
    return Part(row.source_id, row.name, row.kind, _ref(row))


@dataclass(frozen=True)
class Line:
    """The points that still stand of one source, oldest first, as far as they are listed."""

    source: UUID
    name: str
    kind: str
    removed_at: datetime | None
    points: tuple[Ref, ...]

    def within(self, since: int, until: int | None) -> list[Ref]:
        """Those from number `since` up to, not including, `until`."""
        return [
            each
            for each in self.points
            if each.number >= since and (until is None or each.number < until)
        ]

    @property
    def newest(self) -> Ref | None:
        return self.points[-1] if self.points else None

    def before(self, number: int) -> Ref | None:
        """The one before a point, which itself may be gone."""
        return next((each for each in reversed(self.points) if each.number < number), None)

    def after(self, number: int) -> Ref | None:
        """The one after it."""
        return next((each for each in self.points if each.number > number), None)

    def next_to(self, number: int) -> Ref | None:
        """The nearest one; of two equally near, the later."""
        return min(
            self.points, key=lambda each: (abs(each.number - number), -each.number), default=None
        )


def line(session: Session, source: UUID) -> Line:
    """One source's. Raises NotFound."""
    found = lines(session, [source]).get(source)
    if found is None:
        raise errors.no_source()
    return found


def lines(session: Session, sources: Sequence[UUID] | None = None) -> Mapping[UUID, Line]:
    """By source; None: all of the tenant, those that are no longer backed up too."""
    wanted = select(Source.id, Source.name, Source.kind, Source.removed_at).order_by(Source.name)
    listed = _parts().where(PointSource.catalogued_at.is_not(None), stands()).order_by(Point.number)
    if sources is not None:
        wanted = wanted.where(Source.id.in_(sources))
        listed = listed.where(PointSource.source_id.in_(sources))
    points: dict[UUID, list[Ref]] = {}
    for row in session.execute(listed):
        points.setdefault(row.source_id, []).append(_ref(row))
    return {
        row.id: Line(row.id, row.name, row.kind, row.removed_at, tuple(points.get(row.id, ())))
        for row in session.execute(wanted)
    }


def sources(session: Session) -> Mapping[UUID, str]:
    """The names of the tenant's sources, those that are no longer backed up too."""
    rows = session.execute(select(Source.id, Source.name).order_by(Source.name))
    return {row.id: row.name for row in rows}


def neighbours(session: Session, number: int) -> tuple[Ref | None, Ref | None]:
    """The points before and after one, whatever they hold, that still lie somewhere."""
    there = select(Copy.id).where(Copy.point_id == Point.id, Copy.state != CopyState.REMOVED)
    columns = (Point.id, Point.number, Point.taken_at, Point.local_date, Point.outcome)
    wanted = select(*columns).where(there.exists()).limit(1)
    before = wanted.where(Point.number < number).order_by(Point.number.desc())
    after = wanted.where(Point.number > number).order_by(Point.number)
    rows = [session.execute(each).one_or_none() for each in (before, after)]
    first, second = (None if row is None else _ref(row) for row in rows)
    return first, second


def _parts() -> Select[*tuple[Any, ...]]:
    return (
        select(
            *(PointSource.source_id, Source.name, Source.kind, Point.id, Point.number),
            *(Point.taken_at, Point.local_date, Point.outcome),
        )
        .join(Point, Point.id == PointSource.point_id)
        .join(Source, Source.id == PointSource.source_id)
        .where(PointSource.snapshot_id.is_not(None))
    )


def _ref(row: Any) -> Ref:
    return Ref(row.id, row.number, row.taken_at, row.local_date, row.outcome)
