"""The operators' channels and the mail server: set, listed, opened, removed.

What opens anything (a password, a webhook's URL and secret) goes in wrapped, and comes out only for
who sends.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from strongroom import hosts
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id
from strongroom.keys import KeyProvider
from strongroom.notices import outward, webhooks
from strongroom.notices.errors import BadChannel, NothingToSendBy
from strongroom.notices.mail import Server
from strongroom.notices.models import Channel, MailServer
from strongroom.notices.states import ChannelKind
from strongroom.people import accounts, sealing

NAME_MOST = 60
LANGUAGES = ("en", "ar")
FIRST, SECOND = 1, 2  # levels
SECURITIES = {"tls": 465, "starttls": 587, "none": 25}  # and their usual ports
PURPOSE = "notice-channel"
MAIL_PURPOSE = "mail-server"


@dataclass(frozen=True)
class NewChannel:
    """What is said of a channel."""

    name: str
    kind: ChannelKind
    address: str = field(repr=False)  # of mail, or a URL: which may be a secret
    level: int = FIRST
    language: str = "en"
    secret: str | None = field(default=None, repr=False)  # of a webhook; None: made
    allowed: tuple[str, ...] = ()  # addresses or networks of our own that it may lie in


@dataclass(frozen=True)
class NewServer:
    """What is said of the mail server."""

    host: str
    sender: str
    security: str = "starttls"
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: str | None = None


@dataclass(frozen=True)
class Opened:
    """What it takes to reach a channel."""

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)


def add(
    session: Session, provider: KeyProvider, new: NewChannel, *, by: Actor, now: datetime
) -> tuple[Channel, str | None]:
    """The channel, and a webhook's secret, to be shown once. Raises BadChannel or BadValue."""
    _check(new)
    shown, opened = _parts(new)
    row = Channel(
        id=new_id(),
        name=new.name.strip(),
        kind=new.kind,
        level=new.level,
        language=new.language,
        shown=shown,
        allowed=list(new.allowed),
        added_at=now,
        added_by=str(by),
    )
    if opened is not None:
        plain = json.dumps({"url": opened.url, "secret": opened.secret}).encode()
        row.sealed = sealing.close(provider, plain, row.id, PURPOSE)
    session.add(row)
    try:
        session.flush()
    except IntegrityError:
        raise BadChannel(
            f"There is a channel {row.name!r} already.", code="channel-there"
        ) from None
    details = {"name": row.name, "kind": str(row.kind), "level": row.level}
    deed = Deed("notice-channels.added", "notice_channels", row.id, details=details)
    entries.note(session, deed, by=by, at=now)
    return row, None if opened is None else opened.secret or None


def remove(session: Session, name: str, *, by: Actor, now: datetime) -> Channel:
    """From now on nothing is sent there, and what opened it is forgotten. Raises NotFound."""
    row = named(session, name)
    row.removed_at, row.sealed = now, None
    session.flush()
    deed = Deed("notice-channels.removed", "notice_channels", row.id, details={"name": row.name})
    entries.note(session, deed, by=by, at=now)
    return row


def named(session: Session, name: str) -> Channel:
    wanted = select(Channel).where(Channel.name == name, Channel.removed_at.is_(None))
    row = session.execute(wanted).scalar_one_or_none()
    if row is None:
        raise NotFound(
            f"There is no channel {name[:80]!r}. `strongroom notice channels list` shows all.",
            code="unknown-channel",
        )
    return row


def in_use(session: Session) -> Sequence[Channel]:
    """The first to be told first."""
    wanted = select(Channel).where(Channel.removed_at.is_(None))
    return session.execute(wanted.order_by(Channel.level, Channel.name)).scalars().all()


def opened(provider: KeyProvider, row: Channel) -> Opened:
    """What it takes to reach it. Raises a KeysError."""
    if row.sealed is None:
        return Opened(row.shown)
    found = json.loads(sealing.unseal(provider, row.sealed, row.id, PURPOSE))
    return Opened(str(found["url"]), str(found["secret"]))


