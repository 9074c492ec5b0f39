"""A tenant with four points on four days: what the pages of finding are tried with."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from backup.models import (
    Schedule,
)
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.restore.shelves import LAST, Shelf, shelf


def four_points(runtime: Runtime, acme: Tenant, clock: FakeClock) -> Shelf:
    """Four points on four days; one file is deleted, one changes, one has an Arabic name."""
    clock.stop_at(LAST + timedelta(hours=1))
    made = shelf(
        runtime,
        acme,
        [
            {"/letters/0.txt": 1, "/gone.txt": 7},
            {"/letters/0.txt": 1, "/gone.txt": 7},
            {"/letters/0.txt": 5, "/فاتورة.pdf": 3},
            {"/letters/0.txt": 5, "/فاتورة.pdf": 3},
        ],
    )
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        rest = {"last_at": LAST, "next_at": LAST + timedelta(hours=20)}
        session.execute(update(Schedule).where(Schedule.tenant_id == acme.id).values(**rest))
    return made
