"""Holds, as operators place and release them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backup.models import Hold
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web.output import when


def place(
    platform: Runtime, tenant: Tenant, reason: str, *, until: datetime | None, by: Actor
) -> Hold:
    """Keep everything of the tenant. Raises BadValue for an end that has passed."""
    now = platform.now()
    if not reason.strip():
        raise BadValue("A hold needs a reason; whoever finds it later has to understand it.")
    if until is not None and until <= now:
        raise BadValue(f"A hold ends in the future; {until:%Y-%m-%d} has passed.")
    row = Hold(
        id=new_id(),
        tenant_id=tenant.id,
        reason=reason,
        until=until,
        placed_by=str(by),
        placed_at=now,
    )
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        session.add(row)
        deed = Deed("holds.placed", "holds", row.id, details={"why": reason})
        entries.note(session, deed, by=by, at=now)
    return row


def release(platform: Runtime, hold_id: UUID, *, by: Actor) -> Hold:
    """End a hold. Raises NotFound for one that does not stand."""
    with platform.database.session(Role.OPERATOR) as session:
        found = session.execute(
            select(Hold).where(Hold.id == hold_id, Hold.released_at.is_(None))
        ).scalar_one_or_none()
    if found is None:
        raise NotFound(f"No hold {hold_id} stands. `strongroom hold list` shows those that do.")
    with platform.database.session(Role.OPERATOR, tenant=found.tenant_id) as session:
        row = session.get_one(Hold, hold_id)
        row.released_at = platform.now()
        row.released_by = str(by)
        entries.note(session, Deed("holds.released", "holds", row.id), by=by, at=platform.now())
    return row


def standing(platform: Runtime) -> list[dict[str, Any]]:
    """Every hold that is in force."""
    with platform.database.session(Role.OPERATOR) as session:
        rows = session.execute(
            select(Hold, Tenant.slug)
            .join(Tenant, Tenant.id == Hold.tenant_id)
            .where(Hold.released_at.is_(None))
            .order_by(Hold.placed_at)
        ).all()
    return [
        {
            "hold": str(row.Hold.id),
            "tenant": row.slug,
            "reason": row.Hold.reason,
            "until": when(row.Hold.until),
            "by": row.Hold.placed_by,
        }
        for row in rows
        if row.Hold.until is None or row.Hold.until > platform.now()
    ]
