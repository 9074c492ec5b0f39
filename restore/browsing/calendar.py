"""The days of a tenant, with what was made on them, what should have been, and what became of it.

A day is the tenant's own (its zone stands in its policy). Nothing is left out that somebody might
look for: points that are gone, runs that failed, slots that were missed, and slots that are late
because nobody plans any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backup import ledger, retention, schedule
from backup.ledger import Ledger
from backup.models import BackupRun, Copy, Point, Schedule, Slot
from backup.policy import EffectivePolicy
from backup.schedule import SlotKind
from backup.states import CopyState, Outcome, RunState, SlotOutcome, Trigger
from restore.browsing import cards
from restore.browsing.cards import Card
from strongroom.errors import BadValue
from strongroom.regions import Region

MOST_DAYS = 3700
RUNNING = (RunState.QUEUED, RunState.MAKING)
NO_POINT = (*RUNNING, RunState.FAILED, RunState.QUARANTINED)


@dataclass(frozen=True)
class Run:
    """A run that has no point, or none yet."""

    id: UUID
    state: RunState
    trigger: Trigger
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    percent: int | None
    failure: str | None  # a code


@dataclass(frozen=True)
class Missed:
    """A moment at which a backup was due, and none was made."""

    at: datetime
    cadence: SlotKind
    late: bool  # not yet written down as missed: whoever plans is away


@dataclass(frozen=True)
class Away:
    """A region that does not take what is to be copied there."""

    region: str
    points: int  # whose copies wait
    failure: str  # a code


@dataclass(frozen=True)
class Day:
    """One of the tenant's days, each part oldest first."""

    date: date
    points: Sequence[Card]
    runs: Sequence[Run]
    missed: Sequence[Missed]


@dataclass(frozen=True)
class Calendar:
    """Some of the tenant's days, all of them in a row."""

    now: datetime
    zone: ZoneInfo
    today: date
    days: Sequence[Day]
    best: Card | None  # offered first: the newest complete point all of whose data is verified
    newer: int  # complete points that are newer than that one, and not verified yet
    safety: int  # points newer than that one that a restore made first, and that are not offered
    points: int  # that still lie somewhere, on whatever day
    newest: datetime | None  # when the newest complete one was stored
    running: Sequence[Run]  # on whatever day
    away: Sequence[Away]
    upcoming: datetime | None  # the next backup
    policy: EffectivePolicy

    @property
    def overdue(self) -> bool:
        """No complete point for longer than the plan allows; never before there was one."""
        limit = timedelta(hours=self.policy.rpo_hours)
        return self.newest is not None and self.now - self.newest > limit


def calendar(session: Session, tenant: UUID, days: tuple[date, date], *, now: datetime) -> Calendar:
    """From the first to the last day, both included. Raises BadValue for days that make no sense."""
    first, last = days
    if first > last or (last - first).days > MOST_DAYS:
        raise BadValue(f"Wanted were days in order, {MOST_DAYS} at most; found {first} to {last}.")
    known = ledger.read(session, tenant, now=now)
    schedules = session.execute(select(Schedule).order_by(Schedule.cadence)).scalars().all()
    best, newer, safety = offered(known)
    points = cards.between(session, known, days, also=best, now=now)
    runs = _runs(session, days)
    found = _Found(
        points=_by_day(points, days),
        runs=_runs_by_day(runs, days),
        missed=_missed(session, days, _late(known, schedules, tenant, now)),
    )
    complete = [each for each in known.points if each.outcome is Outcome.COMPLETE]
    return Calendar(
        now=now,
        zone=known.zone,
        today=now.astimezone(known.zone).date(),
        days=[
            found.day(first + timedelta(days=number)) for number in range((last - first).days + 1)
        ],
        best=next((each for each in points if each.number == best), None),
        newer=newer,
        safety=safety,
        points=len(known.points),
        newest=max((each.first_seen_at for each in complete), default=None),
        running=[_run(row) for row in runs if row.state in RUNNING],
        away=_away(session),
        upcoming=min((row.next_at for row in schedules), default=None),
        policy=known.policy,
    )


