"""Plans: a dry run that somebody looks at, and confirms while it still holds.

What is carried out comes from the plan's row, never from a form. A plan holds for an hour, or until
another restore of the source has changed what it looked at, and is confirmed once: the database
itself knows of one restore for each plan at most.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from restore import approvals, counting, requests, undoing
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.actors import Actor
from strongroom.errors import NotFound, Refused

HOLDS = timedelta(hours=1)
MOST_WAITING = 20  # plans of a tenant that wait to be made


class PlanStale(Refused):
    """Things may have changed since it was made."""

    code = "plan-stale"


class TooManyPlans(Refused):
    """Somebody asks for more than anybody can look at."""

    code = "too-many-plans"


def make(session: Session, tenant: UUID, wish: Wish, *, by: Actor, at: datetime) -> Restore:
    """Ask for a plan: a worker says what the restore would do. Raises as `requests.ask`."""
    counting.lock(session, tenant)
    waiting = session.execute(
        select(func.count()).where(
            Restore.dry_run.is_(True),
            Restore.state.in_([RestoreState.WAITING, RestoreState.RUNNING]),
        )
    ).scalar_one()
    if waiting >= MOST_WAITING:
        raise TooManyPlans("Many plans wait to be made already. Look at those first.")
    return requests.ask(session, tenant, _dry(wish), by=by, at=at)


def again(session: Session, plan_id: UUID, to: Destination, *, by: Actor, at: datetime) -> Restore:
    """The same selection once more, there or elsewhere. Raises NotFound, and as `make`."""
    plan = found(session, plan_id)
    if plan.undoes_id is not None:
        return of_undo(session, plan.undoes_id, by=by, at=at)
    return make(session, plan.tenant_id, _wish(plan, to), by=by, at=at)


def of_undo(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    """What undoing that restore would do. Raises NotFound, and Refused where there is no way back."""
    done = requests.found(session, restore_id)
    wish = undoing.wish_of(session, done, now=at)
    return make(session, done.tenant_id, wish, by=by, at=at)


def confirm(
    session: Session, plan_id: UUID, *, by: Actor, at: datetime, reason: str | None = None
) -> Restore:
    """Have it done, as its plan says; the same restore for whoever confirms it twice.

    Raises NotFound, PlanStale, and as `requests.ask` and `undoing.wish_of`.
    """
    counting.lock(session, found(session, plan_id).tenant_id)  # before any row: who asks does so
    plan = found(session, plan_id, lock=True)
    there = restore_of(session, plan)
    if there is not None:
        return there
    require_fresh(session, plan, now=at)
    if plan.undoes_id is not None:
        done = requests.found(session, plan.undoes_id, lock=True)  # of two plans, one undoes it
        undoing.wish_of(session, done, now=at)
    wish = _wish(plan, plan.destination, plan_id=plan.id, reason=reason)
    return requests.ask(session, plan.tenant_id, wish, by=by, at=at)


def restore_of(session: Session, plan: Restore) -> Restore | None:
    """What was confirmed from it."""
    wanted = select(Restore).where(Restore.plan_id == plan.id)
    return session.execute(wanted).scalar_one_or_none()


def holds_until(plan: Restore) -> datetime | None:
    """None for a plan that is not made."""
    if plan.state is not RestoreState.DONE or plan.ended_at is None:
        return None
    return plan.ended_at + HOLDS


def require_fresh(session: Session, plan: Restore, *, now: datetime) -> None:
    """Raises PlanStale unless what it says still holds, as far as we know."""
    end = holds_until(plan)
    if end is None:
        raise PlanStale("This plan is not made. Wait for it, or make it again.", code="no-plan")
    if end <= now or changed_since(session, plan):
        raise PlanStale("This plan no longer holds: time has passed. Make it again; then confirm.")


def changed_since(session: Session, plan: Restore) -> bool:
    """Whether another restore has replaced what the plan compared with; beside it, it did not."""
    if plan.destination is not Destination.IN_PLACE:
        return False
    return approvals.replaced_since(session, plan.source_id, plan.asked_at)


def found(session: Session, plan_id: UUID, *, lock: bool = False) -> Restore:
    """Raises NotFound, also for a restore that is none."""
    row = session.get(Restore, plan_id, with_for_update=lock, populate_existing=lock)
    if row is None or not row.dry_run:
        raise NotFound("There is no such plan.")
    return row


def _dry(wish: Wish) -> Wish:
    return replace(wish, dry_run=True)


def _wish(
    plan: Restore, to: Destination, *, plan_id: UUID | None = None, reason: str | None = None
) -> Wish:
    return Wish(
        point=plan.point_id,
        source=plan.source_id,
        destination=to,
        paths=tuple(plan.paths),
        tables=tuple(plan.tables),
        undoes=plan.undoes_id,
        plan=plan_id,
        reason=reason,
    )
