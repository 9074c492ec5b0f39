"""When a backup falls due, over every kind of clock change."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup import schedule
from backup.policy import Weekday
from backup.schedule import Schedule, Slot, SlotKind
from tests.backup.retention_cast import policy

ACME = uuid.UUID("01890000-0000-7000-8000-00000000acae")
CAIRO, DUBAI, BERLIN, SAO_PAULO = (
    ZoneInfo(name) for name in ("Africa/Cairo", "Asia/Dubai", "Europe/Berlin", "America/Sao_Paulo")
)
DAY = timedelta(days=1)


def at(
    hour: int, minute: int = 0, *, zone: ZoneInfo = CAIRO, weekday: int | None = None
) -> Schedule:
    kind = SlotKind.DAILY if weekday is None else SlotKind.WEEKLY
    return Schedule(kind=kind, at=time(hour, minute), weekday=weekday, zone=zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots_between(plan: Schedule, first: date, last: date) -> list[Slot]:
    """By walking from slot to slot, as the dispatcher does."""
    found = []
    now = datetime.combine(first, time.min, tzinfo=UTC) - 2 * DAY
    while (slot := schedule.next_slot(plan, after=now)).local_date <= last:
        found.append(slot)
        now = slot.at
    return [slot for slot in found if slot.local_date >= first]


@pytest.mark.parametrize(
    ("zone", "day", "wall", "expected"),
    [
        # Cairo skips 00:00-01:00 on 24 April 2026 and lives 23:00-24:00 of 29 October twice.
        (CAIRO, date(2026, 4, 24), time(0, 0), "2026-04-23T22:00"),
        (CAIRO, date(2026, 4, 24), time(0, 30), "2026-04-23T22:00"),
        (CAIRO, date(2026, 4, 24), time(1, 0), "2026-04-23T22:00"),
        (CAIRO, date(2026, 4, 24), time(1, 30), "2026-04-23T22:30"),
        (CAIRO, date(2026, 4, 23), time(23, 59), "2026-04-23T21:59"),
        (CAIRO, date(2026, 10, 29), time(23, 30), "2026-10-29T20:30"),
        (CAIRO, date(2026, 10, 30), time(0, 0), "2026-10-29T22:00"),
        (DUBAI, date(2026, 4, 24), time(0, 30), "2026-04-23T20:30"),
        (DUBAI, date(2026, 10, 29), time(23, 30), "2026-10-29T19:30"),
        (BERLIN, date(2026, 3, 29), time(2, 30), "2026-03-29T01:00"),
        (BERLIN, date(2026, 10, 25), time(2, 30), "2026-10-25T00:30"),
        (SAO_PAULO, date(2018, 11, 4), time(0, 0), "2018-11-04T03:00"),
        (SAO_PAULO, date(2018, 2, 17), time(23, 30), "2018-02-18T01:30"),
        (SAO_PAULO, date(2026, 11, 1), time(0, 0), "2026-11-01T03:00"),  # no change since 2019
        (BERLIN, date(2028, 2, 29), time(2, 0), "2028-02-29T01:00"),
    ],
)
def test_a_wall_clock_time_becomes_the_first_instant_that_shows_or_passes_it(
    zone: ZoneInfo, day: date, wall: time, expected: str
) -> None:
    plan = Schedule(SlotKind.DAILY, wall, None, zone)
    assert schedule.slot_of(plan, day) == Slot(utc(expected), day, SlotKind.DAILY)


@pytest.mark.parametrize("zone", [CAIRO, DUBAI, BERLIN, SAO_PAULO, ZoneInfo("Australia/Lord_Howe")])
@pytest.mark.parametrize("wall", [time(0), time(0, 30), time(2, 15), time(23, 30)])
@pytest.mark.parametrize("year", [2018, 2026, 2028])
def test_every_local_day_has_exactly_one_slot(zone: ZoneInfo, wall: time, year: int) -> None:
    plan = Schedule(SlotKind.DAILY, wall, None, zone)
    slots = slots_between(plan, date(year, 1, 1), date(year, 12, 31))
    days = [date(year, 1, 1) + DAY * n for n in range(366 if year == 2028 else 365)]
    assert [slot.local_date for slot in slots] == days
    assert all(one.at < two.at for one, two in itertools.pairwise(slots))


def test_a_day_that_never_was_has_no_slot() -> None:
    samoa = ZoneInfo("Pacific/Apia")  # went from 29 to 31 December 2011
    slots = slots_between(at(10, zone=samoa), date(2011, 12, 28), date(2012, 1, 1))
    assert [slot.local_date.day for slot in slots] == [28, 29, 31, 1]
    assert schedule.slot_of(at(10, zone=samoa), date(2011, 12, 30)) is None


@pytest.mark.parametrize("weekday", list(Weekday))
def test_every_weekday_can_be_had_and_every_tenant_keeps_it(weekday: Weekday) -> None:
    plain = replace(policy(), weekly_on=weekday, weekly_at=time(23, 30), jitter_minutes=720)
    for number in range(40):
        plan = schedule.schedule_of(
            plain, SlotKind.WEEKLY, zone=CAIRO, tenant_id=uuid.UUID(int=number)
        )
        slots = slots_between(plan, date(2026, 4, 1), date(2026, 4, 30))
        assert {slot.at.astimezone(CAIRO).weekday() for slot in slots} == {weekday.number}
        assert len(slots) in (4, 5)


def test_jitter_is_the_same_every_day_and_the_same_for_both_schedules() -> None:
    plain = replace(policy(), weekly_at=time(2))
    daily, weekly = (
        schedule.schedule_of(plain, kind, zone=DUBAI, tenant_id=ACME) for kind in SlotKind
    )
    walls = {s.at.astimezone(DUBAI).time() for s in slots_between(daily, *two_years())}
    assert walls == {daily.at}
    assert weekly.at == daily.at
    assert daily.at == time(2, 6, 54)  # pinned: a change would move every tenant's backup


def two_years() -> tuple[date, date]:
    return date(2026, 1, 1), date(2027, 12, 31)


def test_jitter_spreads_tenants_over_the_whole_window() -> None:
    minutes = []
    for number in range(600):
        tenant = uuid.UUID(int=number)
        plan = schedule.schedule_of(policy(), SlotKind.DAILY, zone=DUBAI, tenant_id=tenant)
        minutes.append((plan.at.hour - 2) * 60 + plan.at.minute)
    assert (min(minutes), max(minutes)) == (0, 59)
    assert len(set(minutes)) == 60


@given(tenant=st.uuids(), hour=st.integers(0, 23), jitter=st.integers(0, 1440))
def test_jitter_never_leaves_the_day_nor_the_window(
    tenant: uuid.UUID, hour: int, jitter: int
) -> None:
    plain = replace(policy(), daily_at=time(hour, 45), jitter_minutes=jitter)
    plan = schedule.schedule_of(plain, SlotKind.DAILY, zone=CAIRO, tenant_id=tenant)
    late = timedelta(hours=plan.at.hour, minutes=plan.at.minute, seconds=plan.at.second)
    late -= timedelta(hours=hour, minutes=45)
    assert timedelta(0) <= late < max(timedelta(seconds=1), timedelta(minutes=jitter))


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(["Africa/Cairo", "Asia/Gaza", "Europe/London", "Asia/Kathmandu"]),
    wall=st.times(timezones=st.none()).map(lambda t: t.replace(microsecond=0)),
    after=st.integers(0, 200_000_000).map(lambda n: utc("2024-01-01") + timedelta(seconds=n)),
)
def test_slots_strictly_grow_and_none_lies_between(zone: str, wall: time, after: datetime) -> None:
    plan = Schedule(SlotKind.DAILY, wall, None, ZoneInfo(zone))
    first = schedule.next_slot(plan, after=after)
    second = schedule.next_slot(plan, after=first.at)
    assert after < first.at < second.at
    assert second.local_date == first.local_date + DAY
    assert schedule.due_slots(plan, last=None, since=after, now=second.at) == [first, second]


def test_all_slots_missed_while_the_platform_was_down_are_due() -> None:
    last = schedule.slot_of(at(2), date(2026, 4, 20))
    assert last is not None
    due = schedule.due_slots(at(2), last=last, since=utc("2026-01-01"), now=utc("2026-04-25T12:00"))
    assert [slot.local_date.day for slot in due] == [21, 22, 23, 24, 25]


def test_nothing_is_due_before_the_schedule_began_or_once_the_clock_went_back() -> None:
    last = schedule.slot_of(at(2), date(2026, 4, 20))
    began = utc("2026-04-24T12:00")
    due = schedule.due_slots(at(2), last=last, since=began, now=utc("2026-04-25T12:00"))
    assert [slot.local_date.day for slot in due] == [25]
    assert schedule.due_slots(at(2), last=last, since=began, now=utc("2026-01-01")) == []


def test_a_changed_hour_makes_no_second_slot_of_the_same_day() -> None:
    last = schedule.slot_of(at(2), date(2026, 4, 20))
    now = utc("2026-04-21T20:00")
    due = schedule.due_slots(at(14), last=last, since=utc("2026-01-01"), now=now)
    assert [slot.local_date.day for slot in due] == [21]


def test_after_an_outage_one_run_answers_the_newest_day_and_the_rest_is_missed() -> None:
    since, now = utc("2026-04-19T12:00"), utc("2026-04-24T12:00")
    due = schedule.due_slots(at(2), last=None, since=since, now=now)
    due += schedule.due_slots(at(2, weekday=4), last=None, since=since, now=now)
    plan = schedule.plan_catch_up(due)
    assert [(slot.local_date.day, slot.kind) for slot in plan.run] == [
        (24, "daily"),
        (24, "weekly"),
    ]
    assert [slot.local_date.day for slot in plan.missed] == [20, 21, 22, 23]
    assert plan.full


def test_a_missed_weekly_slot_still_forces_the_full_read() -> None:
    since, now = utc("2026-04-23T12:00"), utc("2026-04-26T12:00")
    due = schedule.due_slots(at(2), last=None, since=since, now=now)
    due += schedule.due_slots(at(2, weekday=4), last=None, since=since, now=now)
    plan = schedule.plan_catch_up(due)
    assert [(slot.local_date.day, slot.kind) for slot in plan.run] == [(26, "daily")]
    assert SlotKind.WEEKLY in {slot.kind for slot in plan.missed}
    assert plan.full


def test_nothing_due_is_nothing_to_run() -> None:
    assert schedule.plan_catch_up([]) == schedule.CatchUp(run=(), missed=(), full=False)


@given(st.integers(0, 40), st.integers(0, 40))
def test_every_due_slot_is_run_or_missed_and_none_twice(down: int, began: int) -> None:
    now = utc("2026-05-10T12:00")
    since = now - DAY * down - timedelta(hours=began)
    due = schedule.due_slots(at(2), last=None, since=since, now=now)
    due += schedule.due_slots(at(2, weekday=0), last=None, since=since, now=now)
    plan = schedule.plan_catch_up(due)
    assert sorted(map(repr, plan.run + plan.missed)) == sorted(map(repr, due))
    assert {slot.local_date for slot in plan.run}.isdisjoint(s.local_date for s in plan.missed)


@pytest.mark.parametrize(
    ("last", "now", "overdue"),
    [
        ("2026-04-20T02:00", "2026-04-21T04:00", False),
        ("2026-04-20T02:00", "2026-04-21T04:01", True),
        (None, "2026-04-02T02:00", False),
        (None, "2026-04-02T02:01", True),
        ("2036-04-20T02:00", "2026-04-21T02:00", True),  # dated ahead: silence is a finding
    ],
)
def test_a_tenant_is_overdue_when_its_rpo_has_passed(
    last: str | None, now: str, overdue: bool
) -> None:
    stored = utc(last) if last else None
    since = utc("2026-04-01")
    assert schedule.is_overdue(stored, rpo_hours=26, since=since, now=utc(now)) is overdue


@pytest.mark.parametrize(
    "name", ["", "Cairo", "UTC+2", "../etc/passwd", "Africa", "localtime", "posix/UTC", "x" * 300]
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(schedule.UnknownZone, match=r"give a name such as Africa/Cairo"):
        schedule.zone_named(name)


def test_a_zone_in_the_wrong_case_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(schedule.UnknownZone, match=r"did you mean Africa/Cairo\?"):
        schedule.zone_named("africa/cairo")
    assert schedule.zone_named("Africa/Cairo") is CAIRO


def test_a_moment_without_a_zone_is_refused() -> None:
    naive = datetime(2026, 4, 20)  # noqa: DTZ001 - the point of the test
    with pytest.raises(schedule.NaiveTime):
        schedule.next_slot(at(2), after=naive)
    with pytest.raises(schedule.NaiveTime):
        schedule.due_slots(at(2), last=None, since=naive, now=utc("2026-04-21"))
    with pytest.raises(schedule.NaiveTime):
        schedule.is_overdue(naive, rpo_hours=26, since=utc("2026-04-01"), now=utc("2026-04-21"))
