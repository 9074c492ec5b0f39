"""Tenants are told that their backup is overdue: once, when it has been so for a while."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from strongroom.db import Role
from strongroom.notices import people
from strongroom.runtime import Runtime
from web import health
from web.health import Attention, Health

GRACE = timedelta(hours=12)  # beyond what the plan says: operators are at it before
KIND = "backup.overdue"

log = structlog.get_logger(__name__)


def tell(runtime: Runtime, standing: Iterable[Health] | None = None) -> int:
    """Gives how many tenants were found late; who was told of a lateness is not told of it again."""
    now = runtime.now()
    if standing is None:
        with runtime.database.session(Role.OPERATOR) as session:
            standing = health.read(session, now=now)
    late = [(each, hours) for each in standing if (hours := lateness(each, now=now)) is not None]
    for each, hours in late:
        try:
            _tell(runtime, each, hours)
        except Exception:  # an edge: one tenant's failure keeps nobody else from being told
            log.exception("a tenant could not be told", tenant=str(each.id))
    return len(late)


def _tell(runtime: Runtime, late: Health, hours: int) -> None:
    assert late.stored is not None
    params = {"hours": hours, "newest": late.newest.isoformat() if late.newest else None}
    once = f"{late.id}:{late.stored.isoformat()}"
    with runtime.database.session(Role.OPERATOR, tenant=late.id) as session:
        people.tell_admins(session, late.id, KIND, once, params, refusable=True, now=runtime.now())


def lateness(tenant: Health, *, now: datetime) -> int | None:
    """The hours that the plan allows, where they are over for long; pure. Not before a first point."""
    overdue = next((each for each in tenant.troubles if each.code is Attention.OVERDUE), None)
    if overdue is None or overdue.hours is None or tenant.stored is None:
        return None
    late = now - tenant.stored > timedelta(hours=overdue.hours) + GRACE
    return overdue.hours if late else None
