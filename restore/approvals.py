"""A second person: a restore in place of more than the plan's size, or by which more than that would
go, waits until somebody else, of the tenant or an operator, has allowed it. Nobody allows their own.
Up to a day may have passed by then, so what held when it was asked for is asked for once more.

An undo asks for none: it brings back what was there, within days, and was allowed on the way. Where
only a part was restored that was not: the undo replaces all of the source, so it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import planning, policy, wanted
from backup.models import Point, PointSource, Snapshot, Source
from restore import undoing
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.actors import DISPATCHER, Actor
from strongroom.errors import NotFound, Refused
from strongroom.lifecycle import Move, Reason, advance
from strongroom.people.rules import Action

LASTS = timedelta(days=1)  # then it has to be asked for again
AskerMay = Callable[[Restore], bool]  # whether who asked may still do it, by the accounts as of now


class OwnRestore(Refused):
    """Nobody allows what they asked for themselves."""

    code = "own-restore"


class AskerMayNot(Refused):
    """Who asked has lost the right to it meanwhile."""

    code = "asker-may-not"


class Overtaken(Refused):
    """What it was asked for upon is no longer so."""

    code = "approval-overtaken"


def exceeds(size: int, limit: int | None) -> bool:
    """Whether so many bytes take a second person. Pure; None: never."""
    return limit is not None and size > limit


def weight(session: Session, source: UUID, size: int, *, whole: bool) -> int:
    """Bytes that count: what comes back, and of a whole source what it takes the place of."""
    if not whole:
        return size
    newest = (
        select(Snapshot.bytes)
        .join(PointSource, PointSource.snapshot_id == Snapshot.id)
        .join(Point, Point.id == PointSource.point_id)
        .where(PointSource.source_id == source)
        .order_by(Point.number.desc())
        .limit(1)
    )
    return max(size, session.execute(newest).scalar_one_or_none() or 0)


def needed(session: Session, wish: Wish, part: PointSource) -> bool:
    """By the policy in force, and what comes back or goes."""
    if wish.destination is not Destination.IN_PLACE or wish.dry_run:
        return False
    if not may_ask(session, wish.undoes):
        return False
    limit = limit_of(session, part.tenant_id)
    whole = not wish.paths and not wish.tables
    size = weight(session, part.source_id, _size(session, wish, part), whole=whole)
    return exceeds(size, limit)


def may_ask(session: Session, undoes: UUID | None) -> bool:
    """Whether the size counts at all: for an undo, only where it brings back more than was touched."""
    if undoes is None:
        return True
    done = session.get_one(Restore, undoes)
    return bool(done.paths or done.tables)


def limit_of(session: Session, tenant: UUID) -> int | None:
    """Bytes; None: nobody is asked."""
    row = planning.current_policy(session, tenant)
    return policy.from_json(row.body).approve_restore_bytes


def _size(session: Session, wish: Wish, part: PointSource) -> int:
    """Of what was chosen, as its plan counted it; without a plan, of all that the source had."""
    plan = None if wish.plan is None else session.get_one(Restore, wish.plan)
    if plan is not None and plan.report is not None:
        return int(plan.report["total_bytes"])
    snapshot = session.get_one(Snapshot, part.snapshot_id)
    return snapshot.bytes


def action_of(row: Restore) -> Action:
    """What it takes to ask for it, and to confirm a plan of it."""
    if row.undoes_id is not None:
        return Action.UNDO_RESTORE
    in_place = row.destination is Destination.IN_PLACE
    return Action.RESTORE_IN_PLACE if in_place else Action.RESTORE_ASIDE


def approve(
    session: Session, restore_id: UUID, *, by: Actor, at: datetime, asker_may: AskerMay
) -> Restore:
    """Let it go on, if it could be asked for now as well.

    Raises OwnRestore, Refused for one that waits for nobody or waited too long, AskerMayNot,
    Overtaken, NotUndone, PointGone and PointGoing.
    """
    row = _asked(session, restore_id, by=by, at=at)
    if not asker_may(row):
        raise AskerMayNot(
            "The person who asked for this restore is no longer allowed to restore. Refuse it; "
            "somebody who is allowed to can ask again."
        )
    _require_as_it_was(session, row, now=at)
    part = session.execute(
        select(PointSource).where(
            PointSource.point_id == row.point_id, PointSource.source_id == row.source_id
        )
    ).scalar_one()
    wanted.want(session, part, until=at + LASTS)
    values = {"decided_by": str(by), "decided_at": at, "due_at": at, "nudged_at": None}
    move = Move(by=by, at=at, reason=Reason("restore-approved"), values=values)
    advance(session, row, RestoreState.WAITING, move)
    return row


def _require_as_it_was(session: Session, row: Restore, *, now: datetime) -> None:
    """What the page showed whoever asked still holds. Raises Overtaken, and NotUndone for an undo."""
    require_still(session, row)
    source = session.get_one(Source, row.source_id, populate_existing=True)
    if source.removed_at is not None and source.removed_at > row.asked_at:
        raise Overtaken(
            f"{source.name} was taken out of the backups since this was asked for. Refuse this one; "
            "look at what is live, and ask again if it is still wanted.",
            code="source-removed",
        )
    if row.undoes_id is not None:
        undoing.require(session, session.get_one(Restore, row.undoes_id), now=now, but=row.id)


def require_still(session: Session, row: Restore) -> None:
    """What was agreed to, upon a preview or by a second person, still stands as it was seen.

    Asked again when its turn comes: another one may have been under way. Raises Overtaken.
    """
    if row.destination is not Destination.IN_PLACE:
        return
    plan = None if row.plan_id is None else session.get_one(Restore, row.plan_id)
    agreed = plan is not None or row.state is RestoreState.ASKED or row.decided_at is not None
    since = row.asked_at if plan is None else plan.asked_at
    if agreed and replaced_since(session, row.source_id, since):
        raise Overtaken(
            "Another restore has replaced this source since the preview was made, so nothing more "
            "was done. Make the preview again, and ask again if it is still wanted."
        )


def replaced_since(session: Session, source: UUID, moment: datetime) -> bool:
    """Whether a restore in place of that source has ended since."""
    wanted = select(Restore.id).where(
        Restore.source_id == source,
        Restore.dry_run.is_(False),
        Restore.destination == Destination.IN_PLACE,
        Restore.state == RestoreState.DONE,
        Restore.ended_at > moment,
    )
    return session.execute(wanted.limit(1)).first() is not None


def decline(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    """It is not done. Raises as `approve`; who asked cancels instead."""
    row = _asked(session, restore_id, by=by, at=at)
    values = {"decided_by": str(by), "decided_at": at, "ended_at": at}
    move = Move(by=by, at=at, reason=Reason("restore-declined"), values=values)
    advance(session, row, RestoreState.DECLINED, move)
    return row


def lapse(session: Session, now: datetime) -> int:
    """Let go what nobody decided in time: a planner of the dispatcher."""
    rows = session.execute(
        select(Restore).where(Restore.state == RestoreState.ASKED, Restore.asked_at <= now - LASTS)
    ).scalars()
    count = 0
    for row in rows:
        reason = Reason("approval-lapsed")
        values = {"ended_at": now, "failure": {"code": reason.code, "params": {}, "message": LATE}}
        move = Move(by=DISPATCHER, at=now, reason=reason, values=values)
        advance(session, row, RestoreState.CANCELLED, move)
        count += 1
    return count


LATE = "Nobody else allowed it within a day. Make a new plan, and ask again."


def _asked(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    row = session.get(Restore, restore_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"There is no restore {restore_id}. `strongroom restores list` shows all.")
    if row.state is not RestoreState.ASKED:
        raise Refused(f"That restore is {row.state}; nobody has to allow it.", code="not-asked")
    if row.asked_by == str(by):
        raise OwnRestore("Another person has to allow this restore: you asked for it yourself.")
    if row.asked_at <= at - LASTS:
        raise Refused(LATE, code="approval-lapsed")
    return row
