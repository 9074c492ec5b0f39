"""The dispatcher: finds in rows what falls due, and rings for it. Any number may run.

Each part registers what falls due (`Due`) and what makes new work (`Planner`). A round

1. lets every planner insert work for schedules that came due,
2. puts back what a lost worker held (`reap`), and quarantines what took two workers down,
3. rings for what waits and is due (`nudge`), at most once in RING_AGAIN for each row.

The rows are the outbox: a doorbell lost with the broker is rung again, one that comes twice finds
its row taken. A dispatcher that starts rings for everything that waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from celery import Celery
from sqlalchemy import func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from strongroom import owner
from strongroom.actors import DISPATCHER
from strongroom.db import Database, Role
from strongroom.lifecycle import Move, Reason, advance, database_now
from strongroom.worker import Queue, ring_all

BATCH = 500
RING_AGAIN = timedelta(minutes=5)
LOSSES_ALLOWED = 2
BACK_OFF = timedelta(seconds=15)  # doubled with every attempt
BACK_OFF_MOST = timedelta(hours=1)
CLOCKS_APART = timedelta(minutes=5)

log = structlog.get_logger(__name__)

Planner = Callable[[Session, datetime], int]


@dataclass(frozen=True)
class Due:
    """A kind of row that falls due, and what to ring for it."""

    kind: Any  # the model: state, due_at, nudged_at
    waiting: tuple[Any, ...]  # the states in which it waits
    task: str
    queue: Queue
    subject: str = "id"  # the column that the doorbell carries
    leased: bool = True  # it is a lifecycle.Work, to be put back when its worker is lost


@dataclass(frozen=True)
class Dispatcher:
    """One dispatcher process."""

    database: Database
    app: Celery
    dues: Sequence[Due]
    planners: Sequence[Planner]
    started: datetime
    failures: list[str] = field(default_factory=list)  # parts that failed in the newest round

    def round(self, now: datetime) -> int:
        """One round; gives how many doorbells were rung. A part that fails stops no other."""
        self.failures.clear()
        for planner in self.planners:
            self._guarded(planner.__name__, partial(self._plan, planner, now))
        rung = 0
        for due in self.dues:
            if due.leased:
                self._guarded(due.task, partial(self._reap, due, now))
            rung += self._guarded(due.task, partial(self._nudge, due, now))
        return rung

    def _guarded(self, name: str, act: Callable[[], int]) -> int:
        try:
            return act()
        except Exception:  # an edge: one part's failure is logged, the others go on
            log.exception("a part of the dispatcher's round failed", part=name)
            self.failures.append(name)
            return 0

    def _plan(self, planner: Planner, now: datetime) -> int:
        """A host whose clock jumped plans nothing: years of missed slots would be written."""
        with self.database.session(Role.DISPATCHER) as session:
            apart = abs(database_now(session) - datetime.now(UTC))
            if apart > CLOCKS_APART:
                log.error("the clocks of host and database disagree", seconds=apart.total_seconds())
                self.failures.append("clocks")
                return 0
            return planner(session, now)

    def _reap(self, due: Due, now: datetime) -> int:
        with self.database.session(Role.DISPATCHER) as session:
            lost = find_lost(session, due.kind)
            for row in lost:
                put_back(session, row, now=now)
            return len(lost)

    def _nudge(self, due: Due, now: datetime) -> int:
        with self.database.session(Role.DISPATCHER) as session:
            found = nudge(session, due, now=now, again=self._again(now))
        bells = [
            {"task": due.task, "queue": due.queue, "tenant": tenant, "subject": subject}
            for tenant, subject in found
        ]
        try:
            ring_all(self.app, bells)
        except Exception:
            with self.database.session(Role.DISPATCHER) as session:
                unring(session, due, now=now)  # the broker is away: the next round tries again
            raise
        return len(found)

    def _again(self, now: datetime) -> datetime:
        """Rows rung before this moment are rung again: all of them just after our start."""
        return max(now - RING_AGAIN, min(self.started, now))


def nudge(
    session: Session, due: Due, *, now: datetime, again: datetime
) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Mark what is due as rung for and give (tenant, subject) of each, oldest first."""
    kind = due.kind
    chosen = (
        select(kind.id)
        .where(
            kind.state.in_(due.waiting),
            kind.due_at <= now,
            or_(
                kind.nudged_at.is_(None),
                kind.nudged_at < again,
                kind.nudged_at > now + CLOCKS_APART,  # by a clock that was ahead
            ),
        )
        .order_by(kind.due_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(
        update(kind)
        .where(kind.id.in_(chosen))
        .values(nudged_at=now)
        .returning(kind.tenant_id, getattr(kind, due.subject))
        .execution_options(synchronize_session=False)
    )
    found = ((tenant, subject) for tenant, subject in rows)  # pyright: ignore
    return list(dict.fromkeys(found))


def unring(session: Session, due: Due, *, now: datetime) -> None:
    """Take back what `nudge` marked at this moment and nobody has taken since."""
    kind = due.kind
    session.execute(
        update(kind)
        .where(kind.state.in_(due.waiting), kind.nudged_at == now)
        .values(nudged_at=None)
        .execution_options(synchronize_session=False)
    )


def find_lost(session: Session, kind: Any) -> Sequence[Any]:
    """Work whose lease ran out, or whose worker is known to have ended; locked for this round."""
    over = (kind.lease_until < func.clock_timestamp()).label("over")
    held = session.execute(
        select(kind.id, kind.fence, kind.owner, over)
        .where(kind.state == kind.BUSY)
        .order_by(kind.lease_until)  # what ran out comes first, however much is at work
        .limit(BATCH)
    ).all()
    # By fence too: another dispatcher may have put it back, and a worker taken it, since we looked.
    lost = [
        (row.id, row.fence) for row in held if row.over or (row.owner and owner.is_gone(row.owner))
    ]
    if not lost:
        return []
    return (
        session.execute(
            select(kind)
            .where(tuple_(kind.id, kind.fence).in_(lost), kind.state == kind.BUSY)
            .with_for_update(skip_locked=True)
        )
        .scalars()
        .all()
    )


def put_back(session: Session, row: Any, *, now: datetime) -> None:
    """Let the work be tried again after a pause, or quarantine it after two lost workers."""
    kind: Any = type(row)
    losses = row.losses + 1
    values = {"owner": None, "lease_until": None, "losses": losses, "fence": row.fence + 1}
    if losses >= LOSSES_ALLOWED:
        reason = Reason("workers-lost", {"losses": losses})
        values["failure"] = {"code": reason.code, "params": dict(reason.params)}
        to = kind.QUARANTINE
    else:
        reason = Reason("worker-lost", {"losses": losses})
        to = kind.WAITING
    values |= {"due_at": now + back_off(row.attempt - 1), "nudged_at": None}
    advance(session, row, to, Move(by=DISPATCHER, at=now, reason=reason, values=values))
    log.warning("work was put back", table=kind.__tablename__, row=str(row.id), state=str(to))


def back_off(attempt: int) -> timedelta:
    """How long to wait before the next attempt: 0 after the first loss, then doubling."""
    if attempt <= 0:
        return timedelta(0)
    return min(BACK_OFF * float(2 ** min(attempt - 1, 12)), BACK_OFF_MOST)
