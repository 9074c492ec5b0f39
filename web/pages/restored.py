"""A restore or its plan as a page shows it: rows in, plain values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import abort
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import BackupRun, Point, Source
from restore import approvals, conflicts, evidence, plans, undoing
from restore.browsing.shown import Shown, shown
from restore.conflicts import Conflict
from restore.going import Phase
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom.lifecycle import Step
from strongroom.people.models import Account
from strongroom.people.rules import Action
from web import scope

AT_ONCE = 50  # rows of the history on a page
MOST_NAMES = 50  # of what was chosen
UNDER_WAY = (RestoreState.ASKED, RestoreState.WAITING, RestoreState.RUNNING)


@dataclass(frozen=True)
class Who:
    """Somebody in a record."""

    name: str
    staff: bool = False  # of the company that runs the platform
    system: bool = False


@dataclass(frozen=True)
class Page:
    """One restore, or one plan."""

    row: Restore
    point: Point
    source: Source
    report: Mapping[str, Any]  # without names where the reader may see none
    names: Sequence[Shown]  # what was chosen, if the reader may see it
    chosen: int  # how many that are; 0: everything
    people: Mapping[str, Who]
    steps: Sequence[Step] = ()
    conflicts: Sequence[Conflict] = ()
    holds_until: datetime | None = None  # of a plan
    stale: bool = False
    limit: int | None = None  # bytes above which somebody else has to allow it; None: nobody has to
    confirmed: Restore | None = None  # from this plan
    undo_until: datetime | None = None
    undone_by: Restore | None = None
    safety: int | None = None  # number of the safety point
    weight: int = 0  # bytes of a plan that the limit is held against
    progress: Mapping[str, Any] | None = None  # as restore.progress.Told
    lists: Mapping[str, Sequence[Shown]] = field(default_factory=dict)  # of a plan, by kind
    left_out: Sequence[Shown] = ()

    @property
    def is_plan(self) -> bool:
        return self.row.dry_run

    @property
    def is_undo(self) -> bool:
        return self.row.undoes_id is not None

    @property
    def in_place(self) -> bool:
        return self.row.destination is Destination.IN_PLACE

    @property
    def moving(self) -> bool:
        """It changes without anybody doing anything here."""
        return self.row.state in UNDER_WAY

    @property
    def needs_second(self) -> bool:
        return self.in_place and approvals.exceeds(self.weight, self.limit)

    @property
    def stopped_by(self) -> Conflict | None:
        """What makes it impossible."""
        return next((each for each in self.conflicts if each.stops), None)


@dataclass(frozen=True)
class Line:
    """One restore of the history."""

    row: Restore
    source: str
    point: int


def read(session: Session, restore_id: UUID, *, now: datetime) -> Page:
    """404 for what is not there, or another's."""
    row = session.get(Restore, restore_id)
    if row is None:
        abort(404)
    source = session.get_one(Source, row.source_id)
    may_see = scope.can(Action.BROWSE)
    report = evidence.report(row.report, names=may_see) or {}
    chosen = [*row.paths, *row.tables]
    more = _of_plan(session, row, source, now) if row.dry_run else _of_restore(session, row)
    found = evidence.steps(session, row)
    actors = {row.asked_by, row.decided_by, *(each.by for each in found)}
    return Page(
        row=row,
        point=session.get_one(Point, row.point_id),
        source=source,
        report=report,
        names=[shown(each) for each in chosen[:MOST_NAMES]] if may_see else (),
        chosen=len(chosen),
        people=people_of(actors),
        steps=found,
        lists={kind: [shown(each) for each in some] for kind, some in _named(report).items()},
        left_out=[shown(each) for each in report.get("left_out", ())],
        progress=_progress(session, row),
        **more,
    )


def _of_plan(session: Session, row: Restore, source: Source, now: datetime) -> dict[str, Any]:
    if row.state is not RestoreState.DONE:
        return {}
    until = plans.holds_until(row)
    old = until is None or until <= now or plans.changed_since(session, row)
    asks = approvals.may_ask(session, row.undoes_id)
    limit = approvals.limit_of(session, row.tenant_id) if asks else None
    size = int((row.report or {}).get("total_bytes") or 0)
    whole = not row.paths and not row.tables
    return {
        "weight": approvals.weight(session, row.source_id, size, whole=whole),
        "conflicts": conflicts.of(session, row, source, now=now),
        "holds_until": until,
        "stale": old,
        "limit": limit,
        "confirmed": plans.restore_of(session, row),
    }


def _of_restore(session: Session, row: Restore) -> dict[str, Any]:
    safety = None if row.safety_run_id is None else session.get(Point, row.safety_run_id)
    return {
        "safety": None if safety is None else safety.number,
        "undo_until": undoing.until(session, row),
        "undone_by": undoing.undone_by(session, row),
    }


def _progress(session: Session, row: Restore) -> Mapping[str, Any] | None:
    """While the safety point is made, that of its run."""
    if row.phase != Phase.SAFETY or row.safety_run_id is None:
        return row.progress
    run = session.get(BackupRun, row.safety_run_id)
    if run is None or run.progress is None:
        return None
    return {"rate": None, "left": None, **run.progress}


def _named(report: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    found: Mapping[str, Sequence[str]] = report.get("named") or {}
    return found


def lines(session: Session, *, before: UUID | None = None) -> list[Line]:
    """Restores, the newest first; one more than a page has, where there are more."""
    wanted = (
        select(Restore, Source.name, Point.number)
        .join(Source, Source.id == Restore.source_id)
        .join(Point, Point.id == Restore.point_id)
        .where(Restore.dry_run.is_(False))
        .order_by(Restore.id.desc())
        .limit(AT_ONCE + 1)
    )
    if before is not None:
        wanted = wanted.where(Restore.id < before)
    return [Line(row.Restore, row.name, row.number) for row in session.execute(wanted)]


def people_of(actors: Iterable[str | None]) -> dict[str, Who]:
    """Names by how records name them; people by what their accounts say now."""
    found, ids = {}, {}
    for actor in {each for each in actors if each}:
        kind, _, name = actor.partition(":")
        if kind == "person":
            ids[UUID(name)] = actor
        else:
            found[actor] = Who(name, staff=kind == "operator", system=kind == "system")
    if ids:
        with scope.peoples() as db:
            wanted = select(Account.id, Account.name, Account.staff).where(Account.id.in_(ids))
            for row in db.execute(wanted):
                found[ids[row.id]] = Who(row.name, staff=row.staff is not None)
    return found
