"""The outbox: a message is put in with the act that it tells of, and is kept or lost with it.

`key` says once for all readers which act is told to whom: put in twice, it is there once. Whoever
delivers takes a message (`take`: lease and fence, as all work), and says how it went (`delivered`, `failed`, `withheld`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from strongroom import lifecycle, owner
from strongroom.actors import Actor, ActorKind
from strongroom.dispatch import find_lost
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason
from strongroom.notices.models import Message
from strongroom.notices.states import MessageState, ReaderKind

GIVEN_UP = timedelta(days=3)
FIRST_PAUSE = timedelta(seconds=15)  # doubled with every attempt
LONGEST_PAUSE = timedelta(hours=6)
LEASE = timedelta(minutes=5)  # longer than any attempt can take; nobody renews it
JITTER = 0.25  # of the pause, either way: what failed together does not come back together
COURIER = Actor(ActorKind.SYSTEM, "courier")


@dataclass(frozen=True)
class Reader:
    """To whom: a reference, so that the address of today is used when it is sent."""

    kind: ReaderKind
    id: uuid.UUID


@dataclass(frozen=True)
class Notice:
    """What is to be told."""

    key: str  # unique: which act, to whom
    kind: str  # stable, dotted
    reader: Reader
    params: Mapping[str, Any]  # plain JSON, no secrets
    refusable: bool = False
    language: str | None = None  # None: as the reader prefers
    due_at: datetime | None = None  # None: at once


def put(
    session: Session,
    notices: Iterable[Notice],
    *,
    now: datetime,
    tenant: uuid.UUID | None = None,
) -> None:
    """Insert each, in the transaction of what it tells of; one whose key is there already is left."""
    rows = [
        {
            "id": new_id(),
            "tenant_id": tenant,
            "key": each.key,
            "kind": each.kind,
            "params": dict(each.params),
            "refusable": each.refusable,
            "language": each.language,
            "reader_kind": each.reader.kind,
            "reader_id": each.reader.id,
            "state": MessageState.QUEUED,
            "due_at": each.due_at or now,
            "until": (each.due_at or now) + GIVEN_UP,
            "created_at": now,
        }
        for each in notices
    ]
    if rows:  # no column is named in the conflict: who only adds may read none
        session.execute(insert(Message).values(rows).on_conflict_do_nothing())


def due(session: Session, *, now: datetime, most: int) -> list[tuple[uuid.UUID, Any]]:
    """Ids and tenants of what is due: what operators wait for first, then the longest due."""
    wanted = (
        select(Message.id, Message.tenant_id)
        .where(Message.state == MessageState.QUEUED, Message.due_at <= now)
        .order_by(Message.reader_kind == ReaderKind.ACCOUNT, Message.due_at, Message.id)
        .limit(most)
    )
    return [(row.id, row.tenant_id) for row in session.execute(wanted)]


def take(session: Session, message_id: uuid.UUID, *, now: datetime) -> Message | None:
    """The message, held by this process; None if it does not wait or somebody was faster."""
    row = session.get(Message, message_id)
    if row is None or row.state is not MessageState.QUEUED:
        return None
    move = Move(by=COURIER, at=now)
    fence = lifecycle.take(session, row, owner=owner.me(), move=move)
    if fence is None:
        return None
    session.execute(
        update(Message)
        .where(Message.id == message_id, Message.fence == fence)
        .values(lease_until=func.clock_timestamp() + LEASE)
    )
    return row


def put_back_lost(session: Session, *, now: datetime, tenant: uuid.UUID | None) -> int:
    """What a courier held that has ended, or whose lease ran out, is due again at once.

    However often that happens: a message is given up for what its receiver does, never for us. The
    session is bound to the tenant.
    """
    lost = [row for row in find_lost(session, Message) if row.tenant_id == tenant]
    for row in lost:
        values = {"owner": None, "lease_until": None, "fence": row.fence + 1, "due_at": now}
        move = Move(by=COURIER, at=now, reason=Reason("courier-lost"), values=values)
        lifecycle.advance(session, row, MessageState.QUEUED, move)
    return len(lost)


def delivered(
    session: Session, row: Message, receipt: Mapping[str, Any], *, fence: int, now: datetime
) -> None:
    """Raises Overtaken when the message is no longer ours."""
    values = {"receipt": dict(receipt), "failure": None}
    _end(session, row, MessageState.DELIVERED, Reason("delivered"), values, fence, now)


def withheld(session: Session, row: Message, code: str, *, fence: int, now: datetime) -> None:
    """It is not sent, and why. Raises Overtaken."""
    _end(session, row, MessageState.WITHHELD, Reason(code), {}, fence, now)


@dataclass(frozen=True)
class Again:
    """Whether and when a message that was not taken is tried again."""

    permanent: bool  # never
    chance: float  # 0 to 1: spreads the pauses of what failed together


def failed(
    session: Session,
    row: Message,
    failure: Mapping[str, Any],
    again: Again,
    *,
    fence: int,
    now: datetime,
) -> None:
    """Tried again later, or given up. Raises Overtaken."""
    later = now + pause(row.attempt, chance=again.chance)
    code = str(failure.get("code", "not-delivered"))
    if again.permanent or later > row.until:
        reason = Reason(code, {"attempts": row.attempt})
        _end(session, row, MessageState.FAILED, reason, {"failure": dict(failure)}, fence, now)
        return
    values = {"failure": dict(failure), "due_at": later, "owner": None, "lease_until": None}
    move = Move(by=COURIER, at=now, reason=Reason(code), fence=fence, values=values)
    lifecycle.advance(session, row, MessageState.QUEUED, move)


def pause(attempt: int, *, chance: float) -> timedelta:
    """How long to wait after so many attempts; `chance` from 0 to 1 spreads it. Pure."""
    doubled = FIRST_PAUSE * float(2 ** min(max(attempt - 1, 0), 16))
    return min(doubled, LONGEST_PAUSE) * (1 - JITTER + 2 * JITTER * chance)


def _end(
    session: Session,
    row: Message,
    to: MessageState,
    reason: Reason,
    values: Mapping[str, Any],
    fence: int,
    now: datetime,
) -> None:
    over = {**values, "owner": None, "lease_until": None, "ended_at": now}
    move = Move(by=COURIER, at=now, reason=reason, fence=fence, values=over)
    lifecycle.advance(session, row, to, move)


def newest(
    session: Session, *, reader: uuid.UUID | None = None, most: int = 50
) -> Sequence[Message]:
    """The newest first; of one reader, or of all."""
    wanted = select(Message).order_by(Message.created_at.desc(), Message.id.desc()).limit(most)
    if reader is not None:
        wanted = wanted.where(Message.reader_id == reader)
    return session.execute(wanted).scalars().all()


@dataclass(frozen=True)
class Stuck:
    """What does not get through to one channel of operators."""

    channel: uuid.UUID
    failed: int  # given up since the newest one that arrived
    waiting: int  # tried at least twice, and not taken
    code: str  # of the last failure


def stuck(session: Session) -> list[Stuck]:
    """By channel, counting only what came after the newest that did arrive."""
    arrived = (
        select(Message.reader_id, func.max(Message.created_at).label("at"))
        .where(Message.state == MessageState.DELIVERED)
        .group_by(Message.reader_id)
        .subquery()
    )
    failing = Message.state == MessageState.FAILED
    waiting = (Message.state != MessageState.FAILED) & (Message.attempt >= 2)
    code = func.max(Message.failure["code"].astext)
    rows = session.execute(
        select(
            Message.reader_id,
            func.count().filter(failing).label("failed"),
            func.count().filter(waiting).label("waiting"),
            code.label("code"),
        )
        .outerjoin(arrived, arrived.c.reader_id == Message.reader_id)
        .where(
            Message.reader_kind == ReaderKind.CHANNEL,
            Message.failure["code"].astext.is_not(None),
            Message.state.in_([MessageState.QUEUED, MessageState.SENDING, MessageState.FAILED]),
            or_(arrived.c.at.is_(None), arrived.c.at < Message.created_at),
        )
        .group_by(Message.reader_id)
    )
    return [
        Stuck(row.reader_id, row.failed, row.waiting, row.code or "not-delivered")
        for row in rows
        if row.failed or row.waiting
    ]
