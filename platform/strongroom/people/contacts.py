"""A tenant's second contact: whom to reach when nobody who has an account answers."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.actors import Actor, ActorKind
from strongroom.ids import new_id
from strongroom.people import accounts, record
from strongroom.people.errors import BadAccount
from strongroom.people.models import SecondContact

PHONE_MOST = 40


@dataclass(frozen=True)
class Wish:
    """What is said of them; no more than is needed to reach them."""

    name: str
    email: str
    phone: str | None = None


def of_tenant(session: Session, tenant: uuid.UUID) -> SecondContact | None:
    wanted = select(SecondContact).where(SecondContact.tenant_id == tenant)
    return session.execute(wanted).scalar_one_or_none()


def put(session: Session, tenant: uuid.UUID, wish: Wish, *, by: Actor, now: datetime) -> None:
    """In the place of the one before. Raises BadAccount."""
    accounts.check_name(wish.name)
    email, phone = accounts.normalised(wish.email), (wish.phone or "").strip() or None
    if phone is not None and (len(phone) > PHONE_MOST or not phone.isprintable()):
        raise BadAccount(f"A telephone number has up to {PHONE_MOST} characters.", code="bad-phone")
    row = of_tenant(session, tenant)
    if row is None:
        row = SecondContact(id=new_id(), tenant_id=tenant)
        session.add(row)
    row.name, row.email, row.phone = wish.name.strip(), email, phone
    row.set_at, row.set_by = now, str(by)
    session.flush()
    account = uuid.UUID(by.name) if by.kind is ActorKind.PERSON else None
    record.note(session, "contact-set", account, by=by, at=now, about=tenant)
