"""What pages and commands show, read once for both: points, retention, health."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from backup import anomalies, expiry, ledger
from backup import retention as retaining
from backup.models import (
    Copy,
    Point,
    PointSource,
    Snapshot,
    Source,
)
from backup.policy import EffectivePolicy
from backup.states import CopyState, Outcome
from restore.models import Drill
from restore.states import DrillState
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import footing, health
from web.footing import Fault
from web.pages import fault_words


def points(platform: Runtime, tenant: Tenant, *, everything: bool = False) -> list[dict[str, Any]]:
    """Points with copies, proofs and expiry, the newest first; gone ones only if asked for."""
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        known = ledger.read(session, tenant.id, now=platform.now())
        ends = expiry.expiries(
            known.points, known.policy, now=platform.now(), zone=known.zone, holds=known.holds
        )
        rows = session.execute(
            select(Point).where(Point.tenant_id == tenant.id).order_by(Point.number.desc())
        ).scalars()
        copies = _copies(session, tenant.id)
        marked = _marked(session, tenant.id)
        return [
            _point(row, copies.get(row.id, []), ends.get(row.id))
            | {"marked": marked.get(row.id, [])}
            for row in rows
            if everything or row.id in ends
        ]


def point(platform: Runtime, tenant: Tenant, point_id: UUID) -> dict[str, Any]:
    """One point, as `points` has it, with what came of each source."""
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = session.get_one(Point, point_id)
        found = _point(row, _copies(session, tenant.id).get(row.id, []), None)
        parts = session.execute(
            select(PointSource, Source.name)
            .join(Source, Source.id == PointSource.source_id)
            .where(PointSource.point_id == point_id)
        )
        found["marked"] = _marked(session, tenant.id).get(row.id, [])
        found["sources"] = [
            {
                "name": part.name,
                "outcome": str(part.PointSource.outcome),
                "failure": part.PointSource.failure,
                "seconds": part.PointSource.seconds,
            }
            for part in parts
        ]
    return found


def find_point(platform: Runtime, tenant: Tenant, name: str) -> Point:
    """By number, id, `newest` (complete) or `latest` (the newest verified one)."""
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        standing = select(Copy.point_id).where(
            Copy.tenant_id == tenant.id, Copy.state != CopyState.REMOVED
        )
        wanted = select(Point).where(Point.tenant_id == tenant.id, Point.id.in_(standing))
        if name == "newest":
            wanted = wanted.where(Point.outcome == Outcome.COMPLETE)
        elif name == "latest":
            wanted = wanted.where(Point.id.in_(verified_points(session, tenant.id)))
        elif name.isdigit():
            wanted = wanted.where(Point.number == int(name))
        else:
            wanted = wanted.where(Point.id == _uuid(name))
        found = session.execute(wanted.order_by(Point.number.desc()).limit(1)).scalar_one_or_none()
    if found is None:
        raise NotFound(
            f"{tenant.slug} has no point {name!r}. `strongroom points {tenant.slug}` shows all.",
            code="unknown-point",
        )
    return found


def verified_points(session: Session, tenant: UUID) -> list[UUID]:
    """Complete points of which some region's copy has all its data proven."""
    known = ledger.read(session, tenant, now=_now(session))
    return [
        each.id
        for each in known.points
        if each.outcome is Outcome.COMPLETE and retaining.is_verified(each)
    ]


def retention(
    platform: Runtime, tenant: Tenant, policy: EffectivePolicy | None
) -> list[dict[str, Any]]:
    """What retention would decide now, under the tenant's policy or another one."""
    now = platform.now()
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        known = ledger.read(session, tenant.id, now=now)
    wanted = policy or known.policy
    decision = retaining.decide(known.points, wanted, now=now, zone=known.zone, holds=known.holds)
    ends = expiry.expiries(known.points, wanted, now=now, zone=known.zone, holds=known.holds)
    return [
        {
            "number": verdict.point.number,
            "date": str(verdict.point.local_date),
            "outcome": str(verdict.point.outcome),
            "goes": not verdict.keep,
            "reasons": [str(reason.code) for reason in verdict.reasons],
            "expires": _day(ends.get(verdict.point.id)),
        }
        for verdict in decision.verdicts
    ]


def status(platform: Runtime) -> dict[str, Any]:
    """The health of every tenant, computed from what was expected, and what needs attention."""
    with platform.database.session(Role.OPERATOR) as session:
        everybody = health.read(session, now=platform.now())
        counts = health.count_points(session, [each.id for each in everybody])
    found = [_standing(each, counts.get(each.id, health.Counts())) for each in everybody]
    attention = [each for each in found if each["attention"]]
    own = footing.attention(platform)
    return {
        "ok": not attention and not own,
        "tenants": found,
        "attention": len(attention),
        "platform": [_fault(each) for each in own],  # what is wrong with it, worst first
    }


