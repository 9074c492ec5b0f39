"""Restores and deliveries that a recovered database believes in: none of them goes on."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import calming
from backup.adopting import RECOVERY
from restore.delivery import ending
from restore.delivery.models import Delivery
from restore.delivery.states import GOING, DeliveryState, End
from restore.models import Restore
from restore.states import RestoreState
from strongroom.lifecycle import Reason


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
    _end_deliveries(session, tenant, now=now)
    return count


def _end_deliveries(session: Session, tenant: UUID, *, now: datetime) -> None:
    """A link that was revoked since the dump is not to work again."""
    over = (DeliveryState.ENDING, DeliveryState.ENDED)
    rows = session.execute(
        select(Delivery).where(Delivery.tenant_id == tenant, Delivery.state.not_in(over))
    ).scalars()
    for row in rows:
        as_ = End.CANCELLED if row.state in GOING else End.REVOKED
        ending.end(session, row, as_, Reason(calming.CAUSE), by=RECOVERY, at=now)
