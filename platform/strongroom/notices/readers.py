"""To whom a message goes, looked up when it is sent: what was right when it was put in may be over."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Uuid, column, exists, select, table
from sqlalchemy.orm import Session

from strongroom.db import Role
from strongroom.notices import channels
from strongroom.notices.models import Channel, Message
from strongroom.notices.states import ChannelKind, ReaderKind
from strongroom.people.models import Account, Membership, NoticeRefusal
from strongroom.runtime import Runtime

# What is said of a tenant to people; the model belongs to the part above.
TENANTS = table(
    "tenants",
    column("id", Uuid()),
    *(column(name) for name in ("slug", "name", "zone", "locale")),
)


@dataclass(frozen=True)
class Whereto:
    """How to reach a reader."""

    kind: ChannelKind
    address: str = field(repr=False)
    language: str  # one that we speak
    zone: str = "UTC"  # IANA
    secret: str = field(default="", repr=False)
    allowed: tuple[str, ...] = ()
    about: str = ""  # the name of the tenant that the message is of
    slug: str = ""


@dataclass(frozen=True)
class Withheld:
    """It is not to be sent, and why."""

    code: str


def find(runtime: Runtime, message: Message) -> Whereto | Withheld:
    """Raises a KeysError for a channel that cannot be opened."""
    if message.reader_kind is ReaderKind.CHANNEL:
        return _channel(runtime, message)
    return _person(runtime, message)


def _channel(runtime: Runtime, message: Message) -> Whereto | Withheld:
    with runtime.database.session(Role.OPERATOR) as session:
        row = session.get(Channel, message.reader_id)
    if row is None or row.removed_at is not None:
        return Withheld("channel-removed")
    found = channels.opened(runtime.vault.provider, row)
    return Whereto(
        kind=row.kind,
        address=found.url,
        language=message.language or row.language,
        secret=found.secret,
        allowed=tuple(row.allowed),
    )


def _person(runtime: Runtime, message: Message) -> Whereto | Withheld:
    """What is a tenant's goes to who is in it at this moment, and to nobody else."""
    with runtime.database.session(Role.PEOPLE, tenant=message.tenant_id) as session:
        account = session.get(Account, message.reader_id)
        if account is None or account.disabled_at is not None:
            return Withheld("account-gone")
        if message.tenant_id is not None and not _is_member(session, message):
            return Withheld("not-a-member")
        if message.refusable and _refuses(session, message):
            return Withheld("refused-by-reader")
        tenant = session.execute(
            select(TENANTS).where(TENANTS.c.id == message.tenant_id)
        ).one_or_none()
    spoken = message.language or account.locale or (tenant and tenant.locale) or "en"
    return Whereto(
        kind=ChannelKind.EMAIL,
        address=account.email,
        language=str(spoken).partition("-")[0],
        zone=account.zone or (tenant.zone if tenant else "UTC"),
        about=tenant.name if tenant else "",
        slug=tenant.slug if tenant else "",
    )


def _is_member(session: Session, message: Message) -> bool:
    there = exists().where(
        Membership.tenant_id == message.tenant_id, Membership.account_id == message.reader_id
    )
    return bool(session.execute(select(there)).scalar_one())


def _refuses(session: Session, message: Message) -> bool:
    there = exists().where(
        NoticeRefusal.account_id == message.reader_id, NoticeRefusal.kind == message.kind
    )
    return bool(session.execute(select(there)).scalar_one())
