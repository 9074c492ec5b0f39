"""What holds for any points under any policy: the laws retention may never break.

STRONGROOM_EXAMPLES=5000 in the environment looks far longer.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup import guards, retention
from backup.facts import Hold, Part, Point
from backup.policy import EffectivePolicy
from backup.states import Outcome, Trigger
from tests.backup.retention_cast import (
    CAIRO,
    ERP,
    FILES,
    MESSAGES,
    applied,
    days,
    noon,
    part,
    partial,
    point,
    policy,
)

LAST_DAY = 120
NOW = noon(LAST_DAY) + timedelta(hours=1)
counts = st.integers(0, 6)
law = settings(max_examples=int(os.environ.get("STRONGROOM_EXAMPLES", "30")), deadline=None)


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    """Up to 25 points over four months, several a day, of every kind and outcome."""
    made = []
    for number, day in enumerate(sorted(draw(st.lists(st.integers(0, LAST_DAY), max_size=25)))):
        made.append(
            replace(
                point(day),
                id=UUID(int=5000 + number),
                number=number + 1,
                kind=draw(st.sampled_from([Trigger.SCHEDULE] * 4 + list(Trigger))),
                outcome=draw(st.sampled_from([Outcome.COMPLETE] * 3 + list(Outcome))),
                first_seen_at=noon(day) + timedelta(seconds=number),
                parts=draw(parts(number)),
            )
        )
    return made


@st.composite
def parts(draw: st.DrawFn, number: int) -> tuple[Part, ...]:
    """Each source may be absent, share its snapshot with the point before, or be empty."""
    found = []
    for source in draw(st.sets(st.sampled_from([ERP, FILES, MESSAGES]))):
        snapshot = number + 1 - draw(st.sampled_from([0, 0, 0, 1]))
        size = draw(st.sampled_from([100, 100, 100, 0]))
        found.append(part(snapshot, source, verified=snapshot % 3 != 1, size=size))
    return tuple(found)


@st.composite
def policies(draw: st.DrawFn, *, ceilings: bool = True) -> EffectivePolicy:
    keep = {name: draw(counts) for name in ("last", "daily", "weekly", "monthly", "yearly")}
    keep["last" if draw(st.booleans()) else "daily"] += 1
    age = draw(st.none() | st.integers(1, 150))
    some = draw(st.dictionaries(st.sampled_from([ERP, MESSAGES]), st.integers(1, 150)))
    limit = {"max_age_days": age} if age else {}
    return policy(draw(st.integers(1, 4)), some if ceilings else None, **keep, **limit)


def decide(facts: list[Point], under: EffectivePolicy, **changes: object) -> retention.Decision:
    return retention.decide(facts, under, **({"now": NOW, "zone": CAIRO} | changes))  # type: ignore


def numbers(decision: retention.Decision) -> set[int]:
    return {verdict.point.number for verdict in decision.keep}


def good(facts: list[Point]) -> list[Point]:
    """Those that count, newest last."""
    full = retention.Standing.FULL
    return [p for p in facts if retention.standing(p) is full and p.kind is not Trigger.SAFETY]


@law
@given(points(), policies())
def test_every_point_gets_one_verdict_with_a_reason(
    facts: list[Point], under: EffectivePolicy
) -> None:
    decision = decide(facts, under)
    assert {v.point.id for v in decision.verdicts} == {p.id for p in facts}
    assert len(decision.keep) + len(decision.remove) == len(facts)
    assert all(v.reasons for v in decision.verdicts)


@law
@given(points(), policies(ceilings=False))
def test_the_newest_complete_and_the_last_verified_points_stay(
    facts: list[Point], under: EffectivePolicy
) -> None:
    kept = numbers(decide(facts, under))
    verified = [p.number for p in good(facts) if retention.is_verified(p)]
    assert {p.number for p in good(facts)[-1:]} <= kept
    assert set(verified[-under.floor :]) <= kept


@law
@given(points(), policies(), st.sets(st.integers(0, 25)))
def test_a_held_or_locked_point_stays_whole(
    facts: list[Point], under: EffectivePolicy, chosen: set[int]
) -> None:
    held = frozenset(UUID(int=5000 + number) for number in chosen)
    locked = [replace(p, locked_until=NOW + timedelta(days=1)) for p in facts]
    one = decide(facts, under, holds=[Hold(id=UUID(int=1), points=held)])
    assert not any(v.point.id in held for v in (*one.remove, *one.trimmed))
    assert numbers(decide(locked, under)) == {p.number for p in facts}
    assert not decide(locked, under).trimmed


@law
@given(points(), policies())
def test_no_partial_or_empty_point_pushes_out_a_good_one(
    facts: list[Point], under: EffectivePolicy
) -> None:
    """Without the weak points the good ones fare no better. Ceilings turn good into weak."""
    bare = [retention.without_lapsed(p, retention.Setting(under, NOW, CAIRO)) for p in facts]
    only = good([p for p in bare if p.parts])
    assert numbers(decide(only, under)) <= numbers(decide(bare, under))


@law
@given(points(), policies(ceilings=False))
def test_no_partial_point_takes_the_last_verified_snapshots_of_a_source_with_it(
    facts: list[Point], under: EffectivePolicy
) -> None:
    decision = decide(facts, under)
    left = {item.snapshot for v in decision.keep for item in v.point.parts}
    by_source: dict[UUID, list[UUID]] = {ERP: [], FILES: [], MESSAGES: []}
    for fact in reversed(facts):
        for item in fact.parts if fact.kind is not Trigger.SAFETY else ():
            if item.verified_on and item.size and item.snapshot not in by_source[item.source]:
                by_source[item.source].append(item.snapshot)
    guarded = {s for copies in by_source.values() for s in copies[: under.floor]}
    weak = [v for v in decision.remove if v.point.outcome is not Outcome.COMPLETE]
    lost = {i.snapshot for v in weak for i in v.point.parts if v.point.kind is not Trigger.SAFETY}
    assert not (lost & guarded) - left


@law
@given(points(), policies())
def test_a_second_pass_removes_nothing_more(facts: list[Point], under: EffectivePolicy) -> None:
    left = applied(decide(facts, under))
    again = decide(left, under)
    assert not again.remove
    assert not again.trimmed


@law
@given(points(), policies(ceilings=False), st.data())
def test_a_laxer_policy_keeps_at_least_as_much(
    facts: list[Point], under: EffectivePolicy, data: st.DataObject
) -> None:
    keep = under.retention
    more = {
        name: getattr(keep, name) + data.draw(counts) for name in vars(keep) if "age" not in name
    }
    age = keep.max_age_days and data.draw(st.none() | st.integers(keep.max_age_days, 200))
    laxer = replace(
        under,
        retention=replace(keep, **more, max_age_days=age),
        floor=under.floor + data.draw(counts),
    )
    assert numbers(decide(facts, under)) <= numbers(decide(facts, laxer))


@law
@given(points(), policies(), st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(
    facts: list[Point], under: EffectivePolicy, chance: random.Random
) -> None:
    shuffled = facts[:]
    chance.shuffle(shuffled)
    assert decide(shuffled, under) == decide(facts, under)


@law
@given(points(), policies(), st.sampled_from(["Asia/Dubai", "Pacific/Apia", "America/Adak"]))
def test_counts_rest_on_the_stored_local_date_whatever_the_zone(
    facts: list[Point], under: EffectivePolicy, zone: str
) -> None:
    counted = replace(under, retention=replace(under.retention, max_age_days=None))
    elsewhere = decide(facts, counted, zone=ZoneInfo(zone))
    assert numbers(elsewhere) == numbers(decide(facts, counted))


@law
@given(points(), policies(), st.integers(6, 10**7))
def test_a_clock_going_backwards_removes_nothing(
    facts: list[Point], under: EffectivePolicy, minutes: int
) -> None:
    newest = max((p.first_seen_at for p in facts), default=NOW)
    decision = decide(facts, under, now=max(newest - timedelta(minutes=minutes), noon(-3650)))
    assert not decision.remove
    assert not decision.trimmed


@law
@given(points(), policies(ceilings=False), st.integers(0, 40))
def test_forged_empty_points_make_no_real_one_removable(
    facts: list[Point], under: EffectivePolicy, many: int
) -> None:
    forged = [
        point(LAST_DAY, id=UUID(int=90_000 + n), number=1000 + n, parts=(part(n, size=0),))
        for n in range(many)
    ]
    before, after = decide(facts, under), decide([*facts, *forged], under)
    real = {p.number for p in facts if retention.standing(p) is not retention.Standing.EMPTY}
    assert numbers(before) & real <= numbers(after)


@settings(max_examples=25, deadline=None)
@given(policies(), st.integers(30, 400), st.sets(st.integers(0, 400), max_size=40))
def test_growth_is_bounded_by_the_policy(
    under: EffectivePolicy, length: int, broken: set[int]
) -> None:
    """Whatever has come and however long it went on, in one pass over all of it."""
    facts = [partial(n) if n in broken else point(n) for n in range(length)]
    kept = retention.decide(facts, under, now=noon(length), zone=CAIRO).keep
    keep = under.retention
    slots = keep.last + keep.daily + keep.weekly + keep.monthly + keep.yearly
    complete = [v for v in kept if v.point.outcome is Outcome.COMPLETE]
    assert len(complete) <= slots + under.floor + 1
    assert len(kept) - len(complete) <= slots + under.floor + 1


def test_a_year_of_daily_passes_never_exceeds_the_bound_nor_meets_the_guard() -> None:
    under = policy(daily=7, weekly=4, monthly=6, floor=3)
    world: list[Point] = []
    for day in range(365):
        decision = retention.decide([*world, point(day)], under, now=noon(day), zone=CAIRO)
        guards.guard(decision, share=0.1)
        world = applied(decision)
        assert len(world) <= 7 + 4 + 6 + 3


@pytest.mark.long
@settings(max_examples=3000, deadline=None)
@given(points(), policies(ceilings=False), st.integers(0, 400))
def test_passes_day_after_day_end_where_one_late_pass_does(
    facts: list[Point], under: EffectivePolicy, wait: int
) -> None:
    """A pass that was skipped loses nothing and keeps nothing for good.

    Not so where a source has a ceiling: a point whose unproven part goes with it counts for the
    floor from then on, if it is still there; else an older one stays in its place.
    """
    left = facts
    for later in range(0, wait, 7):
        left = applied(decide(left, under, now=NOW + timedelta(days=later)))
    end = NOW + timedelta(days=wait)
    assert numbers(decide(left, under, now=end)) <= numbers(decide(facts, under, now=end))


def test_a_thousand_points_are_decided_in_a_moment() -> None:
    facts = days(*range(1000))
    under = policy(last=50, daily=365, weekly=52, monthly=24, yearly=7, floor=10)
    assert len(retention.decide(facts, under, now=noon(1000), zone=CAIRO).keep) < 500


DATES = [0, 1, 2, 9, 30, 31, 33, 58, 59, 60, 61, 90, 180, 181, 364, 365, 366, 500, 501, 502]


@pytest.mark.long
def test_the_counts_agree_with_restics_own(tmp_path: Path) -> None:
    restic = Restic(tmp_path)
    for day in DATES:
        restic.run("backup", "--time", f"{noon(day):%Y-%m-%d %H:%M:%S}", str(tmp_path / "key"))
    for keep in (
        {"last": 3},
        {"daily": 4},
        {"weekly": 5},
        {"monthly": 9},
        {"daily": 2, "yearly": 2},
    ):
        flags = [word for name, n in keep.items() for word in (f"--keep-{name}", str(n))]
        answer = restic.run("forget", "--dry-run", "--json", "--group-by", "", *flags)
        theirs = {item["time"][:10] for item in json.loads(answer)[0]["keep"]}
        decision = retention.decide(
            days(*DATES), policy(**keep), now=noon(502), zone=ZoneInfo("UTC")
        )
        ours = {verdict.point.local_date.isoformat() for verdict in decision.keep}
        assert ours == theirs, keep


class Restic:
    """A repository of its own in a folder, in UTC."""

    def __init__(self, folder: Path) -> None:
        (folder / "key").write_text("of no worth")
        self.environment = {
            "RESTIC_REPOSITORY": str(folder / "repository"),
            "RESTIC_PASSWORD_FILE": str(folder / "key"),
            "RESTIC_CACHE_DIR": str(folder / "cache"),
            "TZ": "UTC",
        }
        self.program = str(Path(sys.executable).parent / "restic")
        self.run("init")

    def run(self, *words: str) -> str:
        argv = [self.program, *words]
        return subprocess.run(
            argv, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout
