"""`strongroom schedule`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import planning
from backup import policy as policies
from backup import schedule as timing
from backup.models import BackupRun, Schedule, Slot
from backup.schedule import SlotKind
from strongroom.db import Role
from strongroom.errors import BadValue
from tenants import onboarding, pack_changes
from tenants.models import Tenant
from web.output import Screen, when
from web.session import common, connect, me

SHOWN = 14


@click.command()
@click.argument("slug", metavar="TENANT")
@click.argument("action", type=click.Choice(["show", "set"]))
@click.option("--daily-at", help="set: local time of the tenant, like 03:30.")
@click.option("--weekly-on", help="set: a day of the week, like friday.")
@click.option("--weekly-at", help="set: local time of the tenant.")
@click.option("--clear", is_flag=True, help="set: the plan's times again.")
@common
def schedule(
    slug: str, action: str, home: Path | None, as_json: bool, clear: bool, **times: str | None
) -> None:
    """When a tenant is backed up next, and what became of the last times; `set` chooses its own times.

    Refused (exit 4) where the tenant's plan allows none. What is not said stays the plan's.

    Example: strongroom schedule acme set --daily-at 03:30
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    said = {key: value for key, value in times.items() if value is not None}
    if bool(said) + clear != (action == "set"):
        raise BadValue(
            "Say --daily-at, --weekly-on, --weekly-at or --clear with `set`, and only there."
        )
    if action == "set":
        pack_changes.choose_times(platform, tenant, None if clear else said, by=me())
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        following = [_next(session, tenant, kind, platform.now()) for kind in SlotKind]
        past = _past(session, tenant)
    rows = [*sorted(following, key=lambda each: str(each["at"])), *past]
    Screen(as_json).table(
        {"tenant": slug, "zone": tenant.zone, "next": following, "last": past},
        ["cadence", f"local ({tenant.zone})", "UTC", "outcome"],
        [[each["cadence"], each["local"], each["utc"], each["outcome"]] for each in rows],
    )


def _next(session: Session, tenant: Tenant, kind: SlotKind, now: datetime) -> dict[str, Any]:
    """As the policy in force says, which is what the dispatcher goes by."""
    policy = planning.current_policy(session, tenant.id)
    plan = timing.schedule_of(
        policies.from_json(policy.body),
        kind,
        zone=timing.zone_named(policy.zone),
        tenant_id=tenant.id,
    )
    return _said(tenant, kind, timing.next_slot(plan, after=now).at) | {"outcome": "next"}


def _past(session: Session, tenant: Tenant) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Slot, Schedule.cadence, BackupRun.state)
        .join(Schedule, Schedule.id == Slot.schedule_id)
        .outerjoin(BackupRun, BackupRun.id == Slot.run_id)
        .where(Slot.tenant_id == tenant.id, Schedule.tenant_id == tenant.id)
        .order_by(Slot.at.desc())
        .limit(SHOWN)
    )
    return [
        _said(tenant, row.cadence, row.Slot.at)
        | {
            "outcome": str(row.state or row.Slot.outcome),
            "run": None if row.Slot.run_id is None else str(row.Slot.run_id),
        }
        for row in rows
    ]


def _said(tenant: Tenant, kind: SlotKind, at: datetime) -> dict[str, Any]:
    local = at.astimezone(ZoneInfo(tenant.zone))
    return {
        "cadence": str(kind),
        "at": at,
        "local": local.strftime("%a %Y-%m-%d %H:%M %Z"),
        "utc": when(at),
    }


COMMANDS = (schedule,)
