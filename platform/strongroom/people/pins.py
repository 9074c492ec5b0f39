"""A caller is who they say when they read out the tenant's PIN of the moment.

Six digits, reckoned from a secret of the tenant and the half hour; the half hour before counts too,
so that nobody is cut off in mid-call. The tenant's admins see it, staff can only check one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.keys import KeyProvider
from strongroom.people import record, sealing, tokens
from strongroom.people.models import Account, SupportPin

DIGITS = 6
SECONDS = 30 * 60
PURPOSE = "support-pin"


@dataclass(frozen=True)
class Pin:
    """What the tenant's admins see."""

    digits: str
    until: datetime  # another one is shown from then on; this one is taken for half an hour more


def shown(session: Session, provider: KeyProvider, tenant: uuid.UUID, *, now: datetime) -> Pin:
    """The PIN of the moment; the secret behind it is made when it is first asked for."""
    window = _window(now)
    until = datetime.fromtimestamp((window + 1) * SECONDS, UTC)
    return Pin(reckoned(_secret(session, provider, tenant, now), window), until)


def check(
    session: Session,
    provider: KeyProvider,
    tenant: uuid.UUID,
    typed: str,
    *,
    by: Account,
    now: datetime,
) -> bool:
    """Whether a caller may be taken for this tenant's; on record either way. Count tries first."""
    digits = "".join(each for each in typed if each.isascii() and each.isdigit())
    secret, window = _secret(session, provider, tenant, now), _window(now)
    right = [tokens.same(reckoned(secret, each), digits) for each in (window - 1, window)]
    code = "pin-right" if any(right) else "pin-wrong"
    actor = Actor.of_person(by.id)
    record.note(session, code, by.id, by=actor, at=now, about=tenant)
    return any(right)


def reckoned(secret: bytes, window: int) -> str:
    """The digits of one half hour. Pure."""
    made = hmac.new(secret, window.to_bytes(8, "big"), hashlib.sha256).digest()
    return f"{int.from_bytes(made[:8], 'big') % 10**DIGITS:0{DIGITS}d}"


def _window(now: datetime) -> int:
    return int(now.timestamp()) // SECONDS


def _secret(session: Session, provider: KeyProvider, tenant: uuid.UUID, now: datetime) -> bytes:
    wanted = select(SupportPin).where(SupportPin.tenant_id == tenant)
    row = session.execute(wanted).scalar_one_or_none()
    if row is None:
        fresh = new_id()
        sealed = sealing.close(provider, secrets.token_bytes(32), fresh, PURPOSE)
        session.execute(
            insert(SupportPin)
            .values(id=fresh, tenant_id=tenant, sealed=sealed, made_at=now)
            .on_conflict_do_nothing(index_elements=["tenant_id"])
        )
        row = session.execute(wanted).scalar_one()
    return sealing.unseal(provider, row.sealed, row.id, PURPOSE)
