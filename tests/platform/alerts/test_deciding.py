"""When an alert opens, is told, escalates and closes: pure, so that every case can be asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.alerts.deciding import Event, Manner, Seen, Telling, Trouble, decide, telling

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


TOLD = Seen(  # opened and told at AT
    group="tenants.overdue",
    severe=True,
    manner=Manner.USUAL,
    count=10,
    opened_at=AT,
    seen_at=AT,
    closed_at=None,
    told_at=AT,
    told_level=1,
    told_count=10,
    told_severe=True,
    acknowledged_at=None,
    snoozed_until=None,
)
NEW = replace(TOLD, told_at=None, told_level=0, told_count=0, told_severe=False)


def event(row: Seen, after: timedelta) -> Event | None:
    found = telling(row, now=AT + after)
    return None if found is None else found.event


def test_a_new_trouble_opens_and_a_known_one_is_brought_up() -> None:
    found = decide(
        [TOLD], [Trouble("tenants.overdue", "x", True), Trouble("b", "b", False)], now=AT
    )
    assert [each.group for each in found.opened] == ["b"]
    assert set(found.changed) == {"tenants.overdue"}
    assert found.closed == frozenset()


def test_it_closes_when_it_was_not_seen_for_a_while_and_not_before() -> None:
    for after, closes in ((9 * MINUTE, False), (10 * MINUTE, True)):
        assert bool(decide([TOLD], [], now=AT + after).closed) is closes


def test_what_could_not_be_looked_at_stays_open() -> None:
    assert decide([TOLD], [], now=AT + 5 * HOUR, unseen=["tenants."]).closed == frozenset()
    assert decide([TOLD], [], now=AT + 5 * HOUR, unseen=["region."]).closed


def test_a_severe_one_is_told_at_once_and_a_lesser_one_once_it_has_lasted() -> None:
    assert telling(NEW, now=AT) == Telling(Event.OPENED, (1,))
    lesser = replace(NEW, severe=False)
    assert event(lesser, 14 * MINUTE) is None
    assert event(lesser, 15 * MINUTE) is Event.OPENED


def test_the_loudest_is_told_everywhere_at_once() -> None:
    assert telling(replace(NEW, manner=Manner.LOUD), now=AT) == Telling(Event.OPENED, (1, 2))


def test_it_is_not_told_again_as_long_as_nothing_changes() -> None:
    assert event(TOLD, 59 * MINUTE) is None


@pytest.mark.parametrize(("severe", "after"), [(True, HOUR), (False, 12 * HOUR)])
def test_nobody_answers_and_the_second_channels_are_told(severe: bool, after: timedelta) -> None:
    row = replace(TOLD, severe=severe, told_severe=severe)
    assert event(row, after - MINUTE) is None
    assert telling(row, now=AT + after) == Telling(Event.ESCALATED, (2,))
    assert event(replace(row, told_level=2, told_at=AT + after), after + MINUTE) is None


def test_who_acknowledged_is_left_in_peace_unless_it_becomes_worse() -> None:
    row = replace(TOLD, acknowledged_at=AT + MINUTE)
    assert event(row, 30 * HOUR) is None
    assert event(replace(row, count=20), 30 * HOUR) is Event.WORSE


def test_worse_is_twice_as_many_or_severe_where_it_was_not() -> None:
    assert event(replace(TOLD, count=19), 20 * MINUTE) is None
    assert event(replace(TOLD, count=20), 20 * MINUTE) is Event.WORSE
    assert event(replace(TOLD, count=500), 10 * MINUTE) is None  # not at every step of a slide
    assert event(replace(TOLD, told_severe=False), 20 * MINUTE) is Event.WORSE


def test_a_snooze_is_silent_until_it_ends_and_then_it_is_told_again() -> None:
    row = replace(TOLD, snoozed_until=AT + 4 * HOUR, count=500)
    assert event(row, 4 * HOUR - MINUTE) is None
    assert event(row, 4 * HOUR) is Event.WORSE
    assert event(replace(row, count=10), 4 * HOUR) is Event.STILL
    told = replace(row, count=10, told_at=AT + 4 * HOUR, told_level=2)
    assert event(told, 4 * HOUR + MINUTE) is None


def test_who_was_told_that_it_began_is_told_that_it_is_over_and_nobody_else() -> None:
    over = AT + HOUR
    assert telling(replace(TOLD, closed_at=over), now=over) == Telling(Event.CLOSED, (1,))
    second = replace(TOLD, closed_at=over, told_level=2)
    assert telling(second, now=over) == Telling(Event.CLOSED, (1, 2))
    assert telling(replace(NEW, closed_at=over), now=over) is None


def test_a_severe_one_that_nobody_acknowledges_is_told_each_day() -> None:
    row = replace(TOLD, told_level=2)
    assert event(row, 23 * HOUR) is None
    assert event(row, 24 * HOUR) is Event.STILL
    assert event(replace(row, severe=False), 24 * HOUR) is None


def test_the_canary_is_told_once_to_the_first_channels_and_that_is_all() -> None:
    new = replace(NEW, manner=Manner.CANARY)
    assert telling(new, now=AT) == Telling(Event.OPENED, (1,))
    told = replace(TOLD, manner=Manner.CANARY, count=500)
    assert event(told, 40 * HOUR) is None
    assert telling(replace(told, closed_at=AT + HOUR), now=AT + HOUR) is None


moments = st.integers(0, 72 * 60).map(lambda minutes: AT + minutes * MINUTE)


@given(
    count=st.integers(1, 1000),
    told_count=st.integers(0, 1000),
    level=st.integers(1, 2),
    told_at=moments,
    now=moments,
    acknowledged=st.booleans(),
    severe=st.booleans(),
)
def test_telling_once_is_enough(
    count: int,
    told_count: int,
    level: int,
    told_at: datetime,
    now: datetime,
    acknowledged: bool,
    severe: bool,
) -> None:
    """Whatever was told, the same look a moment later tells nothing: no storm out of one trouble."""
    row = replace(
        TOLD,
        count=count,
        told_count=told_count,
        told_level=level,
        told_at=told_at,
        severe=severe,
        acknowledged_at=AT if acknowledged else None,
    )
    found = telling(row, now=now)
    if found is not None:
        after = replace(
            row,
            told_at=now,
            told_count=count,
            told_severe=severe,
            told_level=max(level, *found.levels),
        )
        assert telling(after, now=now) is None
