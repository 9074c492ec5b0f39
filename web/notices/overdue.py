"""Tenants are told that their backup is overdue: once, when it has been so for a while."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from strongroom.db import Role
from strongroom.notices import people
from strongroom.runtime import Runtime
from web import health
from web.health import Attention, Health

GRACE = timedelta(hours=12)  # beyond what the plan says: operators are at it before
KIND = "backup.overdue"


def tell(runtime: Runtime, standing: Iterable[Health] | None = None) -> int:
    """Gives how many tenants were found late; who was told of a lateness is not told of it again."""
    now = runtime.now()
    if standing is None:
        with runtime.database.session(Role.OPERATOR) as session:
            standing = health.read(session, now=now)
    late = [(each, hours) for each in standing if (hours := lateness(each, now=now)) is not None]
    for each, hours in late:
        assert each.stored is not None
        params = {"hours": hours, "newest": each.newest.isoformat() if each.newest else None}
        with runtime.database.session(Role.OPERATOR, tenant=each.id) as session:
            people.tell_admins(
                session,
                each.id,
                KIND,
                f"{each.id}:{each.stored.isoformat()}",
                params,
                refusable=True,
                now=now,
            )
    return len(late)


def lateness(tenant: Health, *, now: datetime) -> int | None:
    """The hours that the plan allows, where they are over for long; pure. Not before a first point."""
    overdue = next((each for each in tenant.troubles if each.code is Attention.OVERDUE), None)
    if overdue is None or overdue.hours is None or tenant.stored is None:
        return None
    late = now - tenant.stored > timedelta(hours=overdue.hours) + GRACE
    return overdue.hours if late else None
