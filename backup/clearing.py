"""The catalogue forgets what no point has any more: names are data too.

A state lies in no point once every point of its range is gone: then it began after the last one
before that still stands, and ended at or before the first one after. That takes a look around each
gone point, once. The states that the newest point left open stay: the next one is compared with
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, delete, false, func, select, true, update
from sqlalchemy.orm import Session

from backup import names
from backup.catalogue import CataloguePath, CatalogueVersion
from backup.models import Copy, Point, PointSource, Snapshot
from backup.states import CopyState
from strongroom.db import Role
from strongroom.runtime import Runtime

AT_ONCE = 5000  # paths in a statement


@dataclass(frozen=True)
class Gap:
    """Numbers between two points of a source that stand; neither of them is within."""

    source: UUID
    above: int  # 0: no earlier point stands
    below: int


def clear(runtime: Runtime, tenant: UUID) -> int:
    """Forget what only points had that are gone; gives how many states that were."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        gone = session.execute(
            select(PointSource.id, PointSource.source_id, Point.number)
            .join(Point, Point.id == PointSource.point_id)
            .where(
                PointSource.catalogued_at.is_not(None),
                PointSource.cleared_at.is_(None),
                PointSource.snapshot_id.is_not(None),
                ~kept(),
            )
            .order_by(PointSource.source_id, Point.number)
        ).all()
    forgotten = 0
    cleared: Gap | None = None
    for row in gone:
        with runtime.database.session(Role.WORKER, tenant=tenant) as session:
            session.execute(lock(row.source_id))
            gap = _gap(session, row.source_id, row.number)
            if gap is None:
                continue  # the newest: what follows is still to be compared with it
            if gap != cleared:
                forgotten += _forget(session, gap)
            cleared = gap
            session.execute(
                update(PointSource).where(PointSource.id == row.id).values(cleared_at=runtime.now())
            )
    return forgotten


def lock(source: UUID) -> Any:
    """Whoever writes a source's catalogue holds this to the end of the transaction."""
    key = f"catalogue:{source}"
    return select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0)))


def kept() -> ColumnElement[bool]:
    """Of a PointSource: retention has not let its data go; they may be missing all the same."""
    return _somewhere(Snapshot.forgotten_at.is_(None))


def stands() -> ColumnElement[bool]:
    """Of a PointSource: some region has its data, as far as is known."""
    return _somewhere(Snapshot.standing())


def _somewhere(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Looked up point by point, with limits: as one join the planner reads all pairs."""

    def one(linked: ColumnElement[bool]) -> Any:
        return (
            select(true())
            .where(
                Snapshot.tenant_id == PointSource.tenant_id,
                linked,
                condition,
                Copy.tenant_id == PointSource.tenant_id,
                Copy.point_id == PointSource.point_id,
                Copy.repository_id == Snapshot.repository_id,
                Copy.state != CopyState.REMOVED,
            )
            .limit(1)
            .correlate(PointSource)
            .scalar_subquery()
        )

    return func.coalesce(
        one(Snapshot.id == PointSource.snapshot_id),
        one(Snapshot.origin_id == PointSource.snapshot_id),
        false(),
        type_=Boolean(),
    )


def _gap(session: Session, source: UUID, number: int) -> Gap | None:
    numbers = (
        select(Point.number)
        .join(PointSource, PointSource.point_id == Point.id)
        .where(PointSource.source_id == source, PointSource.snapshot_id.is_not(None), kept())
    )
    above = numbers.where(Point.number < number).order_by(Point.number.desc()).limit(1)
    below = numbers.where(Point.number > number).order_by(Point.number).limit(1)
    after = session.execute(below).scalar_one_or_none()
    if after is None:
        return None
    return Gap(source, session.execute(above).scalar_one_or_none() or 0, after)


def _forget(session: Session, gap: Gap) -> int:
    paths = session.execute(
        select(CataloguePath.id, CataloguePath.place, CataloguePath.folded)
        .where(
            CataloguePath.source_id == gap.source,
            CataloguePath.until > gap.above,
            CataloguePath.until <= gap.below,
            CataloguePath.since > gap.above,
        )
        .order_by(CataloguePath.place)
    ).all()
    states = session.connection().execute(
        delete(CatalogueVersion).where(
            CatalogueVersion.source_id == gap.source,
            CatalogueVersion.since > gap.above,
            CatalogueVersion.since < gap.below,
            CatalogueVersion.ends <= gap.below,
        )
    )
    for batch in _batches(paths):
        session.execute(delete(CataloguePath).where(CataloguePath.id.in_([p.id for p in batch])))
        names.forget(session, gap.source, [(row.place, row.folded) for row in batch])
    return states.rowcount


def _batches(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)]
