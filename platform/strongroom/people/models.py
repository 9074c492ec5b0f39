"""Accounts and what hangs on them. Only the database role `people` writes here.

What belongs to a tenant (membership, grant, PIN, second contact) is under row-level security like
everything of tenants; the rest belongs to a person, and no other role of ours can even read it.
Tokens, codes and passwords are here as hashes only; secrets that have to be read again are wrapped.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from strongroom.audit.leaves import Ending
from strongroom.db import Base, OfTenant
from strongroom.ids import new_id
from strongroom.lifecycle import Lived, States
from strongroom.people.rules import GrantScope, StaffRole, TenantRole


class Account(Base):
    """One person. Staff are members of no tenant."""

    __tablename__ = "accounts"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(unique=True)  # as `accounts.normalised` writes it
    name: Mapped[str]
    staff: Mapped[StaffRole | None]
    locale: Mapped[str | None]  # BCP 47; None: as the browser prefers
    zone: Mapped[str | None]  # IANA; None: the tenant's
    password: Mapped[str | None]  # argon2id, encoded; None: not set yet, or none wanted
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class OfAccount:
    """A row that belongs to one person."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)

    @declared_attr
    def account_id(cls) -> Mapped[uuid.UUID]:
        return mapped_column(ForeignKey("accounts.id"), index=True)


class Membership(OfTenant, Base):
    """A person in a tenant."""

    __tablename__ = "memberships"
    __constraints__ = (UniqueConstraint("tenant_id", "account_id"), Index(None, "account_id"))

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    role: Mapped[TenantRole]
    since: Mapped[datetime]
    added_by: Mapped[str]


class TotpFactor(OfAccount, Base):
    """A secret shared with an authenticator app (RFC 6238)."""

    __tablename__ = "totp_factors"

    sealed: Mapped[dict[str, Any]]  # the secret, wrapped by the platform's key
    made_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]  # None: shown, not yet proven
    last_step: Mapped[int | None]  # the newest time step whose code was taken


class Passkey(OfAccount, Base):
    """A public key that an authenticator made for us (WebAuthn)."""

    __tablename__ = "passkeys"

    credential: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    count: Mapped[int]  # of signatures, as the authenticator says; 0 where it does not count
    name: Mapped[str]
    made_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class RecoveryCode(OfAccount, Base):
    """Opens once, when the other factors are lost."""

    __tablename__ = "recovery_codes"

    hashed: Mapped[bytes]  # SHA-256; a code has 80 random bits
    made_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Identity(OfAccount, Base):
    """The person at an identity provider (OpenID Connect)."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    issuer: Mapped[str]
    subject: Mapped[str]
    linked_at: Mapped[datetime]


class SessionKind(enum.StrEnum):
    """How its token travels."""

    BROWSER = "browser"  # in a cookie
    TOKEN = "token"  # noqa: S105 - a kind; STRONGROOM_TOKEN of the command line


class Stage(enum.StrEnum):
    """How far a sign-in has come."""

    SECOND = "second"  # the first proof was given, the second is asked for
    ENROL = "enrol"  # a password or second factor has to be set up before anything else
    WHOLE = "whole"


class WebSession(OfAccount, Base):
    """A signed-in browser or command line; ends when idle, at its end, or revoked."""

    __tablename__ = "web_sessions"

    kind: Mapped[SessionKind]
    stage: Mapped[Stage]
    hashed: Mapped[bytes] = mapped_column(unique=True)  # SHA-256 of 256 random bits
    proofs: Mapped[list[str]]  # RFC 8176 names: pwd, otp, hwk; "recovery", "link", "openid"
    agent: Mapped[str]  # what the browser says it is, cut short
    address: Mapped[str]  # where it signed in from
    made_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    stepped_up_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    challenge: Mapped[bytes | None]  # of the passkey ceremony under way
    challenge_until: Mapped[datetime | None]


class LinkPurpose(enum.StrEnum):
    """What a one-time link opens."""

    INVITE = "invite"  # set a password, then a second factor
    SIGN_IN = "sign-in"  # a session at once; made in homes marked as demo only


class OneTimeLink(OfAccount, Base):
    """A link that somebody was given; opens once."""

    __tablename__ = "one_time_links"

    purpose: Mapped[LinkPurpose]
    hashed: Mapped[bytes] = mapped_column(unique=True)
    first: Mapped[bool]  # made without a person: good only while nobody can sign in
    made_at: Mapped[datetime]
    made_by: Mapped[str]
    ends_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class OpenIdVisit(Base):
    """Somebody was sent to an identity provider and is awaited back, in the same browser."""

    __tablename__ = "openid_visits"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    hashed: Mapped[bytes] = mapped_column(unique=True)  # of the state
    browser: Mapped[bytes]  # hash of the token in the browser's cookie
    provider: Mapped[str]
    nonce: Mapped[str]
    verifier: Mapped[str]  # PKCE
    account_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))  # to be linked
    ends_at: Mapped[datetime]


class Tally(Base):
    """How often something was tried within a while."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(primary_key=True)  # kind and hash; names nobody
    count: Mapped[int]
    until: Mapped[datetime] = mapped_column(index=True)


class GrantState(enum.StrEnum):
    """Of a support grant. Its end by time is no state: it is asked of the clock."""

    ASKED = "asked"
    OPEN = "open"
    DECLINED = "declined"
    ENDED = "ended"


class SupportGrant(OfTenant, Lived, Base):
    """Leave for one person of staff to see or restore what is a tenant's, for a while."""

    __tablename__ = "support_grants"
    __constraints__ = (
        CheckConstraint("decided_by <> account_id", name="not_by_oneself"),
        CheckConstraint("(state = 'asked') = (decided_by is null)", name="decided_by_somebody"),
        Index(None, "account_id"),
    )
    STEPS: ClassVar[States] = {
        GrantState.ASKED: frozenset({GrantState.OPEN, GrantState.DECLINED}),
        GrantState.OPEN: frozenset({GrantState.ENDED}),
        GrantState.DECLINED: frozenset(),
        GrantState.ENDED: frozenset(),
    }
    ON_RECORD: ClassVar[Mapping[GrantState, Ending | None]] = {
        GrantState.ASKED: Ending.DONE,
        GrantState.OPEN: Ending.DONE,
        GrantState.DECLINED: Ending.REFUSED,
        GrantState.ENDED: Ending.DONE,
    }

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))  # who may then
    scope: Mapped[GrantScope]
    reason: Mapped[str]
    state: Mapped[GrantState] = mapped_column(default=GrantState.ASKED)
    asked_at: Mapped[datetime]
    until: Mapped[datetime]
    decided_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None]
    for_tenant: Mapped[bool | None]  # the tenant decided; else a second operator did


class SupportPin(OfTenant, Base):
    """What a tenant's rotating PIN is reckoned from."""

    __tablename__ = "support_pins"
    __constraints__ = (UniqueConstraint("tenant_id"),)

    sealed: Mapped[dict[str, Any]]
    made_at: Mapped[datetime]


class SecondContact(OfTenant, Base):
    """Whom to reach when nobody who has an account answers."""

    __tablename__ = "second_contacts"
    __constraints__ = (UniqueConstraint("tenant_id"),)

    name: Mapped[str]
    email: Mapped[str]
    phone: Mapped[str | None]
    set_at: Mapped[datetime]
    set_by: Mapped[str]


class NoticeRefusal(Base):
    """A person wants no messages of one kind."""

    __tablename__ = "notice_refusals"

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)  # of a message that may be refused
    since: Mapped[datetime]
