"""Making a key new: the tenant's KEK, or the password of a repository. Each step may be repeated.

A rotation is a row; `stage` names the last step that was carried out whole. A worker that dies
anywhere leaves at least one way in, and the next one goes on from there: what a step did is looked
at before it is done again. A rotation that fails for good leaves the old key as good as before.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import findings, rotating_kek, rotating_password
from backup.findings import Sight
from backup.making import failure_of
from backup.models import Repository, Rotation
from backup.repositories import RepositoryBusy
from backup.rotating import Going, KeyFileLocked
from backup.states import RepositoryState, RotationKind, RotationState
from strongroom import owner
from strongroom.actors import WORKER, Actor
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import NotFound, Refused, StrongroomError
from strongroom.ids import new_id
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance, record, take
from strongroom.runtime import Runtime

BUSY_PAUSE = timedelta(seconds=5)
OPEN = (RotationState.WAITING, RotationState.ROTATING)
FAILED = "key-rotation-failed"

log = structlog.get_logger(__name__)


def ask(
    session: Session, tenant: UUID, kind: RotationKind, *, by: Actor, now: datetime
) -> list[Rotation]:
    """Rows for what is to be made new, and those that are under way already.

    Of passwords one for each repository that was made. Raises NotFound when there is none, and
    Refused for what is not built yet.
    """
    if kind is RotationKind.EPOCH:
        raise Refused("A new epoch of a repository cannot be made yet.", code="not-built")
    subjects: list[UUID | None] = [None]
    if kind is RotationKind.PASSWORD:
        subjects = list(
            session.execute(
                select(Repository.id)
                .where(Repository.tenant_id == tenant, Repository.state != RepositoryState.NEW)
                .order_by(Repository.id)
            ).scalars()
        )
    if not subjects:
        raise NotFound(
            "This tenant has no repository yet, so there is no password to make new. Make a "
            "backup first.",
            code="no-repository",
        )
    return [_one(session, tenant, kind, each, by=by, now=now) for each in subjects]


def _one(
    session: Session,
    tenant: UUID,
    kind: RotationKind,
    repository: UUID | None,
    *,
    by: Actor,
    now: datetime,
) -> Rotation:
    same = select(Rotation).where(
        Rotation.tenant_id == tenant,
        Rotation.kind == kind,
        Rotation.repository_id.is_not_distinct_from(repository),
        Rotation.state.in_(OPEN),
    )
    known = session.execute(same.limit(1)).scalar_one_or_none()
    if known is not None:
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
    )
    session.add(row)
    record(session, row, old="", move=Move(by=by, at=now, reason=Reason("asked")))
    return row


def rotate(runtime: Runtime, tenant: UUID, rotation_id: UUID) -> Rotation | None:
    """Carry out a rotation that waits; None when it could not be done whole yet."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(Rotation, rotation_id)
        if row is None:
            log.warning("a doorbell named no rotation of this tenant", rotation=str(rotation_id))
            return None
        fence = take(session, row, owner=owner.me(), move=Move(by=WORKER, at=runtime.now()))
    if fence is None:
        return None
    with runtime.keeper.holding(row, fence) as held:
        going = Going(runtime, row, held)
        try:
            if row.kind is RotationKind.KEK:
                rotating_kek.carry_out(going)
            else:
                rotating_password.carry_out(going)
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
    if error.permanent and not isinstance(error, RepositoryBusy):
        _end(going, RotationState.FAILED, Reason(error.code), values)
        return
    now = going.runtime.now()
    due = now + (BUSY_PAUSE if isinstance(error, RepositoryBusy) else back_off(going.row.attempt))
    if isinstance(error, KeyFileLocked) and error.until is not None:
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
