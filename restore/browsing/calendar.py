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

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import ledger, retention, schedule
from backup.ledger import Ledger
from backup.models import BackupRun, Point, Schedule, Slot
from backup.schedule import SlotKind
from backup.states import Outcome, RunState, SlotOutcome, Trigger
from restore.browsing import cards
from restore.browsing.cards import Card
from strongroom.errors import BadValue

MOST_DAYS = 3700
LATE = timedelta(minutes=15)  # a dispatcher plans what is due within seconds
NO_POINT = (RunState.QUEUED, RunState.MAKING, RunState.FAILED, RunState.QUARANTINED)


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
class Day:
    """One of the tenant's days, each part oldest first."""

    date: date
    points: Sequence[Card]
    runs: Sequence[Run]
    missed: Sequence[Missed]


@dataclass(frozen=True)
class Calendar:
    """Some of the tenant's days, all of them in a row."""

    zone: ZoneInfo
    today: date
    days: Sequence[Day]
    best: Offer | None  # offered first: the newest complete point all of whose data is verified
    newer: int  # complete points that are newer than that one, and not verified yet
    upcoming: datetime | None  # the next backup


@dataclass(frozen=True)
class Offer:
    """A point that is offered."""

    id: UUID
    number: int
    local_date: date


def calendar(session: Session, tenant: UUID, days: tuple[date, date], *, now: datetime) -> Calendar:
    """From the first to the last day, both included. Raises BadValue for days that make no sense."""
    first, last = days
    if first > last or (last - first).days > MOST_DAYS:
        raise BadValue(f"Wanted were days in order, {MOST_DAYS} at most; found {first} to {last}.")
    known = ledger.read(session, tenant, now=now)
    schedules = session.execute(select(Schedule).order_by(Schedule.cadence)).scalars().all()
    found = _Found(
        points=_by_day(cards.between(session, known, days, now=now)),
        runs=_runs(session, days),
        missed=_missed(session, days, _late(known, schedules, tenant, now)),
    )
    best, newer = offered(known)
    return Calendar(
        zone=known.zone,
        today=now.astimezone(known.zone).date(),
        days=[
            found.day(first + timedelta(days=number)) for number in range((last - first).days + 1)
        ],
        best=best,
        newer=newer,
        upcoming=min((row.next_at for row in schedules), default=None),
    )


def offered(known: Ledger) -> tuple[Offer | None, int]:
    """The newest verified point, and how many complete ones are newer; a safety point is none."""
    newer = 0
    ordered = sorted(known.points, key=lambda each: each.number, reverse=True)
    for each in ordered:
        if each.outcome is not Outcome.COMPLETE or each.kind is Trigger.SAFETY:
            continue
        if retention.is_verified(each):
            return Offer(each.id, each.number, each.local_date), newer
        newer += 1
    return None, newer


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


def _by_day(found: Sequence[Card]) -> Mapping[date, list[Card]]:
    days: dict[date, list[Card]] = {}
    for card in found:
        days.setdefault(card.local_date, []).append(card)
    return days


def _runs(session: Session, days: tuple[date, date]) -> Mapping[date, list[Run]]:
    rows = session.execute(
        select(BackupRun)
        .outerjoin(Point, Point.id == BackupRun.id)
        .where(
            BackupRun.state.in_(NO_POINT),
            BackupRun.local_date.between(*days),
            Point.id.is_(None),
        )
        .order_by(BackupRun.id)
    ).scalars()
    found: dict[date, list[Run]] = {}
    for row in rows:
        found.setdefault(row.local_date, []).append(_run(row))
    return found


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
        if row.next_at <= now - LATE:
            found += schedule.due_slots(plan, last=None, since=row.last_at, now=now - LATE)
    return found
