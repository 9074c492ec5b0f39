"""From rows to turns: what the dispatcher plans of rehearsed restores."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from backup.models import Copy, Point, Policy, Repository, Rota
from backup.states import Level
from restore.models import Drill
from restore.rehearsed import drills, rehearsals
from restore.rehearsed.drills import RegionAway
from restore.rehearsed.rehearsals import Candidate, Choice, Class, Day, Site
from restore.states import DrillState
from strongroom import runtime
from strongroom.actors import DISPATCHER
from strongroom.ids import new_id

LOOK = timedelta(seconds=30)  # between two looks of one dispatcher: each reads every repository
OPEN = (DrillState.WAITING, DrillState.RUNNING)
ENDED_BADLY = (DrillState.FAILED, DrillState.QUARANTINED)
BY_ROTA = tuple(str(each) for each in Class)

_looked: list[datetime] = []  # when this process looked last


def plan_drills(session: Session, now: datetime) -> int:
    """The dispatcher's planner: the drills whose turn it is. Gives how many were made."""
    if _looked and timedelta(0) <= now - _looked[-1] < LOOK:
        return 0
    _looked[:] = [now]
    return plan(session, now, budget=runtime.current().settings.drills_a_day)


def plan(session: Session, now: datetime, *, budget: int | None = None) -> int:
    """As `plan_drills`, whenever it is called; without a budget it is what the policies need."""
    if not session.execute(
        text("select pg_try_advisory_xact_lock(hashtextextended('plan-drills', 0))")
    ).scalar_one():
        return 0  # another dispatcher is at it
    every_days = _every_days(session)
    candidates = _candidates(session, every_days)
    chosen = rehearsals.choose(
        candidates,
        budget=budget or rehearsals.budget_for(every_days[each.tenant] for each in candidates),
        day=_day(session, now),
        now=now,
        away=_away(session),
    )
    return sum(_insert(session, each, now) for each in chosen)


def _every_days(session: Session) -> dict[UUID, int]:
    """By tenant, from the policy in force."""
    days = Policy.body["verification"]["drill_every_days"].as_integer()
    rows = session.execute(
        select(Policy.tenant_id, days)
        .ext(distinct_on(Policy.tenant_id))
        .order_by(Policy.tenant_id, Policy.version.desc())
    )
    return {tenant: every for tenant, every in rows}  # noqa: C416 - rows are no pairs to a checker


def _candidates(session: Session, every_days: dict[UUID, int]) -> list[Candidate]:
    ended_badly, waiting = _last_ended_badly(session), _waiting(session)
    sites: dict[UUID, list[Site]] = defaultdict(list)
    for repository, rota, since in _with_points(session):
        sites[repository.tenant_id].append(
            Site(
                repository=repository.id,
                region=repository.region_id,
                since=since,
                passed_at=None if rota is None else rota.passed_at,
                planned_at=None if rota is None else rota.planned_at,
                not_before=None if rota is None else rota.due_at,
                failed=repository.id in ended_badly,
                waiting=repository.id in waiting,
            )
        )
    return [
        Candidate(tenant, every_days[tenant], tuple(found))
        for tenant, found in sites.items()
        if tenant in every_days
    ]


def _with_points(session: Session) -> list[tuple[Repository, Rota | None, datetime]]:
    """Repositories that hold something to drill, with when the first of it was stored."""
    stored = (
        select(Copy.repository_id, func.min(Copy.stored_at).label("since"))
        .join(Point, and_(Point.tenant_id == Copy.tenant_id, Point.id == Copy.point_id))
        .where(*drills.drillable(), Copy.stored_at.is_not(None))
        .group_by(Copy.repository_id)
        .subquery()
    )
    rows = session.execute(
        select(Repository, Rota, stored.c.since)
        .join(stored, stored.c.repository_id == Repository.id)
        .outerjoin(
            Rota,
            and_(
                Rota.tenant_id == Repository.tenant_id,
                Rota.repository_id == Repository.id,
                Rota.level == Level.DRILL,
            ),
        )
    )
    return [(row.Repository, row.Rota, row.since) for row in rows]


def _last_ended_badly(session: Session) -> set[UUID]:
    """Repositories of which the last drill that ended did not pass."""
    at = func.coalesce(Drill.ended_at, Drill.due_at)
    last = (
        select(Drill.repository_id, Drill.state)
        .where(Drill.state.not_in(OPEN))
        .ext(distinct_on(Drill.repository_id))
        .order_by(Drill.repository_id, at.desc())
    )
    return {row.repository_id for row in session.execute(last) if row.state in ENDED_BADLY}


def _waiting(session: Session) -> set[UUID]:
    return set(session.execute(select(Drill.repository_id).where(Drill.state.in_(OPEN))).scalars())


def _away(session: Session) -> set[UUID]:
    """Regions that a drill waits for: that one is enough to tell when they are back."""
    return set(
        session.execute(
            select(Repository.region_id)
            .join(Drill, Drill.repository_id == Repository.id)
            .where(
                Drill.state.in_(OPEN),
                Drill.failure["code"].as_string() == RegionAway.code,
            )
        ).scalars()
    )


def _day(session: Session, now: datetime) -> Day:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    counted = select(
        Drill.asked_by,
        func.count().filter(Drill.asked_at >= midnight).label("today"),
        func.max(Drill.asked_at).label("last"),
    )
    rows = {
        row.asked_by: row
        for row in session.execute(
            counted.where(
                Drill.asked_by.in_(BY_ROTA), Drill.asked_at >= midnight - timedelta(days=1)
            ).group_by(Drill.asked_by)
        )
    }
    turn, repeat = (rows.get(str(each)) for each in (Class.TURN, Class.REPEAT))
    return Day(
        turns=turn.today if turn else 0,
        repeats=repeat.today if repeat else 0,
        last_turn=turn.last if turn else None,
        last_repeat=repeat.last if repeat else None,
    )


def _insert(session: Session, choice: Choice, now: datetime) -> int:
    point = drills.newest_point(session, choice.tenant, choice.site.repository)
    if point is None:
        return 0
    drills.add(
        session,
        (choice.tenant, point),
        choice.site.repository,
        by=str(choice.by),
        actor=DISPATCHER,
        at=now,
    )
    session.execute(
        insert(Rota)
        .values(
            id=new_id(),
            tenant_id=choice.tenant,
            repository_id=choice.site.repository,
            level=Level.DRILL,
            due_at=now,
            planned_at=now,
        )
        .on_conflict_do_update(
            index_elements=["tenant_id", "repository_id", "level"], set_={"planned_at": now}
        )
    )
    return 1
