"""Moving a tenant to another plan; refused while that would remove anything that is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import guards, ledger, placing, planning, repositories
from backup.models import Copy, Point, Policy
from backup.retention import Verdict
from backup.states import CopyState
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import Refused
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record
from strongroom.runtime import Runtime
from tenants import packs, plans, resolving
from tenants.models import PlanVersion, Tenant
from tenants.resolving import Resolved


class WouldRemove(Refused):
    """The other plan would let go points that are kept today."""

    code = "plan-would-remove"


@dataclass(frozen=True)
class Preview:
    """What a change of plan would mean."""

    plan: PlanVersion
    losing: tuple[Verdict, ...]  # points that would go, newest first


def preview(runtime: Runtime, tenant: Tenant, code: str) -> Preview:
    """Which points the tenant would lose; changes nothing."""
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return _preview(runtime, session, tenant, code)


def change(runtime: Runtime, tenant: Tenant, code: str, *, by: Actor) -> Preview:
    """Put the tenant on the newest version of a plan. Raises WouldRemove, naming the points."""
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        seen = _preview(runtime, session, tenant, code)
        if seen.losing:
            numbers = [verdict.point.number for verdict in seen.losing]
            raise WouldRemove(
                f"Plan {code} would remove {len(numbers)} points of {tenant.slug} that are kept "
                f"today: {', '.join(map(str, numbers[:20]))}{' …' if len(numbers) > 20 else ''}. "
                "Nothing was changed. `strongroom retention preview` shows why each would go.",
                points=numbers,
            )
        row = session.get_one(Tenant, tenant.id)
        row.plan_version_id = seen.plan.id
        policy = put(session, row, _resolved(runtime, session, row, seen.plan), by=by, now=now)
        said = {"plan": seen.plan.code, "version": seen.plan.version}
        deed = Deed("tenants.plan-changed", "tenants", tenant.id, policy.id, details=said)
        entries.note(session, deed, by=by, at=now)
        return seen


def put(
    session: Session, tenant: Tenant, resolved: Resolved, *, by: Actor, now: datetime
) -> Policy:
    """From now on this is in force for the tenant: schedules move, copies come for regions it gains."""
    current = planning.current_policy(session, tenant.id)
    policy = Policy(
        id=new_id(),
        tenant_id=tenant.id,
        version=current.version + 1,
        body=resolved.policy.to_json(),
        zone=tenant.zone,
        cites=resolved.cites,
        made_at=now,
    )
    session.add(policy)
    session.flush()
    repositories.assign(session, tenant.id, count=resolved.policy.regions, by=by, now=now)
    _catch_up(session, tenant, by=by, now=now)
    planning.begin_schedules(session, policy, now=now)
    return policy


def losing(
    runtime: Runtime, session: Session, tenant: UUID, resolved: Resolved
) -> tuple[Verdict, ...]:
    """Points that are kept today and would go, newest first."""
    now = runtime.now()
    known = ledger.read(session, tenant, now=now)
    return guards.would_remove(
        known.points, known.policy, resolved.policy, now=now, zone=known.zone, holds=known.holds
    )


def _resolved(runtime: Runtime, session: Session, tenant: Tenant, plan: PlanVersion) -> Resolved:
    known = packs.known(runtime.settings.packs)
    return resolving.resolve(plan, tenant, resolving.sources_of(session, tenant.id), known)


def _preview(runtime: Runtime, session: Session, tenant: Tenant, code: str) -> Preview:
    plan = plans.named(session, code)
    resolved = _resolved(runtime, session, tenant, plan)
    return Preview(plan, losing(runtime, session, tenant.id, resolved))


def _catch_up(session: Session, tenant: Tenant, *, by: Actor, now: datetime) -> None:
    """Copies of existing points for regions the tenant has gained."""
    points = session.execute(
        select(Point).where(
            Point.tenant_id == tenant.id,
            Point.id.in_(
                select(Copy.point_id).where(
                    Copy.tenant_id == tenant.id, Copy.state != CopyState.REMOVED
                )
            ),
        )
    ).scalars()
    held = repositories.of_tenant(session, tenant.id)
    targets = placing.targets(session, tenant.id, held)
    _leave(session, tenant, {repository.id for repository, _ in targets}, by=by, now=now)
    for point in points:
        have = set(
            session.execute(select(Copy.repository_id).where(Copy.point_id == point.id)).scalars()
        )
        for repository, _region in targets:
            if repository.id in have:
                continue
            copy = Copy(
                id=new_id(),
                tenant_id=tenant.id,
                point_id=point.id,
                region_id=repository.region_id,
                repository_id=repository.id,
                state=CopyState.WAITING,
                due_at=now,
            )
            session.add(copy)
            move = Move(by=by, at=now, reason=Reason("region-gained"))
            record(session, copy, old="", move=move)


def _leave(
    session: Session, tenant: Tenant, staying: set[UUID], *, by: Actor, now: datetime
) -> None:
    """Copies that wait for a region where the data may no longer lie are waited for no more."""
    left = session.execute(
        select(Copy).where(
            Copy.tenant_id == tenant.id,
            Copy.state == CopyState.WAITING,
            Copy.repository_id.not_in(staying),
        )
    ).scalars()
    for copy in left:
        advance(session, copy, CopyState.REMOVED, Move(by=by, at=now, reason=Reason("region-left")))
