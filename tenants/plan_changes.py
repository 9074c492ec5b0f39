"""Moving a tenant to another plan; refused while that would remove anything that is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import guards, ledger, placing, planning, repositories
from backup import policy as policies
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
from tenants import plans
from tenants.models import PlanVersion, Tenant


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
        current = planning.current_policy(session, tenant.id)
        policy = Policy(
            id=new_id(),
            tenant_id=tenant.id,
            version=current.version + 1,
            body=plans.effective(seen.plan, tenant.keep_in),
            zone=tenant.zone,
            cites=f"plan {seen.plan.code} v{seen.plan.version}",
            made_at=now,
        )
        session.add(policy)
        session.get_one(Tenant, tenant.id).plan_version_id = seen.plan.id
        session.flush()
        count = policies.from_json(seen.plan.body).regions
        repositories.assign(session, tenant.id, count=count, by=by, now=now)
        _catch_up(session, tenant, by=by, now=now)
        planning.begin_schedules(session, policy, now=now)
        said = {"plan": seen.plan.code, "version": seen.plan.version}
        deed = Deed("tenants.plan-changed", "tenants", tenant.id, policy.id, details=said)
        entries.note(session, deed, by=by, at=now)
        return seen


def _preview(runtime: Runtime, session: Session, tenant: Tenant, code: str) -> Preview:
    plan = plans.named(session, code)
    now = runtime.now()
    known = ledger.read(session, tenant.id, now=now)
    losing = guards.would_remove(
        known.points,
        known.policy,
        policies.from_json(plans.effective(plan, tenant.keep_in)),
        now=now,
        zone=known.zone,
        holds=known.holds,
    )
    return Preview(plan, losing)


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
