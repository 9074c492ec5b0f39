"""The courier: takes what is due out of the outbox, sends it, and writes down how that went.

    due ─▶ take (lease, fence) ─▶ whom, where, in which language ─▶ send ─▶ delivered | again | failed

Any number may run: a message is taken by one of them. One that was killed while it sent is found out
by its lease, or at once where we see that its process has ended; the message is then sent again, under
the same name, by which whoever gets it twice can tell. It does not pass through the broker: what tells
that the broker is away must not depend on it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom import heartbeats
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.lifecycle import LifecycleError
from strongroom.notices import channels, chat, mail, outbox, outward, readers, webhooks
from strongroom.notices.errors import NotDelivered
from strongroom.notices.letters import Told, Writer
from strongroom.notices.models import Message
from strongroom.notices.readers import Whereto, Withheld
from strongroom.notices.states import ChannelKind, MessageState
from strongroom.runtime import Runtime

ROUND_SECONDS = 2.0
BATCH = 8  # each may take half a minute, and between rounds a sign of life is given
AT_ONCE = 4  # a receiver that is slow holds up no other
PART = "courier"  # its heartbeat

Outcome = Mapping[str, Any] | Withheld | NotDelivered  # a receipt, or why there is none

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Courier:
    """The rounds of one process."""

    runtime: Runtime
    write: Writer  # finds the words
    chance: Callable[[], float] = random.random  # 0 to 1; spreads what failed together

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What fails is logged and tried again: messages wait, none is lost."""
        while not stop.is_set():
            tried = 0
            try:
                tried = self.round()
                with self.runtime.database.session(Role.OPERATOR) as session:
                    heartbeats.beat(session, PART)
            except Exception:  # an edge: the next round tries again
                log.exception("the courier failed")
            if tried < BATCH:
                stop.wait(ROUND_SECONDS)

    def round(self) -> int:
        """The next BATCH of what is due is tried once; gives how many messages that were."""
        runtime = self.runtime
        for tenant in self._tenants_of_lost():
            with runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
                outbox.put_back_lost(session, now=runtime.now(), tenant=tenant)
        with runtime.database.session(Role.OPERATOR) as session:
            waiting = outbox.due(session, now=runtime.now(), most=BATCH)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="courier") as pool:
            return sum(pool.map(lambda each: self._guarded(*each), waiting))

    def _tenants_of_lost(self) -> list[UUID | None]:
        with self.runtime.database.session(Role.OPERATOR) as session:
            busy = Message.state == MessageState.SENDING
            held = select(Message.tenant_id).where(busy).distinct()
            return list(session.execute(held).scalars())

    def _guarded(self, message_id: UUID, tenant: UUID | None) -> bool:
        try:
            return self.deliver(message_id, tenant)
        except LifecycleError:
            log.warning("a message was taken over", message=str(message_id))
        except Exception:  # an edge: one message's failure stops no other; its lease runs out
            log.exception("a message could not be handled", message=str(message_id))
        return False

    def deliver(self, message_id: UUID, tenant: UUID | None) -> bool:
        """One attempt; False if the message does not wait any more. Raises a LifecycleError."""
        runtime = self.runtime
        with runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
            row = outbox.take(session, message_id, now=runtime.now())
            if row is None:
                return False
        fence = row.fence
        outcome = self._attempt(row)
        with runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
            self._record(session, session.get_one(Message, message_id), outcome, fence)
        return True

    def _record(self, session: Session, row: Message, outcome: Outcome, fence: int) -> None:
        now = self.runtime.now()
        match outcome:
            case Withheld():
                outbox.withheld(session, row, outcome.code, fence=fence, now=now)
            case NotDelivered():
                failure = {"code": outcome.code, "message": outcome.message}
                again = outbox.Again(outcome.permanent, self.chance())
                outbox.failed(session, row, failure, again, fence=fence, now=now)
                log.warning("a message was not taken", message=str(row.id), code=outcome.code)
            case _:
                outbox.delivered(session, row, outcome, fence=fence, now=now)

    def _attempt(self, row: Message) -> Outcome:
        try:
            whereto = readers.find(self.runtime, row)
            return whereto if isinstance(whereto, Withheld) else self._send(row, whereto)
        except NotDelivered as error:
            return error
        except StrongroomError as error:  # a key store that is away, a role without its URL
            return NotDelivered(error.message, code=error.code)
        except Exception as error:  # an edge: a mistake of ours; it is told as what is not taken is
            log.exception("a message could not be written or sent", message=str(row.id))
            return NotDelivered(f"{type(error).__name__}; see the log.", code="not-written")

    def _send(self, row: Message, to: Whereto) -> Mapping[str, Any]:
        runtime = self.runtime
        letter = self.write(
            Told(
                id=row.id,
                kind=row.kind,
                params=row.params,
                at=row.created_at,
                tenant=row.tenant_id,
                refusable=row.refusable,
                language=to.language,
                zone=to.zone,
                about=to.about,
                slug=to.slug,
            )
        )
        match to.kind:
            case ChannelKind.EMAIL:
                with runtime.database.session(Role.OPERATOR) as session:
                    server = channels.opened_server(session, runtime.vault.provider)
                return mail.send(server, letter, to=to.address, name=row.id, at=row.created_at)
            case ChannelKind.WEBHOOK:
                target = outward.target(to.address, plain=bool(to.allowed))
                body = webhooks.body_of(letter, kind=row.kind, at=row.created_at)
                now = runtime.now()
                return webhooks.send(
                    target, to.secret, body, name=row.id, now=now, allowed=to.allowed
                )
            case ChannelKind.APPRISE:
                return chat.send(to.address, letter)