def _fault(found: Fault) -> dict[str, Any]:
    means, todo, command = fault_words.plain(found)
    return {
        "code": str(found),
        "since": found.since,
        "failure": found.failure,
        "means": means,
        "todo": todo,
        "command": command,
    }


def _standing(tenant: health.Health, counts: health.Counts) -> dict[str, Any]:
    return {
        "tenant": tenant.slug,
        "points": counts.points,
        "newest_complete": tenant.stored,
        "verified": counts.verified,
        "running": [str(each) for each in tenant.working],
        "attention": [str(each) for each in tenant.troubles],
    }


def _copies(session: Session, tenant: UUID) -> dict[UUID, list[dict[str, Any]]]:
    """The copies of every point; proven as of the oldest proof of its snapshots."""
    snapshots = (
        select(
            PointSource.point_id,
            Snapshot.repository_id,
            func.min(func.coalesce(Snapshot.checked_at, _NEVER)).label("checked_at"),
            func.min(func.coalesce(Snapshot.verified_at, _NEVER)).label("verified_at"),
        )
        .join(
            Snapshot,
            func.coalesce(Snapshot.origin_id, Snapshot.id) == PointSource.snapshot_id,
        )
        .where(PointSource.tenant_id == tenant, Snapshot.tenant_id == tenant)
        .group_by(PointSource.point_id, Snapshot.repository_id)
        .subquery()
    )
    restored = (
        select(Drill.point_id, Drill.repository_id, func.max(Drill.ended_at).label("restored_at"))
        .where(Drill.tenant_id == tenant, Drill.state == DrillState.PASSED)
        .group_by(Drill.point_id, Drill.repository_id)
        .subquery()
    )
    rows = session.execute(
        select(
            Copy,
            Region.name,
            snapshots.c.checked_at,
            snapshots.c.verified_at,
            restored.c.restored_at,
        )
        .join(Region, Region.id == Copy.region_id)
        .outerjoin(
            snapshots,
            and_(
                snapshots.c.point_id == Copy.point_id,
                snapshots.c.repository_id == Copy.repository_id,
            ),
        )
        .outerjoin(
            restored,
            and_(
                restored.c.point_id == Copy.point_id,
                restored.c.repository_id == Copy.repository_id,
            ),
        )
        .where(Copy.tenant_id == tenant)
        .order_by(Region.rank)
    )
    found: dict[UUID, list[dict[str, Any]]] = {}
    for copy, region, checked, verified, restored_at in rows:
        stored = copy.state is CopyState.STORED
        found.setdefault(copy.point_id, []).append(
            {
                "region": region,
                "state": str(copy.state),
                "stored_at": copy.stored_at,
                "checked_at": _proven(checked) if stored else None,
                "verified_at": _proven(verified) if stored else None,
                "restored_at": restored_at,  # the last rehearsed restore of it that passed
                "failure": copy.failure,
            }
        )
    return found


def _marked(session: Session, tenant: UUID) -> dict[UUID, list[str]]:
    """By point, the codes of what looked wrong about it and nobody accepted."""
    odd = anomalies.marked(session, tenant)
    rows = session.execute(
        select(PointSource.point_id, PointSource.snapshot_id).where(
            PointSource.tenant_id == tenant, PointSource.snapshot_id.in_(list(odd))
        )
    )
    found: dict[UUID, list[str]] = {}
    for row in rows:
        found.setdefault(row.point_id, []).extend(odd[row.snapshot_id])
    return found


_NEVER = func.to_timestamp(0)


def _proven(moment: Any) -> Any:
    return None if moment is None or moment.year < 2000 else moment


def _point(row: Point, copies: list[dict[str, Any]], end: expiry.Expiry | None) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "number": row.number,
        "outcome": str(row.outcome),
        "kind": str(row.kind),
        "cadences": row.cadences,
        "taken_at": row.taken_at.isoformat(),
        "local_date": str(row.local_date),
        "bytes": row.bytes,
        "added_bytes": row.added_bytes,
        "entries": row.entries,
        "copies": copies,
        "expires": _day(end),
        "kept_by": str(end.because) if end else None,
    }


def _day(end: expiry.Expiry | None) -> str | None:
    return None if end is None or end.on is None else str(end.on)


def one_source(session: Session, point: Point, name: str | None) -> Source:
    """Of a point, by its name; without one, the only one it has."""
    rows = session.execute(
        select(Source)
        .join(PointSource, PointSource.source_id == Source.id)
        .where(PointSource.point_id == point.id)
    ).scalars()
    known = {row.name: row for row in rows}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None or name not in known:
        raise BadValue(
            f"Which source? Point {point.number} has {', '.join(known) or 'none'}; name one with "
            "--source.",
            code="which-source",
        )
    return known[name]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadValue(
            f"{text!r} is no point: give a number, an id, `newest` or `latest`.", code="bad-point"
        ) from None


def _now(session: Session) -> Any:
    return session.execute(select(func.now())).scalar_one()
