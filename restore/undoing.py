"""Undoing a restore in place: back to the safety point, for as long as that is kept for it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Point
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.errors import Refused

GOING_ON = (RestoreState.ASKED, RestoreState.WAITING, RestoreState.RUNNING)


class NotUndone(Refused):
    """There is nothing to undo, or no way back any more."""

    code = "not-undoable"


def until(session: Session, done: Restore) -> datetime | None:
    """Until when it can be undone; None for what replaced nothing, or had no safety point."""
    replaced = done.destination is Destination.IN_PLACE and not done.dry_run
    if not replaced or done.state is not RestoreState.DONE or done.safety_run_id is None:
        return None
    safety = session.get(Point, done.safety_run_id)
    return None if safety is None else safety.pinned_until


def undone_by(session: Session, done: Restore, *, but: UUID | None = None) -> Restore | None:
    """The restore that undid it, or is about to; `but` is not counted."""
    wanted = (
        select(Restore)
        .where(Restore.undoes_id == done.id, Restore.dry_run.is_(False))
        .where(Restore.state.in_([*GOING_ON, RestoreState.DONE]), Restore.id.is_distinct_from(but))
        .order_by(Restore.id.desc())
        .limit(1)
    )
    return session.execute(wanted).scalar_one_or_none()


def wish_of(session: Session, done: Restore, *, now: datetime) -> Wish:
    """What brings the state before it back. Raises NotUndone."""
    safety = require(session, done, now=now)
    return Wish(
        point=safety,
        source=done.source_id,
        destination=Destination.IN_PLACE,
        undoes=done.id,
    )


def require(session: Session, done: Restore, *, now: datetime, but: UUID | None = None) -> UUID:
    """That it can be undone, by way of the point whose id is returned; `but` is the undo that asks.

    Raises NotUndone.
    """
    if done.destination is not Destination.IN_PLACE or done.dry_run:
        raise NotUndone("That restore replaced nothing, so there is nothing to undo.")
    if done.state is not RestoreState.DONE or done.safety_run_id is None:
        raise NotUndone(
            f"That restore is {done.state} and has no safety point, so it cannot be undone."
        )
    end = until(session, done)
    if end is None or end <= now:
        raise NotUndone(
            "The safety point of that restore was kept for seven days, and they are over. Choose a "
            "point from before it instead.",
            code="undo-over",
        )
    other = undone_by(session, done, but=but)
    if other is not None:
        raise NotUndone(
            f"That restore was undone already, or is being undone ({other.id}). To go forward "
            "again, undo that one.",
            code="already-undone",
            restore=str(other.id),
        )
    return done.safety_run_id
