"""Whose turn it is to be proven: by rota, spread over the days, and never all at once.

Each repository has a row for its structure and one for a share of its data. Turns lie on a grid
of their own, shifted by a hash of the repository's id, so that they neither come together nor
drift; one that was missed is made up for once, at once. `begin` makes or moves the rows of a
tenant, `plan` is the dispatcher's planner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import planning
from backup import policy as policies
from backup.models import Copy, Point, Proof, Repository, Rota
from backup.policy import Verification
from backup.states import CopyState, Level, ProofState
from strongroom.actors import DISPATCHER
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, record

LEVELS = (Level.STRUCTURE, Level.SHARE)
ASKED_BY = "rota"
BATCH = 200
DAY = timedelta(days=1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # where every grid begins
MOST_PARTS = 256  # a share is chosen by the first byte of a pack's name
OPEN = (ProofState.WAITING, ProofState.PROVING, ProofState.QUARANTINED)

log = structlog.get_logger(__name__)


def every(level: Level, wanted: Verification) -> timedelta:
    """How long from one turn to the next; a share of the data is read each day."""
    return timedelta(days=wanted.structure_every_days) if level is Level.STRUCTURE else DAY


def shift(repository: UUID, level: Level, step: timedelta) -> timedelta:
    """How far into each period this repository's turn lies: the same for ever, from 0 to `step`."""
    digest = hashlib.sha256(f"{level}:{repository}".encode()).digest()
    return step * (int.from_bytes(digest[:6], "big") / 2**48)


def next_turn(repository: UUID, level: Level, step: timedelta, *, after: datetime) -> datetime:
    """The first turn after that moment, at most one `step` away."""
    first = EPOCH + shift(repository, level, step)
    return first + ((after - first) // step + 1) * step


def day_of(repository: UUID, now: datetime) -> int:
    """Number of the day whose share is read; days begin with the repository's turn."""
    return (now - EPOCH - shift(repository, Level.SHARE, DAY)) // DAY


def parts(data_every_days: int) -> int:
    """Into how many shares the data are cut: one less than days, so that a pack whose turn comes
    a little later than the last time is still read within them."""
    return min(max(1, data_every_days - 1), MOST_PARTS)


def is_turn(pack: str, day: int, of: int) -> bool:
    """Whether the pack with this name (hex) is read on that day."""
    return int(pack[:2], 16) % of == day % of


def moved(row: Rota, wanted: Verification, *, now: datetime) -> datetime:
    """When the row is due under this policy; what is overdue stays so."""
    if row.due_at <= now:
        return row.due_at
    return next_turn(row.repository_id, row.level, every(row.level, wanted), after=now)


def begin(session: Session, tenant: UUID, *, now: datetime) -> None:
    """A row for each repository of the tenant, due as the policy in force says."""
    wanted = _wanted(session, tenant)
    rows = session.execute(select(Rota).where(Rota.tenant_id == tenant, Rota.level.in_(LEVELS)))
    for row in rows.scalars():
        row.due_at = moved(row, wanted, now=now)
    for repository in session.execute(
        select(Repository.id).where(Repository.tenant_id == tenant, Repository.counts())
    ).scalars():
        _insert(session, tenant, repository, wanted, now=now)


def plan(session: Session, now: datetime) -> int:
    """The dispatcher's planner: a proof for each row that came due; gives how many.

    Several dispatchers may call it at once: a row is claimed with SKIP LOCKED. One tenant that
    fails stops no other.
    """
    for tenant, repository in _lacking(session):
        with _guarded(session, tenant):
            _insert(session, tenant, repository, _wanted(session, tenant), now=now)
    due = session.execute(
        select(Rota)
        .where(
            Rota.level.in_(LEVELS),
            # or it was planned by a clock that was ahead, and has to be brought back
            or_(Rota.due_at <= now, Rota.planned_at > now + DAY),
        )
        .order_by(Rota.due_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).scalars()
    planned = 0
    for row in due.all():
        with _guarded(session, row.tenant_id):
            planned += _plan(session, row, now)
    return planned


def passed(session: Session, repository: UUID, level: Level, *, now: datetime) -> None:
    """A proof of that level passed there; one of all the data stands for both turns."""
    covered = LEVELS if level is Level.DATA else (level,)
    rows = session.execute(
        select(Rota).where(Rota.repository_id == repository, Rota.level.in_(covered))
    )
    for row in rows.scalars():
        row.passed_at = now


def _wanted(session: Session, tenant: UUID) -> Verification:
    return policies.from_json(planning.current_policy(session, tenant).body).verification


def _insert(
    session: Session, tenant: UUID, repository: UUID, wanted: Verification, *, now: datetime
) -> None:
    for level in LEVELS:
        due = next_turn(repository, level, every(level, wanted), after=now)
        row = {"tenant_id": tenant, "repository_id": repository, "level": level, "due_at": due}
        session.execute(insert(Rota).values(id=new_id(), **row).on_conflict_do_nothing())


@contextmanager
def _guarded(session: Session, tenant: UUID) -> Iterator[None]:
    try:
        with session.begin_nested():
            yield
    except Exception:  # an edge: it is logged with the tenant's id, the others go on
        log.exception("no proof could be planned", tenant=str(tenant))


def _lacking(session: Session) -> list[tuple[UUID, UUID]]:
    """Tenant and id of repositories that were made by somebody who knows no rota."""
    there = select(Rota.id).where(
        Rota.tenant_id == Repository.tenant_id,
        Rota.repository_id == Repository.id,
        Rota.level == Level.SHARE,
    )
    rows = session.execute(
        select(Repository.tenant_id, Repository.id)
        .where(Repository.counts(), ~there.exists())
        .limit(BATCH)
    )
    return [(row.tenant_id, row.id) for row in rows]


def _plan(session: Session, row: Rota, now: datetime) -> int:
    step = every(row.level, _wanted(session, row.tenant_id))
    came = row.due_at <= now
    row.due_at = next_turn(row.repository_id, row.level, step, after=now)
    if not came:
        row.planned_at = now
        return 0
    copy = _newest(session, row.repository_id)
    if copy is None or _is_open(session, row):
        return 0
    row.planned_at = now
    proof = Proof(
        id=new_id(),
        tenant_id=row.tenant_id,
        copy_id=copy,
        level=row.level,
        state=ProofState.WAITING,
        asked_by=ASKED_BY,
        due_at=now,
    )
    session.add(proof)
    record(session, proof, old="", move=Move(by=DISPATCHER, at=now, reason=Reason(ASKED_BY)))
    session.flush()
    return 1


def _newest(session: Session, repository: UUID) -> UUID | None:
    """The newest copy that lies there."""
    return session.execute(
        select(Copy.id)
        .join(Point, Point.id == Copy.point_id)
        .where(Copy.repository_id == repository, Copy.state == CopyState.STORED)
        .order_by(Point.number.desc())
        .limit(1)
    ).scalar_one_or_none()


def _is_open(session: Session, row: Rota) -> bool:
    """Whether a proof of this level waits or goes on there, whoever asked for it."""
    found = session.execute(
        select(Proof.id)
        .join(Copy, Copy.id == Proof.copy_id)
        .where(
            Copy.repository_id == row.repository_id,
            Proof.level == row.level,
            Proof.state.in_(OPEN),
        )
        .limit(1)
    )
    return found.first() is not None
