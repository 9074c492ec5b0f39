"""Codes of an authenticator app (RFC 6238): six digits, 30 seconds, one step of drift each way.

A code is taken once: the time step it belongs to is stored, and only later ones are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyotp
from pyotp.totp import TOTP
from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.keys import KeyProvider
from strongroom.people import record, sealing, tokens
from strongroom.people.models import Account, TotpFactor

SECONDS = 30
DRIFT = 1  # steps
PURPOSE = "totp"
ISSUER = "Strongroom"


@dataclass(frozen=True)
class Shown:
    """What an app needs, shown once."""

    factor: TotpFactor
    secret: str  # base32, for typing
    address: str  # otpauth://…, for the QR code


def start(session: Session, provider: KeyProvider, account: Account, *, now: datetime) -> Shown:
    """A new secret, not yet in force; one that was shown before and never confirmed is void."""
    session.execute(
        delete(TotpFactor).where(
            TotpFactor.account_id == account.id, TotpFactor.confirmed_at.is_(None)
        )
    )
    factor = TotpFactor(id=new_id(), account_id=account.id, made_at=now)
    secret = pyotp.random_base32()
    factor.sealed = sealing.close(provider, secret.encode(), factor.id, PURPOSE)
    session.add(factor)
    session.flush()
    return _shown(factor, secret, account)


def pending(session: Session, provider: KeyProvider, account: Account) -> Shown | None:
    """The one that was shown and waits to be confirmed."""
    wanted = select(TotpFactor).where(
        TotpFactor.account_id == account.id, TotpFactor.confirmed_at.is_(None)
    )
    factor = session.execute(wanted).scalar_one_or_none()
    if factor is None:
        return None
    return _shown(factor, _secret(provider, factor), account)


def confirm(
    session: Session,
    provider: KeyProvider,
    account: Account,
    code: str,
    *,
    by: Actor,
    now: datetime,
) -> bool:
    """The app works: from now on this one counts, in the place of any before. `now` as apps tell it."""
    shown = pending(session, provider, account)
    if shown is None or not _take(session, provider, shown.factor, code, now=now):
        return False
    session.execute(
        delete(TotpFactor).where(
            TotpFactor.account_id == account.id, TotpFactor.id != shown.factor.id
        )
    )
    shown.factor.confirmed_at = now
    session.flush()
    record.note(session, "totp-enrolled", account.id, by=by, at=now, about=shown.factor.id)
    return True


def check(
    session: Session, provider: KeyProvider, account: Account, code: str, *, now: datetime
) -> bool:
    """Whether the code is right and was not taken before; taking it uses it up."""
    factor = in_force(session, account)
    return factor is not None and _take(session, provider, factor, code, now=now)


def in_force(session: Session, account: Account) -> TotpFactor | None:
    wanted = select(TotpFactor).where(
        TotpFactor.account_id == account.id, TotpFactor.confirmed_at.is_not(None)
    )
    return session.execute(wanted).scalar_one_or_none()


def _take(
    session: Session, provider: KeyProvider, factor: TotpFactor, code: str, *, now: datetime
) -> bool:
    step = matching(_secret(provider, factor), code, now=now)
    if step is None:
        return False
    taken = session.execute(
        update(TotpFactor)
        .where(
            TotpFactor.id == factor.id,
            or_(TotpFactor.last_step.is_(None), TotpFactor.last_step < step),
        )
        .values(last_step=step)
        .returning(TotpFactor.id)
    )
    return taken.first() is not None


def matching(secret: str, code: str, *, now: datetime) -> int | None:
    """The time step that this code belongs to. Pure."""
    typed = "".join(each for each in code if each.isascii() and each.isdigit())
    if len(typed) != 6:
        return None
    reckoner = TOTP(secret, interval=SECONDS)
    current = int(now.timestamp()) // SECONDS
    for step in range(current - DRIFT, current + DRIFT + 1):
        if tokens.same(reckoner.generate_otp(step), typed):
            return step
    return None


def _secret(provider: KeyProvider, factor: TotpFactor) -> str:
    return sealing.unseal(provider, factor.sealed, factor.id, PURPOSE).decode()


def _shown(factor: TotpFactor, secret: str, account: Account) -> Shown:
    reckoner = TOTP(secret, interval=SECONDS)
    address = reckoner.provisioning_uri(name=account.email, issuer_name=ISSUER)
    return Shown(factor, secret, address)