def set_server(
    session: Session, provider: KeyProvider, new: NewServer, *, by: Actor, now: datetime
) -> MailServer:
    """In the place of the one before. Raises BadChannel or BadValue."""
    _check_server(new)
    row = MailServer(
        id=new_id(),
        host=hosts.parse_host(new.host),
        port=new.port or SECURITIES[new.security],
        security=new.security,
        sender=accounts.normalised(new.sender),
        username=new.username,
        authority=new.authority,
        set_at=now,
        set_by=str(by),
    )
    if new.password is not None:
        row.sealed = sealing.close(provider, new.password.encode(), row.id, MAIL_PURPOSE)
    for before in session.execute(select(MailServer)).scalars():
        before.sealed = None  # an old password is kept no longer than it is used
    session.add(row)
    session.flush()
    details = {"host": row.host, "port": row.port, "security": row.security}
    deed = Deed("mail-servers.set", "mail_servers", row.id, details=details)
    entries.note(session, deed, by=by, at=now)
    return row


def server_in_use(session: Session) -> MailServer | None:
    wanted = select(MailServer).order_by(MailServer.set_at.desc(), MailServer.id.desc()).limit(1)
    return session.execute(wanted).scalar_one_or_none()


def opened_server(session: Session, provider: KeyProvider) -> Server:
    """Raises NothingToSendBy where none is set, or a KeysError."""
    row = server_in_use(session)
    if row is None:
        raise NothingToSendBy(
            "No mail can be sent: no mail server is set. Set one with `strongroom notice mail-server`.",
            code="no-mail-server",
        )
    sealed = row.sealed
    password = None if sealed is None else sealing.unseal(provider, sealed, row.id, MAIL_PURPOSE)
    return Server(
        host=row.host,
        port=row.port,
        security=row.security,
        sender=row.sender,
        username=row.username,
        password=None if password is None else password.decode(),
        authority=row.authority,
    )


def _parts(new: NewChannel) -> tuple[str, Opened | None]:
    """What may be shown of it, and what may not."""
    match new.kind:
        case ChannelKind.EMAIL:
            return accounts.normalised(new.address), None
        case ChannelKind.WEBHOOK:
            found = outward.target(new.address, plain=bool(new.allowed))
            secret = new.secret or webhooks.new_secret()
            webhooks.key_of(secret)
            return found.shown, Opened(new.address, secret)
        case ChannelKind.APPRISE:
            scheme, found_scheme, _ = new.address.partition("://")
            if not found_scheme or not scheme.isalnum():
                raise BadChannel("Wanted an address like those in Apprise's list: slack://….")
            return f"{scheme}://", Opened(new.address)


def _check(new: NewChannel) -> None:
    name = new.name.strip()
    if not name or len(name) > NAME_MOST or not name.isprintable():
        raise BadChannel(f"A channel's name has 1 to {NAME_MOST} printable characters.")
    if new.level not in (FIRST, SECOND):
        raise BadChannel("A channel's level is 1 (told at once) or 2 (told when nobody answers).")
    if new.language not in LANGUAGES:
        raise BadChannel(f"{new.language!r} is none of {', '.join(LANGUAGES)}.")
    for text in new.allowed:
        rule = hosts.parse_rule(text)
        if rule.port is not None or not _is_numeric(rule.host):
            raise BadChannel(f"{text!r} is no address or network. Write it like 10.1.2.0/24.")


def _is_numeric(host: str) -> bool:
    return "/" in host or host.replace(".", "").isdecimal() or ":" in host


def _check_server(new: NewServer) -> None:
    if new.security not in SECURITIES:
        raise BadChannel(f"{new.security!r} is none of {', '.join(SECURITIES)}.")
    if new.security == "none" and new.username is not None:
        raise BadChannel("A password is sent over TLS only: choose tls or starttls.")
    if (new.username is None) is not (new.password is None):
        raise BadChannel("Give a user and a password for the mail server, or neither.")
    if not (new.username or "").isascii() or not (new.password or "").isascii():
        raise BadChannel(
            "User and password of a mail server are ASCII; the protocol has no others."
        )
    if new.port is not None:
        hosts.checked_port(new.port)
    if new.authority is not None and "BEGIN CERTIFICATE" not in new.authority:
        raise BadValue("The authority of the mail server is no certificate in PEM.")


def shown(row: Channel) -> Mapping[str, Any]:
    """A channel as commands and pages may show it."""
    return {
        "channel": row.name,
        "kind": str(row.kind),
        "level": row.level,
        "language": row.language,
        "to": row.shown,
        "allowed": list(row.allowed),
        "added_at": row.added_at,
        "by": row.added_by,
    }


def of(session: Session, channel_id: uuid.UUID) -> Channel | None:
    return session.get(Channel, channel_id)
