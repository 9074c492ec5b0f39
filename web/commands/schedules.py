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
from tenants import onboarding
from tenants.models import Tenant
from web.output import Screen, when
from web.session import common, connect

SHOWN = 14


@click.command()
@click.argument("slug", metavar="TENANT")
@click.argument("action", type=click.Choice(["show"]))
@common
def schedule(slug: str, action: str, home: Path | None, as_json: bool) -> None:
    """When a tenant is backed up next, and what became of the last times.

    Example: strongroom schedule acme show
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
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
