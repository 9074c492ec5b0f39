"""What a person wants to hear nothing of; only kinds that may be refused are ever asked about."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.people.models import NoticeRefusal


def of_account(session: Session, account: uuid.UUID) -> set[str]:
    """Kinds."""
    wanted = select(NoticeRefusal.kind).where(NoticeRefusal.account_id == account)
    return set(session.execute(wanted).scalars())


def put(
    session: Session, account: uuid.UUID, kinds: Iterable[str], *, by: Actor, now: datetime
) -> None:
    """These, and no others, from now on."""
    wanted, known = set(kinds), of_account(session, account)
    if wanted == known:
        return
    session.execute(
        delete(NoticeRefusal).where(
            NoticeRefusal.account_id == account, NoticeRefusal.kind.in_(known - wanted)
        )
    )
    for kind in sorted(wanted - known):
        session.add(NoticeRefusal(account_id=account, kind=kind, since=now))
    deed = Deed("people.notices-chosen", "accounts", account, details={"refused": sorted(wanted)})
    entries.note(session, deed, by=by, at=now)
