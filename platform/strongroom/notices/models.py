"""The outbox, the operators' channels and the mail server.

Nothing here says a secret in clear: addresses with secrets in them, passwords and signing keys are
wrapped by the platform's own key. A message names its reader by id; where to reach them is looked up
when it is sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.audit.leaves import Ending
from strongroom.db import Base
from strongroom.ids import new_id
from strongroom.lifecycle import Leased, Lived, States
from strongroom.notices.states import (
    MESSAGE_STEPS,
    MESSAGES_ON_RECORD,
    ChannelKind,
    MessageState,
    ReaderKind,
)


class Message(Lived, Leased, Base):
    """One message to one reader. Inserted in the transaction of what it tells of."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("key"),
        Index(None, "state", "due_at"),
        Index(None, "tenant_id", "created_at"),
        Index(None, "reader_id", "created_at"),
    )
    STEPS: ClassVar[States] = MESSAGE_STEPS
    ON_RECORD: ClassVar[Mapping[Any, Ending | None]] = MESSAGES_ON_RECORD
    WAITING: ClassVar[Any] = MessageState.QUEUED
    BUSY: ClassVar[Any] = MessageState.SENDING

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("tenants.id"))  # None: operators
    key: Mapped[str]  # the same act never tells the same reader twice
    kind: Mapped[str]  # stable, dotted: "alert.opened"
    params: Mapped[dict[str, Any]]  # what its words need; no secrets
    refusable: Mapped[bool]  # its reader may want none of this kind
    language: Mapped[str | None]  # "en", "ar"; None: as the reader prefers
    reader_kind: Mapped[ReaderKind]
    reader_id: Mapped[uuid.UUID]
    state: Mapped[MessageState] = mapped_column(default=MessageState.QUEUED)
    due_at: Mapped[datetime]  # business time: of the next attempt
    until: Mapped[datetime]  # after this it is given up
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    failure: Mapped[dict[str, Any] | None]  # code and message of the last attempt that failed
    receipt: Mapped[dict[str, Any] | None]  # what the receiving side answered
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Channel(Base):
    """Where operators are told. A removed one keeps its row, and no secret."""

    __tablename__ = "notice_channels"
    __table_args__ = (
        Index(
            "uq_notice_channels_name",
            "name",
            unique=True,
            postgresql_where=text("removed_at is null"),
        ),
        CheckConstraint("level in (1, 2)", name="known_level"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    kind: Mapped[ChannelKind]
    level: Mapped[int]  # 1: told at once; 2: when nobody answers, or the first does not work
    language: Mapped[str]
    shown: Mapped[str]  # an address of mail, or the server's name: nothing that opens anything
    sealed: Mapped[dict[str, Any] | None]  # JSON: url, secret
    allowed: Mapped[list[str]] = mapped_column(server_default="[]")  # addresses inside our network
    added_at: Mapped[datetime]
    added_by: Mapped[str]
    removed_at: Mapped[datetime | None]

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"


class MailServer(Base):
    """Through which mail leaves; the newest row counts."""

    __tablename__ = "mail_servers"
    __table_args__ = (
        CheckConstraint("security in ('tls', 'starttls', 'none')", name="known_security"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    host: Mapped[str]
    port: Mapped[int]
    security: Mapped[str]
    sender: Mapped[str]  # the address that mail comes from
    username: Mapped[str | None]
    sealed: Mapped[dict[str, Any] | None]  # the password
    authority: Mapped[str | None]  # PEM: who vouches for the server, where that is nobody known
    set_at: Mapped[datetime]
    set_by: Mapped[str]

    def __repr__(self) -> str:
        return f"<MailServer {self.host}>"
