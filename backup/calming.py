"""A database that came back from a dump believes in workers that are gone; here it is told.

Nothing that was going on is done a second time: runs and restores are ended with the cause
`recovered`, everything else that may be repeated waits again. Schedules go on from now. Leases have
new fences, so that a worker of the lost machine that should still live changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from backup import planning
from backup.adopting import RECOVERY
from backup.models import BackupRun, Pack, Repository, Schedule
from backup.states import RunState
from strongroom.lifecycle import Move, Reason, advance

CAUSE = "recovered"
FAILURE = {
    "code": CAUSE,
    "params": {},
    "message": "The platform was recovered while this was going on or waited. Ask for it again.",
}


def calm(session: Session, tenant: UUID, kinds: Sequence[Any], *, now: datetime) -> int:
    """Everything of one tenant; `kinds` are the models of work. Gives how much was going on.

    Call it when what was found in the buckets has been adopted.
    """
    ended = _end_runs(session, tenant, now=now)
    for kind in kinds:
        if kind is not BackupRun:
            ended += _put_back(session, tenant, kind, now=now)
    session.execute(
        update(Repository)
        .where(Repository.tenant_id == tenant)
        .values(
            owner=None,
            lease_until=None,
            credentials_until=None,
            fence=Repository.fence + 1,
            unclean=True,  # who held it since the dump is gone: locks are cleared, packs indexed
        )
    )
    # Which packs were pruned since is not known; what is not read yet is not wrong.
    session.execute(delete(Pack).where(Pack.tenant_id == tenant))
    return ended


def resume_schedules(session: Session, tenant: UUID, *, now: datetime) -> None:
    """The next slots are those after now; what was missed meanwhile is not made up for at once."""
    planning.begin_schedules(session, planning.current_policy(session, tenant), now=now)
    session.execute(update(Schedule).where(Schedule.tenant_id == tenant).values(last_at=now))


def end(
    session: Session, row: Any, to: Any, *, now: datetime, values: dict[str, Any] | None = None
) -> None:
    """The row's end, with the cause."""
    gone = {"owner": None, "lease_until": None, "fence": row.fence + 1, "failure": FAILURE}
    move = Move(
        by=RECOVERY,
        at=now,
        reason=Reason(CAUSE),
        values={**gone, "ended_at": now, **(values or {})},
    )
    advance(session, row, to, move)


def _end_runs(session: Session, tenant: UUID, *, now: datetime) -> int:
    rows = session.execute(
        select(BackupRun).where(
            BackupRun.tenant_id == tenant,
            BackupRun.state.in_([RunState.QUEUED, RunState.MAKING]),
        )
    ).scalars()
    count = 0
    for row in rows:
        end(session, row, RunState.FAILED, now=now)
        count += 1
    return count


def _put_back(session: Session, tenant: UUID, kind: Any, *, now: datetime) -> int:
    rows = session.execute(
        select(kind).where(kind.tenant_id == tenant, kind.state == kind.BUSY)
    ).scalars()
    count = 0
    for row in rows:
        values = {
            "owner": None,
            "lease_until": None,
            "fence": row.fence + 1,
            "due_at": now,
            "nudged_at": None,
        }
        advance(
            session,
            row,
            kind.WAITING,
            Move(by=RECOVERY, at=now, reason=Reason(CAUSE), values=values),
        )
        count += 1
    return count
