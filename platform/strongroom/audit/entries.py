"""Entries of the record: written in the transaction of the act, and never changed.

The act and its entry are kept or lost together. An entry has no place in the log yet: the sequencer
gives it one (`sequencing`). The database lets everybody who acts add, and nobody change or remove.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom.actors import Actor
from strongroom.audit import leaves
from strongroom.audit.leaves import Channel, Details, Ending, Leaf
from strongroom.db import Base
from strongroom.errors import StrongroomError
from strongroom.ids import new_id

KIND = re.compile(r"[a-z0-9]*(_[a-z0-9]+)*")


class NoCode(StrongroomError):
    """Something was to be put on record under words that are no code: a mistake of ours."""

    code = "record-no-code"
    permanent = True


class Entry(Base):
    """One act on record. `leaf()` is what the log has of it.

    No foreign key: the record outlives what it speaks of. `salt` and `details` can be erased, and
    nothing else.
    """

    __tablename__ = "record_entries"
    __table_args__ = (Index(None, "tenant_id", "at"), Index(None, "subject_id"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID | None]  # None: of the platform
    at: Mapped[datetime]
    code: Mapped[str]
    by: Mapped[str]
    channel: Mapped[Channel]
    ending: Mapped[Ending]
    reason: Mapped[str]
    of: Mapped[str]
    subject_id: Mapped[uuid.UUID | None]
    about_id: Mapped[uuid.UUID | None]
    commitment: Mapped[bytes]
    salt: Mapped[bytes | None]
    details: Mapped[dict[str, Any] | None]

    def leaf(self) -> Leaf:
        return Leaf(
            id=self.id,
            at=self.at,
            code=self.code,
            by=self.by,
            channel=self.channel,
            ending=self.ending,
            reason=self.reason,
            tenant=self.tenant_id,
            of=self.of,
            subject=self.subject_id,
            about=self.about_id,
            commitment=self.commitment,
        )


class Pending(Base):
    """An entry without a place in the log yet; a trigger adds them, the sequencer takes them out."""

    __tablename__ = "record_pending"

    entry_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class Placed(Base):
    """An entry's place in the log, given once and for ever."""

    __tablename__ = "record_leaves"

    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[uuid.UUID] = mapped_column(unique=True)
    hash: Mapped[bytes]  # of the leaf, RFC 6962


class Signed(Base):
    """A checkpoint: what the log committed to at one size."""

    __tablename__ = "record_checkpoints"
    __table_args__ = (CheckConstraint("size > 0", name="of_something"),)

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    peaks: Mapped[bytes]  # of the tree at this size: it grows from here
    note: Mapped[bytes]  # as it is published
    at: Mapped[datetime]


class LogKey(Base):
    """A key that signs checkpoints: its public half; the private one lies in the buckets, sealed."""

    __tablename__ = "record_keys"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1
    public: Mapped[str]  # NAME+ID+BASE64
    statement: Mapped[bytes]  # signed by the record key; from the second on by the key before, too
    made_at: Mapped[datetime]


__all__ = ["Channel", "Deed", "Ending", "Entry", "LogKey", "Pending", "Placed", "Signed", "note"]


@dataclass(frozen=True)
class Deed:
    """What was done."""

    code: str  # stable, dotted: "restores.approved"
    of: str = ""  # the kind of thing it was done to: a table, mostly
    subject: uuid.UUID | None = None  # which one
    about: uuid.UUID | None = None  # a second thing that it concerns
    reason: str = ""  # a code; other words go into the details
    ending: Ending = Ending.DONE
    details: Details = field(default_factory=dict)  # plain JSON; may name people, no secrets


@dataclass(frozen=True)
class Whence:
    """From where this process, or one request of it, acts."""

    channel: Channel
    address: str = ""  # of a browser


_process = [Whence(Channel.INSIDE)]
_request: ContextVar[Whence | None] = ContextVar("whence", default=None)


def come_from(channel: Channel) -> None:
    """All that this process does from now on comes from there."""
    _process[0] = Whence(channel)


@contextmanager
def coming_from(whence: Whence) -> Iterator[None]:
    """What is done within comes from there."""
    token = _request.set(whence)
    try:
        yield
    finally:
        _request.reset(token)


def note(
    session: Session, deed: Deed, *, by: Actor, at: datetime, tenant: uuid.UUID | None = None
) -> Entry:
    """Put it on record, in the same transaction as the act. Of the session's tenant, if none is named.

    Raises NoCode.
    """
    if not leaves.is_code(deed.code) or not KIND.fullmatch(deed.of):
        raise NoCode(f"An act is on record under a dotted code, found {deed.code!r}, {deed.of!r}.")
    whence = _request.get() or _process[0]
    who, named = leaves.named(by)
    details: dict[str, Any] = {**leaves.plain(deed.details), **named}
    if whence.address:
        details["address"] = whence.address
    reason = deed.reason
    if reason and not leaves.is_code(reason):
        details["reason"], reason = reason, "in-words"
    salt = secrets.token_bytes(leaves.SALT_BYTES)
    row = Entry(
        id=new_id(),
        tenant_id=tenant or session.info.get("tenant"),
        at=at,
        code=deed.code,
        by=who,
        channel=whence.channel,
        ending=deed.ending,
        reason=reason,
        of=deed.of,
        subject_id=deed.subject,
        about_id=deed.about,
        commitment=leaves.committed(salt, details),
        salt=salt,
        details=details,
    )
    session.add(row)
    return row


def on_subject(session: Session, of: str, subject: uuid.UUID, *, most: int = 50) -> Sequence[Entry]:
    """What was done to one thing, the newest first; as far as the session's role may read."""
    wanted = select(Entry).where(Entry.of == of, Entry.subject_id == subject)
    return session.execute(wanted.order_by(Entry.at.desc()).limit(most)).scalars().all()
