"""Restores of one source follow one another: a second one waits until the first has ended.

The phase on the row is the claim: who has one is at work, or died at work and will be taken up
again. Plans change nothing, and wait for nobody.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from restore import approvals
from restore.going import Going, Phase
from restore.models import Restore
from restore.states import RestoreState
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime

PAUSE = timedelta(seconds=30)  # a lost hint costs no more
UNFINISHED = (RestoreState.WAITING, RestoreState.RUNNING)


class SourceBusy(StrongroomError):
    """Another restore of the source is at work."""

    code = "source-busy"


def at_work(source: UUID, *, but: UUID) -> ColumnElement[bool]:
    """Of a Restore: another one of this source, which has begun."""
    return (
        (Restore.source_id == source)
        & (Restore.id != but)
        & Restore.dry_run.is_(False)
        & Restore.state.in_(UNFINISHED)
        & Restore.phase.is_not(None)
    )


def put_off(runtime: Runtime, tenant: UUID, restore_id: UUID) -> bool:
    """Before it is taken: whether it has to wait, which costs no attempt and no step."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(Restore, restore_id)
        if row is None or row.dry_run or row.phase is not None:
            return False
        if row.state is not RestoreState.WAITING or not _others(session, row):
            return False
        session.execute(
            update(Restore)
            .where(Restore.id == row.id, Restore.state == RestoreState.WAITING)
            .values(
                due_at=runtime.now() + PAUSE,
                nudged_at=None,
                failure={"code": SourceBusy.code, "params": {}, "message": _busy().message},
            )
        )
    return True


def claim(going: Going) -> None:
    """Ours from here on. Raises SourceBusy when another one was quicker, and Overtaken when one that
    ended meanwhile replaced what was agreed upon."""
    if going.row.dry_run:
        return
    with going.session() as session:
        key = func.hashtextextended(f"restores:{going.row.source_id}", 0)
        session.execute(select(func.pg_advisory_xact_lock(key)))
        if going.row.phase is None and _others(session, going.row):
            raise _busy()
        if going.row.phase is None:
            approvals.require_still(session, going.row)
        session.execute(
            update(Restore)
            .where(Restore.id == going.row.id, Restore.fence == going.held.fence)
            .values(phase=func.coalesce(Restore.phase, str(Phase.BEGINNING)), failure=None)
            .execution_options(synchronize_session=False)
        )


def wake(session: Session, ended: Restore, *, now: datetime) -> None:
    """Who waits for this one need wait no longer."""
    session.execute(
        update(Restore)
        .where(
            Restore.source_id == ended.source_id,
            Restore.state == RestoreState.WAITING,
            Restore.failure["code"].astext == SourceBusy.code,
        )
        .values(due_at=now, nudged_at=None)
        .execution_options(synchronize_session=False)
    )


def _others(session: Session, row: Restore) -> bool:
    found = select(Restore.id).where(at_work(row.source_id, but=row.id)).limit(1)
    return session.execute(found).first() is not None


def _busy() -> SourceBusy:
    return SourceBusy(
        "Another restore of this source is under way. This one begins when that has ended."
    )
