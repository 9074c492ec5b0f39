"""When a backup is due: a daily and a weekly wall-clock time in the tenant's own zone.

    plan says 02:00 in Africa/Cairo, spread 60 min ─▶ Schedule(02:37:12) ─▶ one Slot a local day

A slot is unique by (tenant, kind, local date). Where the clock skips the wall-clock time, the
slot falls on the first instant after the gap; where the time comes twice, on the first. What
was missed while nobody was looking becomes rows, and one run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from backup.policy import EffectivePolicy
from strongroom.errors import BadValue

CLOCK_TOLERANCE = timedelta(minutes=5)  # apart by more than this, two clocks disagree
LATE = timedelta(minutes=15)  # a dispatcher plans what is due within seconds
NO_PLACES = {"localtime", "posixrules", "Factory"}  # file names in the database, not zones

DAY = timedelta(days=1)


class UnknownZone(BadValue):
    """The name is not a zone of the IANA database on this machine."""

    code = "unknown-zone"


class NaiveTime(BadValue):
    """A moment was given without a zone, so nobody can say when it is."""

    code = "naive-time"


class SlotKind(StrEnum):
    """Weekly forces a full re-read of files and a check of data; daily does not."""

    DAILY = "daily"
    WEEKLY = "weekly"


@dataclass(frozen=True)
class Schedule:
    """One of a tenant's two schedules, with the jitter already in it."""

    kind: SlotKind
    at: time  # wall clock, to the second
    weekday: int | None  # as date.weekday(); None: every day
    zone: ZoneInfo


@dataclass(frozen=True)
class Slot:
    """One moment at which a backup is due."""

    at: datetime  # UTC
    local_date: date  # the tenant's day this slot stands for
    kind: SlotKind


@dataclass(frozen=True)
class CatchUp:
    """What to do about the slots that are due; both lists oldest first."""

    run: tuple[Slot, ...]  # the slots that one run answers: all of the newest local day
    missed: tuple[Slot, ...]  # recorded as missed, never run
    full: bool  # re-read everything: a weekly slot is among them, run or missed


def schedule_of(
    policy: EffectivePolicy, kind: SlotKind, *, zone: ZoneInfo, tenant_id: UUID
) -> Schedule:
    """The jitter rests on the tenant's id alone, so daily and weekly fall together if they can."""
    weekly = kind is SlotKind.WEEKLY
    at = policy.weekly_at if weekly else policy.daily_at
    return Schedule(
        kind=kind,
        at=_jittered(at, minutes=policy.jitter_minutes, tenant_id=tenant_id),
        weekday=policy.weekly_on.number if weekly else None,
        zone=zone,
    )


def slot_of(schedule: Schedule, day: date) -> Slot | None:
    """None when the schedule skips that day, or the day itself never was (Samoa, 30 Dec 2011)."""
    if schedule.weekday not in (None, day.weekday()):
        return None
    first = _instant(datetime.combine(day, time.min), schedule.zone)
    if first.astimezone(schedule.zone).date() != day:
        return None
    at = _instant(datetime.combine(day, schedule.at), schedule.zone)
    return Slot(at=at, local_date=day, kind=schedule.kind)


def next_slot(schedule: Schedule, *, after: datetime) -> Slot:
    """The first slot later than `after`."""
    return next(slot for slot in _slots(schedule, after) if slot.at > after)


def due_slots(
    schedule: Schedule, *, last: Slot | None, since: datetime, now: datetime
) -> list[Slot]:
    """All slots up to `now` that nobody has taken, oldest first.

    `last` is the newest slot on record and `since` the moment the schedule began or was switched
    on again; the later one counts. A day that has its slot gets no second one, even when the
    tenant's zone or hour has changed since. A clock that went back makes nothing due.
    """
    check_aware(since, now)
    after = max(since, last.at) if last else since
    due: list[Slot] = []
    for slot in _slots(schedule, after):
        if slot.at > now:
            return due
        if slot.at > after and (last is None or slot.local_date > last.local_date):
            due.append(slot)
    return due


def late(schedule: Schedule, *, since: datetime, next_at: datetime, now: datetime) -> list[Slot]:
    """What was due after `since`, and nobody has taken or called missed: whoever plans is away."""
    return (
        due_slots(schedule, last=None, since=since, now=now - LATE) if next_at <= now - LATE else []
    )


def plan_catch_up(due: Sequence[Slot]) -> CatchUp:
    """One run for the newest local day; every older slot is missed and says so."""
    ordered = sorted(due, key=lambda slot: (slot.at, slot.kind))
    today = max((slot.local_date for slot in ordered), default=None)
    return CatchUp(
        run=tuple(slot for slot in ordered if slot.local_date == today),
        missed=tuple(slot for slot in ordered if slot.local_date != today),
        full=any(slot.kind is SlotKind.WEEKLY for slot in ordered),
    )


def overdue_at(last: datetime | None, *, rpo_hours: int, since: datetime) -> datetime:
    """When a tenant becomes overdue: `last` is when its newest complete point was stored,
    and with none yet the time runs from `since`, when it came under protection."""
    check_aware(since, last or since)
    return (last or since) + timedelta(hours=rpo_hours)


def is_overdue(last: datetime | None, *, rpo_hours: int, since: datetime, now: datetime) -> bool:
    """True also when `last` lies in the future: a shifted clock must not silence the alarm."""
    check_aware(now, last or now)
    if last is not None and last > now + CLOCK_TOLERANCE:
        return True
    return now > overdue_at(last, rpo_hours=rpo_hours, since=since)


def zone_named(name: str) -> ZoneInfo:
    """Raises UnknownZone, with the right spelling where only the case is wrong."""
    if name in _zones():
        return ZoneInfo(name)
    near = [zone for zone in _zones() if zone.casefold() == name.casefold()]
    hint = f"did you mean {near[0]}?" if near else "give a name such as Africa/Cairo."
    raise UnknownZone(
        f"A time zone of the IANA database was wanted, found {name[:60]!r}; {hint}", zone=name[:60]
    )


def check_aware(*moments: datetime) -> None:
    """Raises NaiveTime for the first moment that carries no zone."""
    for moment in moments:
        if moment.utcoffset() is None:
            raise NaiveTime(
                f"A moment with its zone was wanted, found {moment.isoformat()} without; "
                "give it in UTC.",
                found=moment.isoformat(),
            )


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - NO_PLACES)


def _jittered(at: time, *, minutes: int, tenant_id: UUID) -> time:
    """The window is cut at midnight, so that no slot leaves its day."""
    start = at.hour * 3600 + at.minute * 60
    window = max(1, min(minutes * 60, 24 * 3600 - start))
    digest = hashlib.sha256(tenant_id.bytes).digest()
    second = start + int.from_bytes(digest[:8], "big") % window
    return time(second // 3600, second // 60 % 60, second % 60)


def _slots(schedule: Schedule, after: datetime) -> Iterator[Slot]:
    """Every slot from the local day before `after`, for ever: a slot may lie past midnight."""
    check_aware(after)
    day = after.astimezone(schedule.zone).date() - DAY
    while True:
        slot = slot_of(schedule, day)
        if slot is not None:
            yield slot
        day += DAY


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the zone's wall clock shows `wall` or has passed over it."""
    local = wall.replace(tzinfo=zone)  # fold=0: of two, the first
    at = local.astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    # Inside a gap Python reads fold=1 with the offset after the change, which lies before it.
    return _change_between(local.replace(fold=1).astimezone(UTC), at, zone)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
