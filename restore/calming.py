"""Restores that a recovered database believes in: none of them is carried out a second time."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import calming
from restore.models import Restore
from restore.states import RestoreState


def end_all(session: Session, tenant: UUID, *, now: datetime) -> int:
    """A restore that waited may have been carried out since the dump: who wants it asks again."""
    rows = session.execute(
        select(Restore).where(
            Restore.tenant_id == tenant,
            Restore.state.in_([RestoreState.ASKED, RestoreState.WAITING, RestoreState.RUNNING]),
        )
    ).scalars()
    count = 0
    for row in rows:
        waited = row.state is not RestoreState.RUNNING
        calming.end(
            session, row, RestoreState.CANCELLED if waited else RestoreState.FAILED, now=now
        )
        count += 1
    return count
