"""A tenant's points as facts for retention: rows in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session

from backup import anomalies, facts, findings, planning
from backup import policy as policies
from backup.models import (
    Copy,
    Hold,
    ObjectLock,
    Point,
    PointSource,
    Policy,
    Snapshot,
    Source,
)
from backup.policy import EffectivePolicy
from backup.schedule import zone_named
from backup.states import CopyState, Outcome


@dataclass(frozen=True)
class Ledger:
    """Everything a retention decision about one tenant rests on."""

    row: Policy
    policy: EffectivePolicy
    zone: ZoneInfo
    points: tuple[facts.Point, ...]
    holds: tuple[facts.Hold, ...]


def read(session: Session, tenant: UUID, *, now: datetime) -> Ledger:
    """The tenant's points that still lie somewhere, and what is in force for them."""
    row = planning.current_policy(session, tenant)
    zone = zone_named(row.zone)
    standing = select(Copy.point_id).where(
        Copy.tenant_id == tenant, Copy.state != CopyState.REMOVED
    )
    points = session.execute(
        select(*_OF_POINT).where(Point.tenant_id == tenant, Point.id.in_(standing))
    )
    parts = _parts(session, tenant, standing, zone)
    locked = _locked(session, tenant, now=now)
    wrong = anomalies.rejected(session, tenant)
    return Ledger(
        row=row,
        policy=policies.from_json(row.body),
        zone=zone,
        points=tuple(_fact(point, parts.get(point.id, ()), locked, wrong) for point in points),
        holds=tuple(holds_of(session, tenant, now=now)),
    )


_OF_POINT = (  # columns, not rows as objects: a page asks for hundreds
    *(Point.id, Point.number, Point.kind, Point.outcome, Point.first_seen_at),
    *(Point.local_date, Point.pinned_until, Point.wanted_until),
)


def holds_of(session: Session, tenant: UUID, *, now: datetime) -> Sequence[facts.Hold]:
    """Holds in force (not released, their date not passed), and findings that freeze."""
    rows = session.execute(
        select(Hold).where(
            Hold.tenant_id == tenant,
            Hold.released_at.is_(None),
            or_(Hold.until.is_(None), Hold.until > now),
        )
    ).scalars()
    unsettled = findings.open_of(session, tenant, freezing=True)
    return [
        *(facts.Hold(id=row.id) for row in rows),
        *(facts.Hold(id=row.id, why=facts.Why.UNSETTLED) for row in unsettled),
    ]


def _locked(session: Session, tenant: UUID, *, now: datetime) -> dict[UUID, datetime]:
    """Until when a snapshot's own object is locked in any region, by the first snapshot's id."""
    root = func.coalesce(Snapshot.origin_id, Snapshot.id)
    rows = session.execute(
        select(root, func.max(ObjectLock.until))
        .join(
            Snapshot,
            and_(
                Snapshot.repository_id == ObjectLock.repository_id,
                ObjectLock.key == func.concat("snapshots/", Snapshot.restic_id),
            ),
        )
        .where(ObjectLock.tenant_id == tenant, ObjectLock.until > now, Snapshot.standing())
        .group_by(root)
    )
    return {row[0]: row[1] for row in rows}


def _fact(
    point: Any,
    parts: Sequence[facts.Part],
    locked: Mapping[UUID, datetime],
    wrong: frozenset[UUID],
) -> facts.Point:
    """What a person rejected is no whole source any more, and its point no complete one: it
    takes no slot from a good one and counts for no floor."""
    spoiled = bool(wrong) and any(part.snapshot in wrong for part in parts)
    if spoiled:
        parts = [replace(part, whole=False) if part.snapshot in wrong else part for part in parts]
    ends = [locked[part.snapshot] for part in parts if part.snapshot in locked] if locked else ()
    return facts.Point(
        id=point.id,
        number=point.number,
        kind=point.kind,
        outcome=Outcome.PARTIAL if spoiled else point.outcome,
        first_seen_at=point.first_seen_at,
        local_date=point.local_date,
        parts=tuple(parts),
        pinned_until=point.pinned_until,
        locked_until=max(ends, default=None),
        wanted_until=point.wanted_until,
    )


def _parts(
    session: Session, tenant: UUID, standing: Select[Any], zone: ZoneInfo
) -> dict[UUID, list[facts.Part]]:
    """What each point holds of each source; verified when any region's copy of it is."""
    rows = session.execute(
        select(
            *(PointSource.point_id, PointSource.source_id, PointSource.outcome),
            *(Snapshot.id, Snapshot.origin_id, Snapshot.bytes),
            *(Snapshot.verified_at, Snapshot.taken_at, Source.removed_at),
        )
        .join(
            Snapshot,
            and_(
                Snapshot.tenant_id == PointSource.tenant_id,
                func.coalesce(Snapshot.origin_id, Snapshot.id) == PointSource.snapshot_id,
            ),
        )
        .join(Source, Source.id == PointSource.source_id)
        .where(
            PointSource.tenant_id == tenant,
            Snapshot.tenant_id == tenant,
            PointSource.point_id.in_(standing),
            Snapshot.standing(),
        )
    )
    # Of each point and source the last row, and when any region's was proven last.
    found: dict[UUID, dict[UUID, tuple[Any, datetime | None]]] = {}
    for row in rows:
        of_point = found.setdefault(row.point_id, {})
        earlier = of_point.get(row.source_id)
        proven = row.verified_at
        if earlier is not None and earlier[1] is not None:
            proven = earlier[1] if proven is None else max(proven, earlier[1])
        of_point[row.source_id] = (row, proven)
    return {
        point: [_part(row, proven, zone) for row, proven in by_source.values()]
        for point, by_source in found.items()
    }


def _part(row: Any, proven: datetime | None, zone: ZoneInfo) -> facts.Part:
    return facts.Part(
        source=row.source_id,
        snapshot=row.origin_id or row.id,
        size=row.bytes,
        verified_on=None if proven is None else proven.astimezone(zone).date(),
        stored_at=row.taken_at,
        whole=row.outcome is Outcome.COMPLETE,
        retired=row.removed_at is not None,
    )
