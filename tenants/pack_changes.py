"""What a tenant is under, and what it chose itself: put in force, and on record.

A change that would let go of what is kept is refused, unless who asks says that it shall go: a
ceiling on the age of data does just that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import planning
from backup.retention import Verdict
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import Refused
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants import packs, plan_changes, resolving
from tenants.models import PlanVersion, Tenant
from tenants.packs import Pack
from tenants.plan_changes import WouldRemove
from tenants.promise_rows import PackVersion
from tenants.resolving import Resolved


class NoOwnSchedule(Refused):
    """The tenant's plan does not let it choose its times."""

    code = "no-own-schedule"


@dataclass(frozen=True)
class _Change:
    """One change of what a tenant is under."""

    code: str  # as it stands on record
    details: Mapping[str, object]
    apply: Callable[[Tenant], None]
    let_go: bool = False  # points may go


def put_under(
    runtime: Runtime, tenant: Tenant, name: str | None, *, by: Actor, let_go: bool = False
) -> Resolved:
    """Put the tenant under a pack, or under none. Raises NotFound, WouldRemove."""
    known = packs.known(runtime.settings.packs)
    pack = None if name is None else packs.named(known, name)

    def apply(row: Tenant) -> None:
        row.pack = name

    said = {"pack": name or "none", "before": tenant.pack or "none"}
    resolved = _change(runtime, tenant, _Change("tenants.pack-changed", said, apply, let_go), by=by)
    if pack is not None:
        with runtime.database.session(Role.OPERATOR) as session:
            note_version(session, pack, now=runtime.now())
    return resolved


def choose_times(
    runtime: Runtime, tenant: Tenant, said: Mapping[str, str] | None, *, by: Actor
) -> Resolved:
    """The tenant's own times, or the plan's again. Raises BadSchedule, NoOwnSchedule."""
    own = None if said is None else resolving.own_schedule(said)

    def apply(row: Tenant) -> None:
        row.own_schedule = own

    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        plan = session.get_one(PlanVersion, tenant.plan_version_id)
        if own is not None and not plan.body.get("own_schedule", False):
            raise NoOwnSchedule(
                f"{tenant.slug} is on plan {plan.code}, which has no schedules of a tenant's own. "
                "Choose a plan with own_schedule = true: `strongroom plan list`.",
                plan=plan.code,
            )
    change = _Change("tenants.schedule-chosen", own or {"own": False}, apply)
    return _change(runtime, tenant, change, by=by)


def refresh(session: Session, runtime: Runtime, tenant: Tenant, *, by: Actor) -> None:
    """Put in force what is to be in force now, where that is something else than before.

    Raises WouldRemove where a file that was changed meanwhile would let points go with it.
    """
    resolved = _resolved(runtime, session, tenant)
    if planning.current_policy(session, tenant.id).body != resolved.policy.to_json():
        if losing := plan_changes.losing(runtime, session, tenant.id, resolved):
            raise _would_remove(tenant, losing)
        plan_changes.put(session, tenant, resolved, by=by, now=runtime.now())


def _would_remove(tenant: Tenant, losing: Sequence[Verdict]) -> WouldRemove:
    numbers = [verdict.point.number for verdict in losing]
    return WouldRemove(
        f"This would remove {len(numbers)} points of {tenant.slug} that are kept today: "
        f"{', '.join(map(str, numbers[:20]))}{' …' if len(numbers) > 20 else ''}. Nothing was "
        "changed. `strongroom tenant pack … --let-go` puts the pack as it is now in force.",
        points=numbers,
    )


def note_version(session: Session, pack: Pack, *, now: datetime) -> bool:
    """The pack as it is now, unless it is known so; true where it was new."""
    newest = session.execute(
        select(PackVersion)
        .where(PackVersion.pack == pack.name)
        .order_by(PackVersion.version.desc())
        .limit(1)
    ).scalar_one_or_none()
    said = (pack.sha256, pack.effective, pack.revised)
    if newest is not None and (newest.sha256, newest.effective, newest.revised) == said:
        return False
    session.add(
        PackVersion(
            id=new_id(),
            pack=pack.name,
            version=1 if newest is None else newest.version + 1,
            sha256=pack.sha256,
            effective=pack.effective,
            revised=pack.revised,
            noted_at=now,
        )
    )
    session.flush()
    return True


def _resolved(runtime: Runtime, session: Session, tenant: Tenant) -> Resolved:
    return resolving.of_tenant(session, tenant, packs.known(runtime.settings.packs))


def _change(runtime: Runtime, tenant: Tenant, change: _Change, *, by: Actor) -> Resolved:
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = session.get_one(Tenant, tenant.id)
        change.apply(row)
        resolved = _resolved(runtime, session, row)
        losing = plan_changes.losing(runtime, session, tenant.id, resolved)
        if losing and not change.let_go:
            raise _would_remove(tenant, losing)
        policy = plan_changes.put(session, row, resolved, by=by, now=now)
        deed = Deed(change.code, "tenants", tenant.id, policy.id, details=dict(change.details))
        entries.note(session, deed, by=by, at=now)
    return resolved
