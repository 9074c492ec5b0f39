"""Accounts: made, found, disabled, and which roles they have.

Addresses of mail are compared in one form; people are named by id in every record.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import available_timezones

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.errors import NotFound
from strongroom.ids import new_id
from strongroom.people import passwords, record, sessions
from strongroom.people.errors import BadAccount
from strongroom.people.models import (
    Account,
    Identity,
    Membership,
    OneTimeLink,
    Passkey,
    RecoveryCode,
    TotpFactor,
)
from strongroom.people.rules import StaffRole, TenantRole

EMAIL = re.compile(r"[^@\s<>()\[\],;:\\\"]{1,64}@[^@\s<>()\[\],;:\\\"]{1,253}")
NAME_MOST = 200
LOCALES = ("en", "ar")


@dataclass(frozen=True)
class NewAccount:
    """What is said of a person when they come."""

    email: str
    name: str
    staff: StaffRole | None = None
    locale: str | None = None
    zone: str | None = None


def normalised(email: str) -> str:
    """One form of an address; raises BadAccount for what is none."""
    text = unicodedata.normalize("NFKC", email).strip().casefold()
    if not EMAIL.fullmatch(text) or not text.isprintable():
        raise BadAccount(
            f"{email[:80]!r} is no address of mail; write one like ada@example.org.",
            code="bad-email",
        )
    return text


def add(session: Session, new: NewAccount, *, by: Actor, now: datetime) -> Account:
    """Raises BadAccount."""
    email = normalised(new.email)
    check_name(new.name)
    check_wishes(new.locale, new.zone)
    row = Account(
        id=new_id(),
        email=email,
        name=new.name.strip(),
        staff=new.staff,
        locale=new.locale,
        zone=new.zone,
        created_at=now,
        created_by=str(by),
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise BadAccount(
            f"There is an account {email} already. `strongroom account list` shows all.",
            code="account-there",
        ) from error
    record.note(session, "account-made", row.id, by=by, at=now)
    return row


def check_name(name: str) -> None:
    """Raises BadAccount."""
    if not name.strip() or len(name) > NAME_MOST or not name.isprintable():
        raise BadAccount(f"A name has 1 to {NAME_MOST} printable characters.", code="bad-name")


def check_wishes(locale: str | None, zone: str | None) -> None:
    """Raises BadAccount."""
    if locale is not None and locale not in LOCALES:
        raise BadAccount(f"{locale!r} is none of {', '.join(LOCALES)}.", code="bad-locale")
    if zone is not None and zone not in available_timezones():
        raise BadAccount(f"{zone!r} is no time zone; write one like Asia/Dubai.", code="bad-zone")


def with_email(session: Session, email: str) -> Account | None:
    """By its address, in whatever form that is written; one statement, known or not."""
    try:
        wanted = normalised(email)
    except BadAccount:
        wanted = ""
    return session.execute(select(Account).where(Account.email == wanted)).scalar_one_or_none()


def counted_as(email: str) -> str:
    """What tries to sign in are counted under: one for all ways to write an address."""
    try:
        return normalised(email)
    except BadAccount:
        return "no address"


def named(session: Session, email: str) -> Account:
    """Raises NotFound. For commands; sign-in never says whether there is one."""
    found = with_email(session, email)
    if found is None:
        raise NotFound(
            f"There is no account {email[:80]!r}. `strongroom account list` shows all.",
            code="unknown-account",
        )
    return found


def set_password(
    session: Session, account: Account, password: str, *, by: Actor, now: datetime
) -> None:
    """Raises BadAccount."""
    account.password = passwords.hashed(password)
    record.note(session, "password-set", account.id, by=by, at=now)


def disable(session: Session, account: Account, *, by: Actor, now: datetime) -> None:
    """No sign-in any more, and every session and link of theirs is over. Safe to repeat."""
    if account.disabled_at is None:
        account.disabled_at = now
        record.note(session, "account-disabled", account.id, by=by, at=now)
    sessions.revoke_all(session, account.id, now=now)
    session.execute(delete(OneTimeLink).where(OneTimeLink.account_id == account.id))


def reset_factors(session: Session, account: Account, *, by: Actor, now: datetime) -> None:
    """All second factors are gone, and all sessions over: they enrol anew at the next sign-in."""
    for kind in (TotpFactor, Passkey, RecoveryCode):
        session.execute(delete(kind).where(kind.account_id == account.id))
    sessions.revoke_all(session, account.id, now=now)
    record.note(session, "factors-reset", account.id, by=by, at=now)


def anybody(session: Session) -> bool:
    """Whether there is a person who can sign in: from then on commands act for a person."""
    linked = exists().where(Identity.account_id == Account.id)
    able = select(Account.id).where(
        Account.disabled_at.is_(None), or_(Account.password.is_not(None), linked)
    )
    return session.execute(able.limit(1)).first() is not None


def join(
    session: Session,
    tenant: uuid.UUID,
    account: Account,
    role: TenantRole,
    *,
    by: Actor,
    now: datetime,
) -> Membership:
    """Give them this role in the tenant that the session is bound to. Raises BadAccount."""
    if account.staff is not None:
        raise BadAccount(
            f"{account.email} is staff, and staff are members of no tenant: access to a tenant's "
            "data is by grant. Make another account for the other duty.",
            code="staff-member",
        )
    row = membership(session, tenant, account.id)
    if row is not None and role is not TenantRole.OWNER and _is_last_owner(session, row):
        raise BadAccount("A tenant keeps at least one owner.", code="last-owner")
    if row is None:
        row = Membership(id=new_id(), tenant_id=tenant, account_id=account.id)
        session.add(row)
    row.role, row.since, row.added_by = role, now, str(by)
    session.flush()
    record.note(session, "role-given", account.id, by=by, at=now, about=tenant)
    return row


def leave(session: Session, row: Membership, *, by: Actor, now: datetime) -> bool:
    """They are no longer in the tenant; False for its last owner, who stays."""
    if _is_last_owner(session, row):
        return False
    session.delete(row)
    session.flush()
    record.note(session, "role-taken", row.account_id, by=by, at=now, about=row.tenant_id)
    return True


def _is_last_owner(session: Session, row: Membership) -> bool:
    owners = (
        select(Membership.id)
        .where(Membership.tenant_id == row.tenant_id, Membership.role == TenantRole.OWNER)
        .with_for_update()
    )
    return row.role is TenantRole.OWNER and len(session.execute(owners).all()) == 1


def membership(session: Session, tenant: uuid.UUID, account: uuid.UUID) -> Membership | None:
    wanted = select(Membership).where(
        Membership.tenant_id == tenant, Membership.account_id == account
    )
    return session.execute(wanted).scalar_one_or_none()


def members(session: Session, tenant: uuid.UUID) -> Sequence[tuple[Account, Membership]]:
    """Who is in a tenant, by name."""
    wanted = (
        select(Account, Membership)
        .join(Membership, Membership.account_id == Account.id)
        .where(Membership.tenant_id == tenant)
        .order_by(Account.name, Account.id)
    )
    return [(row.Account, row.Membership) for row in session.execute(wanted)]


def roles_in(session: Session, account: uuid.UUID) -> Sequence[Membership]:
    """All of a person's memberships."""
    wanted = select(Membership).where(Membership.account_id == account)
    return session.execute(wanted.order_by(Membership.since, Membership.id)).scalars().all()


def actor_of(account: Account) -> Actor:
    """As records name a person."""
    return Actor.of_person(account.id)