def offered(known: Ledger) -> tuple[int | None, int, int]:
    """The number of the newest verified point, how many complete ones are newer, and how many safety
    points: what a restore replaced is what somebody wanted to be rid of, so it is not offered first."""
    newer = safety = 0
    ordered = sorted(known.points, key=lambda each: each.number, reverse=True)
    for each in ordered:
        if each.outcome is not Outcome.COMPLETE:
            continue
        if each.kind is Trigger.SAFETY:
            safety += 1
        elif retention.is_verified(each):
            return each.number, newer, safety
        else:
            newer += 1
    return None, newer, safety


@dataclass(frozen=True)
class _Found:
    points: Mapping[date, Sequence[Card]]
    runs: Mapping[date, Sequence[Run]]
    missed: Mapping[date, Sequence[Missed]]

    def day(self, day: date) -> Day:
        return Day(
            date=day,
            points=self.points.get(day, ()),
            runs=self.runs.get(day, ()),
            missed=self.missed.get(day, ()),
        )


def _by_day(found: Sequence[Card], days: tuple[date, date]) -> Mapping[date, list[Card]]:
    by_day: dict[date, list[Card]] = {}
    for card in found:
        if days[0] <= card.local_date <= days[1]:
            by_day.setdefault(card.local_date, []).append(card)
    return by_day


def _runs(session: Session, days: tuple[date, date]) -> Sequence[BackupRun]:
    """Of these days; those that are not at their end, of any day."""
    return (
        session.execute(
            select(BackupRun)
            .outerjoin(Point, Point.id == BackupRun.id)
            .where(
                BackupRun.state.in_(NO_POINT),
                BackupRun.local_date.between(*days) | BackupRun.state.in_(RUNNING),
                Point.id.is_(None),
            )
            .order_by(BackupRun.id)
        )
        .scalars()
        .all()
    )


def _runs_by_day(rows: Sequence[BackupRun], days: tuple[date, date]) -> Mapping[date, list[Run]]:
    found: dict[date, list[Run]] = {}
    for row in rows:
        if days[0] <= row.local_date <= days[1]:
            found.setdefault(row.local_date, []).append(_run(row))
    return found


def _away(session: Session) -> list[Away]:
    """Regions for which copies wait, and why the latest of them does."""
    code = Copy.failure["code"].astext
    rows = session.execute(
        select(Region.name, func.count().label("points"), func.max(code).label("code"))
        .join(Region, Region.id == Copy.region_id)
        .where(Copy.state == CopyState.WAITING, code.is_not(None))
        .group_by(Region.name)
        .order_by(Region.name)
    )
    return [Away(row.name, row.points, row.code) for row in rows]


def _run(row: BackupRun) -> Run:
    progress: Mapping[str, Any] = (
        row.progress if row.state is RunState.MAKING and row.progress else {}
    )
    failed = row.failure if row.state in (RunState.FAILED, RunState.QUARANTINED) else None
    return Run(
        *(row.id, row.state, row.trigger, row.asked_at, row.started_at, row.ended_at),
        percent=progress.get("percent"),
        failure=None if failed is None else str(failed.get("code", "failed")),
    )


def _missed(
    session: Session, days: tuple[date, date], late: Sequence[schedule.Slot]
) -> Mapping[date, list[Missed]]:
    rows = session.execute(
        select(Slot.at, Slot.local_date, Schedule.cadence)
        .join(Schedule, Schedule.id == Slot.schedule_id)
        .where(Slot.outcome == SlotOutcome.MISSED, Slot.local_date.between(*days))
        .order_by(Slot.at)
    )
    found: dict[date, list[Missed]] = {}
    for row in rows:
        found.setdefault(row.local_date, []).append(Missed(row.at, row.cadence, late=False))
    for slot in late:
        found.setdefault(slot.local_date, []).append(Missed(slot.at, slot.kind, late=True))
    return found


def _late(
    known: Ledger, schedules: Sequence[Schedule], tenant: UUID, now: datetime
) -> list[schedule.Slot]:
    """What the schedule says was due, and nobody has taken or called missed."""
    found: list[schedule.Slot] = []
    for row in schedules:
        plan = schedule.schedule_of(known.policy, row.cadence, zone=known.zone, tenant_id=tenant)
        found += schedule.late(plan, since=row.last_at, next_at=row.next_at, now=now)
    return found
