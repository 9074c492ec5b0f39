"""Mending a repository in which damage was seen, from a region that is whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Healing
from backup.states import HealingState
from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, record

OPEN = (HealingState.WAITING, HealingState.HEALING, HealingState.QUARANTINED)


def want(
    session: Session,
    tenant: UUID,
    repository_id: UUID,
    *,
    seen: Mapping[str, Any],
    by: Actor,
    now: datetime,
) -> Healing:
    """Have the repository mended; one attempt at a time, which looks at all that is wrong."""
    row = session.execute(
        select(Healing).where(
            Healing.tenant_id == tenant,
            Healing.repository_id == repository_id,
            Healing.state.in_(OPEN),
        )
    ).scalar_one_or_none()
    if row is None:
        row = Healing(
            id=new_id(),
            tenant_id=tenant,
            repository_id=repository_id,
            state=HealingState.WAITING,
            seen=dict(seen),
            asked_by=str(by),
            asked_at=now,
            due_at=now,
        )
        session.add(row)
        record(session, row, old="", move=Move(by=by, at=now, reason=Reason("damage-seen")))
    return row
