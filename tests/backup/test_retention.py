"""What stays, what goes and why, one rule at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from backup import expiry, guards, retention
from backup.facts import Hold
from backup.states import Outcome, Trigger
from strongroom.errors import BadValue
from tests.backup import golden_retention
from tests.backup.retention_cast import (
    CAIRO,
    DAY,
    ERP,
    FILES,
    MESSAGES,
    codes,
    days,
    kept,
    noon,
    part,
    partial,
    point,
    policy,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(golden_retention.POLICIES))
def test_two_years_under_a_policy_end_as_written_down(name: str) -> None:
    """After a change that is meant: `python -m tests.backup.golden_retention` writes them anew."""
    written = (GOLDEN / f"{name}.txt").read_text()
    assert golden_retention.two_years(name) == written


# Counts


def test_the_newest_point_of_each_local_day_takes_the_daily_slot() -> None:
    evening = point(5, id=UUID(int=1), number=99, first_seen_at=noon(5) + timedelta(hours=6))
    assert kept([*days(3, 4, 5), evening], policy(daily=2), day=6) == [4, 98]


def test_days_without_a_point_do_not_count() -> None:
    assert kept(days(0, 1, 40, 90, 91), policy(daily=3), day=91) == [40, 90, 91]


def test_counts_rest_on_the_tenants_local_date() -> None:
    """23:30 and 00:30 in Cairo are two days there and one in UTC."""
    late = point(1, first_seen_at=noon(1) + timedelta(hours=9, minutes=30))
    early = point(2, first_seen_at=noon(1) + timedelta(hours=10, minutes=30))
    assert kept([late, early], policy(daily=2), day=3) == [1, 2]


def test_a_young_tenants_first_point_stays_for_the_long_tiers() -> None:
    assert kept(days(*range(20)), policy(daily=2, monthly=12), day=19) == [0, 18, 19]


def test_age_takes_what_a_count_would_keep() -> None:
    under = policy(daily=90, max_age_days=30)
    assert kept(days(*range(60)), under, day=59) == list(range(29, 60))
    decision = retention.decide(days(*range(60)), under, now=noon(59), zone=CAIRO)
    assert codes(decision, 28) == ["max-age"]


def test_the_day_changes_for_age_at_local_midnight() -> None:
    under = policy(daily=1, floor=1, max_age_days=1)
    facts = [point(0, kind=Trigger.MANUAL), point(1)]
    last_minute = noon(1) + timedelta(hours=9, minutes=59)
    for now, count in ((last_minute, 2), (last_minute + timedelta(minutes=1), 1)):
        assert len(retention.decide(facts, under, now=now, zone=CAIRO).keep) == count


# What counts for nothing


def test_a_partial_point_takes_no_slot_but_stays_as_long_as_a_complete_one_would() -> None:
    facts = [point(0), point(1), partial(2), partial(3, parts=(part(3, verified=False),))]
    assert kept(facts, policy(daily=2), day=3) == [0, 1, 2, 3]
    assert kept([*facts, *days(4, 5)], policy(daily=2), day=5) == [4, 5]


def test_a_partial_point_stays_while_it_holds_one_of_the_last_verified_snapshots() -> None:
    holds_files = partial(0, parts=(part(0, FILES),))
    later = days(*range(1, 30))
    assert kept([holds_files, *later], policy(daily=3), day=29) == [0, 27, 28, 29]
    both = [point(n, parts=(part(n), part(n, FILES))) for n in range(1, 30)]
    assert kept([holds_files, *both], policy(daily=3, floor=1), day=29) == [27, 28, 29]


def test_of_partial_points_that_share_a_snapshot_the_newest_is_enough() -> None:
    same = part(0, FILES)
    facts = [partial(n, parts=(same,)) for n in range(20)] + days(20, 21)
    assert kept(facts, policy(daily=1), day=21) == [19, 21]


def test_a_retired_source_guards_nothing() -> None:
    old = partial(0, parts=(replace(part(0, FILES), retired=True),))
    assert kept([old, *days(*range(1, 10))], policy(daily=2), day=9) == [8, 9]


def test_a_broken_source_for_a_year_does_not_keep_a_year_of_points() -> None:
    facts = [point(0)] + [partial(n) for n in range(1, 365)]
    assert kept(facts, policy(daily=7, floor=2), day=364) == [0, *range(358, 365)]


def test_400_forged_empty_points_push_out_nothing() -> None:
    real = days(*range(10))
    forged = [
        point(n, first_seen_at=noon(9), local_date=point(9).local_date, parts=(part(n, size=0),))
        for n in range(1000, 1400)
    ]
    under = policy(last=3, daily=3, weekly=2, floor=2)
    survivors = kept([*real, *forged], under, day=10)
    assert set(kept(real, under, day=10)) <= set(survivors)
    assert len(survivors) < 15


def test_a_source_that_may_be_empty_counts() -> None:
    empty = [point(n, parts=(replace(part(n, size=0), may_be_empty=True),)) for n in range(5)]
    assert kept(empty, policy(daily=2), day=4) == [3, 4]


def test_a_failure_without_data_goes_by_age_alone() -> None:
    failures = [point(n, outcome=Outcome.FAILED, parts=()) for n in range(40)]
    assert kept([*failures, point(40)], policy(daily=1), day=40) == list(range(41))
    assert kept([*failures, point(40)], policy(daily=1, max_age_days=9), day=40)[0] == 31


def test_manual_points_are_counted_among_themselves() -> None:
    manual = [point(n, kind=Trigger.MANUAL, parts=(part(n, verified=False),)) for n in range(5, 20)]
    scheduled = days(*range(5))
    assert kept([*scheduled, *manual], policy(last=2, daily=3), day=20) == [2, 3, 4, 18, 19]
    assert kept([*scheduled, *manual], policy(daily=3), day=20) == [2, 3, 4, 19]


def test_a_safety_point_is_pinned_for_seven_days_and_counts_for_nothing() -> None:
    facts = [*days(0, 1), point(2, kind=Trigger.SAFETY)]
    under = policy(daily=1, floor=1)
    assert kept(facts, under, day=8) == [1, 2]
    assert kept(facts, under, day=9) == [1]
    decision = retention.decide(facts, under, now=noon(9), zone=CAIRO)
    assert codes(decision, 2) == ["pin-ended"]


# Floor


def test_the_last_verified_points_never_go() -> None:
    unverified = [point(n, parts=(part(n, verified=False),)) for n in range(10, 40)]
    under = policy(daily=3, floor=2, max_age_days=20)
    assert kept([*days(*range(10)), *unverified], under, day=40) == [8, 9, 37, 38, 39]


def test_backups_that_stopped_leave_the_floor_and_the_newest_however_old() -> None:
    facts = [*days(0, 1, 2), point(3, parts=(part(3, verified=False),))]
    assert kept(facts, policy(daily=7, floor=2, max_age_days=30), day=3650) == [1, 2, 3]


def test_a_point_is_verified_when_every_source_of_it_is() -> None:
    half = point(5, parts=(part(5), part(5, FILES, verified=False)))
    facts = [point(4), half, *(point(n, parts=(part(n, verified=False),)) for n in (6, 7))]
    assert kept(facts, policy(daily=1, floor=1), day=7) == [4, 7]


# Ceilings


def test_a_sources_ceiling_takes_that_source_out_of_a_kept_point() -> None:
    facts = [point(n, parts=(part(n), part(n, MESSAGES))) for n in range(40)]
    under = policy(daily=35, floor=38, ceilings={MESSAGES: 30})
    decision = retention.decide(facts, under, now=noon(39), zone=CAIRO)
    assert [v.point.number - 1 for v in decision.trimmed] == list(range(9, 1, -1))
    assert {source for v in decision.trimmed for source in v.without} == {MESSAGES}
    assert codes(decision, 9)[0] == "source-ceiling"


def test_a_ceiling_beats_floor_and_pin_when_nothing_else_is_left() -> None:
    facts = [
        point(0, parts=(part(0, MESSAGES),)),
        point(1, kind=Trigger.SAFETY, pinned_until=noon(90), parts=(part(1, MESSAGES),)),
    ]
    assert kept(facts, policy(floor=5, ceilings={MESSAGES: 30}), day=29) == [0, 1]
    assert kept(facts, policy(floor=5, ceilings={MESSAGES: 30}), day=31) == []


def test_the_age_of_a_shared_snapshot_counts_from_its_first_storage() -> None:
    shared = replace(part(0, MESSAGES), stored_at=noon(0))
    facts = [point(n, parts=(shared,)) for n in range(20, 30)]
    under = policy(daily=30, ceilings={MESSAGES: 30})
    assert len(kept(facts, under, day=29)) == 10
    assert kept(facts, under, day=30) == []


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, [Hold(id=UUID(int=7))]),
        ({}, [Hold(id=UUID(int=7), points=frozenset({point(0).id}))]),
        ({"locked_until": noon(61)}, []),
    ],
)
def test_hold_and_lock_beat_a_ceiling(changes: dict[str, datetime], holds: list[Hold]) -> None:
    facts = [point(0, parts=(part(0, MESSAGES),), **changes), point(60)]
    under = policy(daily=1, ceilings={MESSAGES: 30})
    decision = retention.decide(facts, under, now=noon(60), zone=CAIRO, holds=holds)
    assert [v.keep for v in decision.verdicts] == [True, True]
    assert not decision.trimmed
    assert codes(decision, 0)[0] in ("legal-hold", "object-lock")


# Clocks


def test_a_clock_that_went_back_removes_nothing_and_says_so() -> None:
    facts = days(*range(50))
    decision = retention.decide(facts, policy(daily=1), now=noon(40), zone=CAIRO)
    assert not decision.remove
    assert "clock-behind" in codes(decision, 0)
    assert codes(decision, 49) == ["clock-behind", "future-dated"]


def test_clocks_within_the_tolerance_do_not_stop_a_pass() -> None:
    now = noon(9) - timedelta(minutes=4)
    decision = retention.decide(days(*range(10)), policy(daily=2), now=now, zone=CAIRO)
    assert len(decision.keep) == 2


def test_a_point_of_a_day_to_come_is_kept_flagged_and_displaces_nothing() -> None:
    ahead = point(3, local_date=point(3650).local_date)
    facts = [*days(0, 1, 2), ahead]
    decision = retention.decide(facts, policy(daily=2), now=noon(3), zone=CAIRO)
    assert codes(decision, 3) == ["future-dated"]
    assert kept(facts, policy(daily=2), day=3) == [1, 2, 3]


def test_clocks_agree_within_five_minutes_only() -> None:
    late = noon(0) + timedelta(minutes=5)
    assert guards.clocks_agree(host=noon(0), database=late, storage=[noon(0)])
    beyond = late + timedelta(seconds=1)
    assert not guards.clocks_agree(host=noon(0), database=noon(0), storage=[noon(0), beyond])
    assert not guards.clocks_agree(host=noon(0), database=noon(0), storage=[])


# What is refused


def test_without_a_policy_nothing_may_be_removed() -> None:
    for nothing in (None, {}, {"daily": 7}):
        with pytest.raises(retention.NoPolicy, match="nothing is removed"):
            retention.decide(days(0), nothing, now=noon(1), zone=CAIRO)  # type: ignore[arg-type]


def test_a_point_given_twice_or_a_naive_moment_is_refused() -> None:
    with pytest.raises(BadValue, match="found one twice"):
        retention.decide([point(0), point(0)], policy(), now=noon(1), zone=CAIRO)
    naive = point(0, pinned_until=noon(3).replace(tzinfo=None))
    with pytest.raises(BadValue, match="with its zone"):
        retention.decide([naive], policy(), now=noon(1), zone=CAIRO)


def test_a_pass_that_would_take_too_large_a_share_is_refused() -> None:
    decision = retention.decide(days(*range(20)), policy(daily=3), now=noon(19), zone=CAIRO)
    with pytest.raises(guards.MassRemoval) as refusal:
        guards.guard(decision, share=0.5)
    assert refusal.value.params == {"losing": 17, "counted": 20, "share": 0.5}
    guards.guard(decision, share=0.9)


def test_a_few_removals_are_never_a_mass() -> None:
    facts = [*days(0, 1, 2), *(point(n, kind=Trigger.SAFETY) for n in range(3, 9))]
    decision = retention.decide(facts, policy(daily=1), now=noon(60), zone=CAIRO)
    assert len(decision.remove) == 8  # two of the plan, six safety points that stand outside
    guards.guard(decision, share=0.1)


def test_a_shorter_plan_lists_what_it_would_take_and_a_longer_one_nothing() -> None:
    facts = days(*range(30))
    long, short = policy(daily=20), policy(daily=5)
    taken = guards.would_remove(facts, long, short, now=noon(29), zone=CAIRO)
    assert [verdict.point.number - 1 for verdict in taken] == list(range(24, 9, -1))
    assert guards.would_remove(facts, short, long, now=noon(29), zone=CAIRO) == ()


def test_a_new_ceiling_is_listed_for_the_points_it_would_trim() -> None:
    facts = [point(n, parts=(part(n), part(n, MESSAGES))) for n in range(10)]
    old, new = policy(daily=10), policy(daily=10, ceilings={MESSAGES: 5})
    taken = guards.would_remove(facts, old, new, now=noon(9), zone=CAIRO)
    assert [verdict.point.number - 1 for verdict in taken] == [4, 3, 2, 1, 0]


# Looking ahead


@pytest.mark.parametrize(
    "keep",
    [
        {"daily": 7},
        {"last": 5},
        {"daily": 5, "weekly": 3},
        {"daily": 3, "weekly": 2, "monthly": 3},
        {"daily": 4, "monthly": 4, "max_age_days": 45},
        {"weekly": 4},
    ],
)
def test_the_day_a_point_goes_is_known_ahead(keep: dict[str, int]) -> None:
    """Two months of points, then day by day as the look ahead supposes."""
    under = policy(floor=2, **keep)
    facts = days(*range(60))
    facts = [v.point for v in retention.decide(facts, under, now=noon(59), zone=CAIRO).keep]
    ahead = expiry.expiries(facts, under, now=noon(59), zone=CAIRO)
    gone, world = {}, facts
    for day in range(60, 260):
        decision = retention.decide([*world, point(day)], under, now=noon(day), zone=CAIRO)
        gone |= {v.point.id: point(day).local_date for v in decision.remove}
        world = [v.point for v in decision.keep]
    assert {p.id: gone.get(p.id) for p in facts} == {p.id: ahead[p.id].on for p in facts}


@pytest.mark.parametrize(
    ("fact", "on", "because"),
    [
        (point(5, kind=Trigger.SAFETY), 12, "pinned"),
        (point(5, locked_until=noon(80)), 80, "object-lock"),
        (point(5, kind=Trigger.MANUAL), None, "manual"),
        (point(5, parts=(part(5, MESSAGES),), kind=Trigger.MANUAL), 35, "source-ceiling"),
        (point(5, outcome=Outcome.FAILED, parts=()), None, "max-age"),
        (point(0), 10, "not-in-plan"),
    ],
)
def test_what_time_alone_ends_is_dated_too(fact: object, on: int | None, because: str) -> None:
    facts = [*days(6, 7, 8, 9, 10), fact]
    under = policy(daily=2, ceilings={MESSAGES: 30})
    found = expiry.expiries(facts, under, now=noon(10), zone=CAIRO)[fact.id]  # type: ignore
    assert found == expiry.Expiry(None if on is None else point(0).local_date + DAY * on, because)


def test_a_held_point_has_no_day_to_go() -> None:
    hold = Hold(id=UUID(int=7))
    found = expiry.expiries(days(0, 1), policy(daily=1), now=noon(1), zone=CAIRO, holds=[hold])
    assert {item.on for item in found.values()} == {None}


def test_a_complete_point_keeps_its_sources_apart() -> None:
    """ERP comes in every point, the files failed since day 2: both can be restored."""
    facts = [point(n, parts=(part(n), part(n, FILES))) for n in (0, 1)]
    facts += [partial(n, parts=(part(n, ERP),)) for n in range(2, 30)]
    assert kept(facts, policy(daily=3, floor=1), day=29) == [0, 1, 27, 28, 29]
