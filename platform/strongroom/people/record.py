"""What happened to accounts, for the record: codes and ids, never an address or a secret."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.people.models import PersonEvent


def note(
    session: Session,
    code: str,
    account: uuid.UUID | None,
    *,
    by: Actor,
    at: datetime,
    about: uuid.UUID | None = None,
) -> None:
    """One line; in the same transaction as what it tells of."""
    session.add(
        PersonEvent(id=new_id(), account_id=account, about=about, code=code, by=str(by), at=at)
    )


def of_account(session: Session, account: uuid.UUID, *, most: int = 50) -> Sequence[PersonEvent]:
    """The newest first."""
    wanted = select(PersonEvent).where(PersonEvent.account_id == account)
    return session.execute(wanted.order_by(PersonEvent.at.desc()).limit(most)).scalars().all()
