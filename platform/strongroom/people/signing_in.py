"""The steps of a sign-in: the first proof, the second, and what may still be missing.

An unknown address of mail costs the same statements and the same hashing as a known one with a wrong
password, and gets the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from strongroom.actors import Actor, ActorKind
from strongroom.keys import KeyProvider
from strongroom.people import accounts, links, passwords, record, recovery_codes, sessions, totp
from strongroom.people.errors import NotProven
from strongroom.people.models import (
    Account,
    LinkPurpose,
    Membership,
    OneTimeLink,
    Passkey,
    Stage,
    TotpFactor,
    WebSession,
)
from strongroom.people.rules import ADMINS, GrantScope, Person, TenantRole, needs_second_factor
from strongroom.people.sessions import Known, Visit

FIRST = frozenset({"pwd", "openid", "link"})
STRANGER = Actor(ActorKind.SYSTEM, "sign-in")


@dataclass(frozen=True)
class Begun:
    """A sign-in that has got somewhere."""

    session: WebSession
    account: Account
    token: str


def with_password(db: Session, email: str, password: str, visit: Visit) -> Begun | None:
    """None for whatever is not right."""
    account = accounts.with_email(db, email)
    right = passwords.fits(None if account is None else account.password, password)
    if account is None or not right or account.disabled_at is not None:
        about = None if account is None else account.id
        record.note(db, "sign-in-refused", about, by=STRANGER, at=visit.now)
        return None
    if account.password is not None and passwords.outgrown(account.password):
        account.password = passwords.hashed(password)
    return enter(db, account, visit, proofs=["pwd"])


def with_link(db: Session, token: str, visit: Visit, *, demo: bool) -> tuple[Begun, OneTimeLink]:
    """Raises NotProven. An invitation leads to setting a new password; sessions
    from before are over.

    Links that sign in at once are taken in a home marked as demo and nowhere else.
    """
    link, account = links.redeem(db, token, now=visit.now)
    record.note(db, "link-used", account.id, by=STRANGER, at=visit.now, about=link.id)
    if link.purpose is LinkPurpose.SIGN_IN:
        if not demo:
            raise NotProven("Such links are for demo homes.", code="link-closed")
        return enter(db, account, visit, proofs=["link"]), link
    sessions.revoke_all(db, account.id, now=visit.now)
    row, new = sessions.begin(db, account, visit, stage=Stage.ENROL, proofs=[])
    return Begun(row, account, new), link


def enter(db: Session, account: Account, visit: Visit, *, proofs: list[str]) -> Begun:
    """The first proof was given; what comes next depends on whose it is and what they have."""
    stage = stage_after(db, account, set(proofs))
    sessions.clear(db, now=visit.now)
    row, token = sessions.begin(db, account, visit, stage=stage, proofs=proofs)
    by = accounts.actor_of(account)
    record.note(db, "signed-in", account.id, by=by, at=visit.now, about=row.id)
    return Begun(row, account, token)


def stage_after(db: Session, account: Account, proofs: set[str]) -> Stage:
    """Where a sign-in stands once these were given."""
    if not FIRST & proofs:
        return Stage.ENROL
    if sessions.STRONG & proofs:
        return Stage.WHOLE
    if has_factor(db, account):
        return Stage.SECOND
    return Stage.ENROL if must_have_factor(db, account) else Stage.WHOLE


def has_factor(db: Session, account: Account) -> bool:
    """Whether this person can give a second proof."""
    wanted = select(
        exists().where(TotpFactor.account_id == account.id, TotpFactor.confirmed_at.is_not(None))
        | exists().where(Passkey.account_id == account.id)
    )
    return bool(db.execute(wanted).scalar_one())


def must_have_factor(db: Session, account: Account) -> bool:
    """Staff, and whoever owns or administers any tenant."""
    if needs_second_factor(account.staff, None):
        return True
    wanted = select(Membership.id).where(
        Membership.account_id == account.id, Membership.role.in_(ADMINS)
    )
    return db.execute(wanted.limit(1)).first() is not None


def second_proof(
    db: Session, provider: KeyProvider, known: Known, typed: str, *, now: datetime, device: datetime
) -> str | None:
    """A code of the app (by the device's clock) or a recovery code: the session's new token."""
    if totp.check(db, provider, known.account, typed, now=device):
        return sessions.prove(db, known, ["otp"], stage=Stage.WHOLE, now=now)
    by = accounts.actor_of(known.account)
    if recovery_codes.use(db, known.account, typed, by=by, now=now):
        return sessions.prove(db, known, ["recovery"], stage=Stage.WHOLE, now=now)
    record.note(db, "second-factor-refused", known.account.id, by=by, at=now)
    return None


def person(
    known: Known, *, tenant: TenantRole | None = None, grant: GrantScope | None = None
) -> Person:
    """As the decision sees who asks."""
    return Person(
        account=known.account.id,
        staff=known.account.staff,
        proven=known.proven,
        stepped_up_at=known.session.stepped_up_at,
        tenant=tenant,
        grant=grant,
    )
