"""Tenants by days: what was due on each of their days, and what came of it.

    slots, runs, points ─▶ read ─▶ a Strip a tenant: one Cell a day, the newest last

A day is the tenant's own. What was due is known from the slots that planning left behind, and
where nobody plans any more from the schedules themselves: silence shows. A point that retention
has let go was made all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from backup import planning
from backup.models import BackupRun, Point, Policy, Schedule, Slot
from backup.states import Outcome, RunState, SlotOutcome, Trigger
from strongroom.db import among
from strongroom.regions import Region
from tenants.models import Tenant

DAY = timedelta(days=1)


class Cell(StrEnum):
    """What is said of one day of one tenant; of several things the one that stands first."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    RUNNING = "running"
    FAILED = "failed"
    OVERDUE = "overdue"  # it was due, and nobody has planned it
    MISSED = "missed"  # it was due, and was never run
    NOT_DUE = "not-due"  # nothing was due on that day, or not yet
    BEFORE = "before"  # the tenant was not there yet


ORDER = {cell: place for place, cell in enumerate(Cell)}
OUTCOMES = {
    Outcome.COMPLETE: Cell.COMPLETE,
    Outcome.PARTIAL: Cell.PARTIAL,
    Outcome.FAILED: Cell.FAILED,
}
RUNNING = (RunState.QUEUED, RunState.MAKING)
LETTERS = dict(zip(Cell, "cprfomnb", strict=True))  # a day as it is kept
CELLS = {letter: cell for cell, letter in LETTERS.items()}


@dataclass(frozen=True)
class Strip:
    """One tenant's days."""

    tenant: UUID
    cells: Sequence[Cell]  # of the sheet's dates, in their order

    def count(self, cell: Cell) -> int:
        return sum(each is cell for each in self.cells)


@dataclass(frozen=True)
class Sheet:
    """Tenants by days."""

    dates: Sequence[date]
    strips: Mapping[UUID, Strip]


@dataclass(frozen=True)
class _Life:
    """From when to when a tenant has days, in its own zone."""

    begun: date
    today: date


def read(
    session: Session, tenants: Sequence[UUID], days: int, *, now: datetime, last: date | None = None
) -> Sheet:
    """The last `days` days of these tenants, up to `last`, or to the latest date of all their zones."""
    lives = _lives(session, tenants, now)
    last = last or max((life.today for life in lives.values()), default=now.date())
    dates = [last - DAY * back for back in reversed(range(days))]
    seen = [
        *_made(session, tenants, dates[0]),
        *_missed(session, tenants, dates[0]),
        *_late(session, tenants, now),
    ]
    by_tenant: dict[UUID, dict[date, Cell]] = {}
    for tenant, day, cell in seen:
        of_tenant = by_tenant.setdefault(tenant, {})
        of_tenant[day] = better(cell, of_tenant.get(day))
    return Sheet(
        dates,
        {
            tenant: Strip(tenant, [cell_of(day, life, by_tenant.get(tenant, {})) for day in dates])
            for tenant, life in lives.items()
        },
    )


def latest(zones: Iterable[str], now: datetime) -> date:
    """Today, where it is latest."""
    return max((now.astimezone(ZoneInfo(zone)).date() for zone in zones), default=now.date())


def written(cells: Sequence[Cell]) -> str:
    return "".join(LETTERS[cell] for cell in cells)


def regions(session: Session) -> Sequence[str]:
    return session.execute(select(Region.name).order_by(Region.name)).scalars().all()


def better(one: Cell, other: Cell | None) -> Cell:
    return one if other is None or ORDER[one] < ORDER[other] else other


def cell_of(day: date, life: _Life, seen: Mapping[date, Cell]) -> Cell:
    """What was seen counts, even before the first day: a tenant may have been brought back."""
    if day in seen:
        return seen[day]
    return Cell.BEFORE if day < life.begun else Cell.NOT_DUE


def _lives(session: Session, tenants: Sequence[UUID], now: datetime) -> dict[UUID, _Life]:
    rows = session.execute(
        select(Tenant.id, Tenant.zone, Tenant.created_at).where(among(Tenant.id, tenants))
    )
    return {
        row.id: _Life(row.created_at.astimezone(zone).date(), now.astimezone(zone).date())
        for row in rows
        for zone in [ZoneInfo(row.zone)]
    }


Seen = Iterable[tuple[UUID, date, Cell]]


def _made(session: Session, tenants: Sequence[UUID], first: date) -> Seen:
    """Of runs, each on the day it was due, however late it began; one that was asked for on its own.

    A safety point saves one source, perhaps with the damage in it, and counts as none.
    """
    rows = session.execute(
        select(
            BackupRun.tenant_id,
            func.coalesce(Slot.local_date, BackupRun.local_date),
            BackupRun.state,
            Point.outcome,
        )
        .outerjoin(Point, (Point.tenant_id == BackupRun.tenant_id) & (Point.id == BackupRun.id))
        .outerjoin(Slot, (Slot.tenant_id == BackupRun.tenant_id) & (Slot.run_id == BackupRun.id))
        .where(
            among(BackupRun.tenant_id, tenants),
            BackupRun.local_date >= first,
            BackupRun.trigger != Trigger.SAFETY,
        )
    )
    for tenant, day, state, outcome in rows:
        if outcome is not None:
            yield tenant, day, OUTCOMES[outcome]
        else:
            yield tenant, day, Cell.RUNNING if state in RUNNING else Cell.FAILED


def _missed(session: Session, tenants: Sequence[UUID], first: date) -> Seen:
    rows = session.execute(
        select(Slot.tenant_id, Slot.local_date).where(
            among(Slot.tenant_id, tenants),
            Slot.local_date >= first,
            Slot.outcome == SlotOutcome.MISSED,
        )
    )
    return [(tenant, day, Cell.MISSED) for tenant, day in rows]


def _late(session: Session, tenants: Sequence[UUID], now: datetime) -> Seen:
    rows = session.execute(
        select(Schedule).where(among(Schedule.tenant_id, tenants), Schedule.next_at <= now)
    ).scalars()
    by_tenant: dict[UUID, list[Schedule]] = {}
    for row in rows:
        by_tenant.setdefault(row.tenant_id, []).append(row)
    policies = session.execute(
        select(Policy)
        .ext(distinct_on(Policy.tenant_id))
        .where(among(Policy.tenant_id, by_tenant))
        .order_by(Policy.tenant_id, Policy.version.desc())
    ).scalars()
    return [
        (policy.tenant_id, slot.local_date, Cell.OVERDUE)
        for policy in policies
        for slot in planning.late(policy, by_tenant[policy.tenant_id], now=now)
    ]
