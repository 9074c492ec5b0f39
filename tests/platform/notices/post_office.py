"""What tests of messages share: channels on loopback, a courier, and the rows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from strongroom.db import Role
from strongroom.notices import channels, outbox
from strongroom.notices.channels import NewChannel, NewServer
from strongroom.notices.courier import Courier
from strongroom.notices.letters import Letter, Told
from strongroom.notices.models import Channel, Message
from strongroom.notices.outbox import Notice, Reader
from strongroom.notices.states import ChannelKind, ReaderKind
from strongroom.runtime import Runtime
from tests.cast import ADA
from tests.receivers import PASSWORD, USER, HookSink, MailSink

SENDER = "backup@strongroom.example"


def plain_words(told: Told) -> Letter:
    """The least that a writer does."""
    return Letter(f"about {told.kind}", "text", "<p>text</p>", dict(told.params))


@dataclass(frozen=True)
class PostOffice:
    """The outbox of a runtime."""

    runtime: Runtime

    def courier(self, **more: Any) -> Courier:
        return Courier(self.runtime, more.pop("write", plain_words), **more)

    def hook(self, sink: HookSink, name: str = "hook", **more: Any) -> tuple[Channel, str]:
        """A channel by webhook to this server, and its secret."""
        more.setdefault("allowed", ("127.0.0.1",))
        new = NewChannel(name, ChannelKind.WEBHOOK, sink.url, **more)
        with self.runtime.database.session(Role.OPERATOR) as session:
            row, secret = channels.add(
                session, self.runtime.vault.provider, new, by=ADA, now=self.runtime.now()
            )
        return row, secret or ""

    def mailbox(self, sink: MailSink, name: str = "mail", **more: Any) -> Channel:
        """A channel by mail through this server."""
        known = {"security": "none"}
        if sink.authority is not None:
            known = {"security": "starttls", "username": USER, "password": PASSWORD}
            known |= {"authority": sink.authority}
        server: Any = NewServer("127.0.0.1", SENDER, port=sink.port, **known)  # type: ignore[arg-type]
        new = NewChannel(name, ChannelKind.EMAIL, f"{name}@ops.example", **more)
        provider, now = self.runtime.vault.provider, self.runtime.now()
        with self.runtime.database.session(Role.OPERATOR) as session:
            channels.set_server(session, provider, server, by=ADA, now=now)
            return channels.add(session, provider, new, by=ADA, now=now)[0]

    def put(self, channel: Channel, *, key: str = "", **params: Any) -> None:
        notice = Notice(
            key=key or str(uuid.uuid4()),
            kind="test.said",
            reader=Reader(ReaderKind.CHANNEL, channel.id),
            params=params,
        )
        with self.runtime.database.session(Role.OPERATOR) as session:
            outbox.put(session, [notice], now=self.runtime.now())

    def messages(self) -> Sequence[Message]:
        with self.runtime.database.session(Role.OPERATOR) as session:
            return session.execute(select(Message).order_by(Message.id)).scalars().all()

    def only(self) -> Message:
        (row,) = self.messages()
        return row
