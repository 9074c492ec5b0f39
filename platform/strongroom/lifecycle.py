"""The one device for every lifecycle: `advance` moves a row and leaves a Step behind.

A lifecycle is an enum, a table of allowed steps on the model (`STEPS`), and this module. Nobody
else sets `.state`. Work that a worker carries out (`Work`) also has a lease on the database's
clock and a fencing number: who takes the row gets a higher number than anyone before, and every
later move names it, so that a worker that was stopped and woken changes nothing.

    LifecycleError
    ├── WrongTurn     the table does not allow this step
    └── Overtaken     somebody else moved the row first, or holds a higher fence
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from sqlalchemy import Index, and_, func, or_, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom.actors import Actor, ActorKind
from strongroom.audit import entries
from strongroom.audit.entries import Deed, Ending
from strongroom.db import Base, OfTenant
from strongroom.errors import StrongroomError
from strongroom.ids import new_id

LEASE = timedelta(seconds=60)
States = Mapping[Any, frozenset[Any]]


class LifecycleError(StrongroomError):
    """A row could not be moved."""

    code = "lifecycle"


class WrongTurn(LifecycleError):
    """The lifecycle does not allow this step."""

    code = "wrong-turn"
    permanent = True


class Overtaken(LifecycleError):
    """Somebody else moved the row first."""

    code = "overtaken"
    permanent = True


@dataclass(frozen=True)
class Reason:
    """Why: a code with parameters, so that it can be said in any language."""

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)


class Step(OfTenant, Base):
    """One move of one row: what console, alerts, metrics and reports read."""

    __tablename__ = "steps"
    __constraints__ = (Index(None, "tenant_id", "row_id"), Index(None, "tenant_id", "at"))

    of: Mapped[str]  # the table of the row
    row_id: Mapped[uuid.UUID]
    old: Mapped[str]
    new: Mapped[str]
    code: Mapped[str]  # the reason
    params: Mapped[dict[str, Any]]
    by: Mapped[str]
    at: Mapped[datetime]
    fence: Mapped[int | None]


class Lived:
    """A row with a lifecycle. Subclasses declare `state`, `STEPS` and `ON_RECORD`."""

    STEPS: ClassVar[States]
    # Which states the record tells of when the system brings them about, and how that ended; None:
    # not worth an entry. What a person or an operator does is on record whatever it is.
    ON_RECORD: ClassVar[Mapping[Any, Ending | None]]

    id: Mapped[uuid.UUID]
    tenant_id: Mapped[Any]  # a UUID; None where the row is the platform's own
    state: Mapped[Any]


class Leased:
    """Columns of what only one worker may hold at a time."""

    fence: Mapped[int] = mapped_column(default=0, server_default="0")
    owner: Mapped[str | None]  # host:boot:pid:start of the process that holds it
    lease_until: Mapped[datetime | None]  # on the database's clock


class Work(Lived, Leased):
    """A row that a worker carries out: waiting until `due_at`, then taken, then ended.

    `WAITING` and `BUSY` name the state it waits in and the one it is in while somebody holds it;
    `QUARANTINE` the one it is put into once it took two workers down.
    """

    WAITING: ClassVar[Any]
    BUSY: ClassVar[Any]
    QUARANTINE: ClassVar[Any]

    due_at: Mapped[datetime]  # business time
    nudged_at: Mapped[datetime | None]  # when its id was last sent to the broker
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    losses: Mapped[int] = mapped_column(default=0, server_default="0")  # workers lost on it
    failure: Mapped[dict[str, Any] | None]  # code, params and message of the last failure


@dataclass(frozen=True)
class Move:
    """Who moves a row, when and why."""

    by: Actor
    at: datetime
    reason: Reason = Reason("ok")
    fence: int | None = None  # given: the row must still carry it
    values: Mapping[str, Any] = field(default_factory=dict)  # further columns, set in the same act


def advance(session: Session, row: Any, to: enum.StrEnum, move: Move) -> None:
    """Move the row to a state and leave a step behind. Raises WrongTurn or Overtaken."""
    kind: Any = type(row)
    old = row.state
    if to not in kind.STEPS[old]:
        raise WrongTurn(f"{row!r} cannot go from {old} to {to}.", old=str(old), new=str(to))
    condition = [kind.id == row.id, kind.state == old]
    if move.fence is not None:
        condition.append(kind.fence == move.fence)
    values: dict[str, Any] = {**move.values, "state": to}
    if _change(session, kind, condition, values) is None:
        raise Overtaken(f"{row!r} is no longer {old}, or another worker has taken it.")
    record(session, row, old=old, move=move)


def record(session: Session, row: Any, *, old: object, move: Move) -> None:
    """Leave a step behind for a row that was just made or moved.

    Steps are tenants' own; what is the platform's is in the record alone.
    """
    if row.tenant_id is not None:
        session.add(_step(row, old, move))
    ending = on_record(type(row), old, row.state, move)
    if ending is not None:
        entries.note(
            session, _deed(row, old, move, ending), by=move.by, at=move.at, tenant=row.tenant_id
        )


def _step(row: Any, old: object, move: Move) -> Step:
    return Step(
        id=new_id(),
        tenant_id=row.tenant_id,
        of=type(row).__tablename__,
        row_id=row.id,
        old=str(old),
        new=str(row.state),
        code=move.reason.code,
        params=dict(move.reason.params),
        by=str(move.by),
        at=move.at,
        fence=move.fence,
    )


def on_record(kind: Any, old: object, new: object, move: Move) -> Ending | None:
    """Whether the record tells of this move, and how it ended. Pure."""
    if move.by.kind is not ActorKind.SYSTEM:
        return kind.ON_RECORD[new] or Ending.DONE
    if issubclass(kind, Work) and old == kind.BUSY and new == kind.WAITING:
        return None  # tried again
    ending: Ending | None = kind.ON_RECORD[new]
    return ending


def _deed(row: Any, old: object, move: Move, ending: Ending) -> Deed:
    """Named by the state; where that stays as it was, by the reason."""
    of = type(row).__tablename__
    what = move.reason.code if old == row.state else str(row.state)
    return Deed(
        f"{of.replace('_', '-')}.{what}",
        of,
        row.id,
        reason=move.reason.code,
        ending=ending,
        details={**move.reason.params, **({"why": row.reason} if _has_words(row) else {})},
    )


def _has_words(row: Any) -> bool:
    """Whether somebody gave a reason of their own; those name people, so they are details."""
    return bool(getattr(row, "reason", None))


def take(session: Session, row: Any, *, owner: str, move: Move) -> int | None:
    """Take waiting work for one worker; None if it is not waiting or somebody was faster.

    Gives the new fence. The lease runs on the database's clock.
    """
    kind: Any = type(row)
    values = {
        "state": kind.BUSY,
        "fence": kind.fence + 1,
        "attempt": kind.attempt + 1,
        "owner": owner,
        "lease_until": func.clock_timestamp() + LEASE,
    }
    waiting = [kind.id == row.id, kind.state == kind.WAITING]
    if _change(session, kind, waiting, values) is None:
        return None
    fence = int(row.fence)
    taken = Move(by=move.by, at=move.at, reason=Reason("taken"), fence=fence)
    record(session, row, old=kind.WAITING, move=taken)
    return fence


def _change(session: Session, kind: Any, where: Sequence[Any], values: Mapping[str, Any]) -> Any:
    """Set the columns, and the loaded row after them, in one statement; None if none fits."""
    return session.execute(
        update(kind)
        .where(*where)
        .values(**values)
        .returning(kind)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).scalar_one_or_none()


def renew(session: Session, kind: Any, held: Mapping[uuid.UUID, int]) -> set[uuid.UUID]:
    """Extend the leases that are still ours (row id -> fence); gives the ids that are."""
    if not held:
        return set()
    ours = or_(*(and_(kind.id == row_id, kind.fence == fence) for row_id, fence in held.items()))
    renewed = session.execute(
        update(kind)
        .where(ours, kind.lease_until.is_not(None))
        .values(lease_until=func.clock_timestamp() + LEASE)
        .returning(kind.id)
        .execution_options(synchronize_session=False)
    )
    return set(renewed.scalars())


def database_now(session: Session) -> datetime:
    """The database's clock, for comparing it with others."""
    return cast("datetime", session.execute(select(text("clock_timestamp()"))).scalar_one())
