"""Making a key new: the tenant's KEK, or the password of a repository, or the
repository itself. Each step may be repeated.

A rotation is a row; `stage` names the last step that was carried out whole. A worker that dies
anywhere leaves at least one way in, and the next one goes on from there: what a step did is looked
at before it is done again. A rotation that fails for good leaves the old key as good as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import findings, repositories, rotating_epoch, rotating_kek, rotating_password
from backup.findings import Sight
from backup.making import failure_of
from backup.models import Repository, Rotation
from backup.repositories import RepositoryBusy, Retired
from backup.restic.errors import WrongKey
from backup.rotating import Going, Later
from backup.states import RepositoryState, RotationKind, RotationState
from strongroom import doorbells
from strongroom.actors import WORKER, Actor
from strongroom.dispatch import back_off
from strongroom.errors import NotFound, StrongroomError
from strongroom.ids import new_id
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance, record
from strongroom.regions import Region
from strongroom.runtime import Runtime

BUSY_PAUSE = timedelta(seconds=5)
OPEN = (RotationState.WAITING, RotationState.ROTATING)
FAILED = "key-rotation-failed"

log = structlog.get_logger(__name__)


CARRIED_OUT: Mapping[RotationKind, Callable[[Going], None]] = {
    RotationKind.KEK: rotating_kek.carry_out,
    RotationKind.PASSWORD: rotating_password.carry_out,
    RotationKind.EPOCH: rotating_epoch.carry_out,
}


@dataclass(frozen=True)
class Asked:
    """What is to be made new."""

    kind: RotationKind
    # Of a new epoch: the old one goes too where it did not open, so that nobody could look first.
    destroy_unreadable: bool = False
    only_in: str | None = None  # a region's name; None: in each region


def ask(
    session: Session, tenant: UUID, asked: Asked, *, by: Actor, now: datetime
) -> list[Rotation]:
    """Rows for what is to be made new, and those that are under way already.

    Of passwords and epochs one for each repository that was made, by region. Where an old
    repository was kept because it did not open, the word to destroy it is about that one, and no
    epoch is made. Raises NotFound when there is nothing.
    """
    kept = _kept(session, tenant, asked) if asked.destroy_unreadable else []
    if kept:
        return [_take_up(session, each, by=by, now=now) for each in kept]
    subjects: list[UUID | None] = [None]
    if asked.kind is not RotationKind.KEK:
        subjects = [
            row.id
            for row, region in repositories.of_tenant(session, tenant)
            if row.state is not RepositoryState.NEW and asked.only_in in (None, region.name)
        ]
    if not subjects:
        raise NotFound(
            "This tenant has no repository there yet, so there is nothing to make new. Make a "
            "backup first.",
            code="no-repository",
        )
    return [_one(session, tenant, asked, each, by=by, now=now) for each in subjects]


def _one(
    session: Session,
    tenant: UUID,
    asked: Asked,
    repository: UUID | None,
    *,
    by: Actor,
    now: datetime,
) -> Rotation:
    kind, flags = asked.kind, {"destroy_unreadable": True} if asked.destroy_unreadable else None
    same = select(Rotation).where(
        Rotation.tenant_id == tenant,
        Rotation.kind == kind,
        Rotation.repository_id.is_not_distinct_from(repository),
        Rotation.state.in_(OPEN),
    )
    known = session.execute(same.limit(1).with_for_update()).scalar_one_or_none()
    if known is not None:
        if flags is not None:
            known.report = {**(known.report or {}), **flags}
        return known
    row = Rotation(
        id=new_id(),
        tenant_id=tenant,
        kind=kind,
        repository_id=repository,
        state=RotationState.WAITING,
        asked_by=str(by),
        asked_at=now,
        due_at=now,
        report=flags,
    )
    session.add(row)
    record(session, row, old="", move=Move(by=by, at=now, reason=Reason("asked")))
    return row


def _kept(session: Session, tenant: UUID, asked: Asked) -> list[Rotation]:
    """New epochs that left behind what did not open, and still lies there."""
    wanted = (
        select(Rotation)
        .join(Repository, Repository.id == Rotation.repository_id)
        .join(Region, Region.id == Repository.region_id)
        .where(
            Rotation.tenant_id == tenant,
            Rotation.kind == asked.kind,
            Rotation.state == RotationState.DONE,
            Rotation.stage == rotating_epoch.KEPT,
            Repository.state == RepositoryState.RETIRED,
        )
        .order_by(Rotation.id)
    )
    if asked.only_in is not None:
        wanted = wanted.where(Region.name == asked.only_in)
    return list(session.execute(wanted).scalars())


def _take_up(session: Session, ended: Rotation, *, by: Actor, now: datetime) -> Rotation:
    """Another row goes on where that one ended: all is switched, the old one is to be destroyed."""
    wish = Asked(RotationKind.EPOCH, destroy_unreadable=True)
    row = _one(session, ended.tenant_id, wish, ended.repository_id, by=by, now=now)
    if row.stage is None:
        row.stage = rotating_epoch.SETTLED
        row.report = {**(ended.report or {}), "destroy_unreadable": True}
    return row


def rotate(runtime: Runtime, tenant: UUID, rotation_id: UUID) -> Rotation | None:
    """Carry out a rotation that waits; None when it could not be done whole yet."""
    answered = doorbells.answer(runtime, Rotation, tenant, rotation_id)
    if answered is None:
        return None
    row, fence = answered
    with runtime.keeper.holding(row, fence) as held:
        going = Going(runtime, row, held)
        try:
            CARRIED_OUT[row.kind](going)
        except Overtaken as error:
            log.warning("a rotation went on elsewhere", rotation=str(row.id), error=error.message)
        except StrongroomError as error:
            _again_or_fail(going, error)
        else:
            _end(going, RotationState.DONE, Reason("rotated"), {"failure": None})
            return row
        return None


def _again_or_fail(going: Going, error: StrongroomError) -> None:
    """A store or a region that is away is waited for, however long; nothing else is tried."""
    values: dict[str, Any] = {"failure": failure_of(error)}
    if isinstance(error, Retired):  # a new epoch took its place, and has a password of its own
        _end(going, RotationState.DONE, Reason(error.code), {"failure": None})
        return
    if isinstance(error, WrongKey) and going.row.kind is RotationKind.EPOCH:
        error.permanent = False  # its password was made new meanwhile: the next attempt knows it
    going.refresh()
    switched = going.row.stage in rotating_epoch.SWITCHED  # then there is no way back
    if error.permanent and not switched and not isinstance(error, RepositoryBusy):
        _end(going, RotationState.FAILED, Reason(error.code), values)
        return
    now = going.runtime.now()
    due = now + (BUSY_PAUSE if isinstance(error, RepositoryBusy) else back_off(going.row.attempt))
    if isinstance(error, Later) and error.until is not None:
        due = max(due, error.until)
    values |= {"due_at": due, "nudged_at": None}
    _end(going, RotationState.WAITING, Reason(error.code), values)


def _end(going: Going, state: RotationState, reason: Reason, values: dict[str, Any]) -> None:
    now = going.runtime.now()
    values = values | {"owner": None, "lease_until": None}
    if state is not RotationState.WAITING:
        values["ended_at"] = now
    move = Move(by=WORKER, at=now, reason=reason, fence=going.held.fence, values=values)
    try:
        with going.session() as session:
            advance(session, session.get_one(Rotation, going.row.id), state, move)
            if state is RotationState.FAILED:
                _alarm(session, going.row, values["failure"], now=now)
    except LifecycleError as error:
        log.warning("a rotation went on elsewhere", rotation=str(going.row.id), error=error.message)
    else:
        log.info("a rotation ended or has to wait", rotation=str(going.row.id), state=str(state))


def _alarm(session: Session, row: Rotation, failure: dict[str, Any], *, now: datetime) -> None:
    sight = Sight(
        FAILED,
        str(row.repository_id or row.tenant_id),
        {"kind": str(row.kind), "code": failure["code"], "message": failure.get("message", "")},
        repository=row.repository_id,
    )
    findings.see(session, row.tenant_id, sight, now=now)
