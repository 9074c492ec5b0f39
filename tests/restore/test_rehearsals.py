"""The real chooser, with a thousand tenants over months: who is drilled when, and from where."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from uuid import UUID

import pytest

from restore.rehearsed import rehearsals
from restore.rehearsed.rehearsals import RETRY, Candidate, Choice, Class, Day, Site

START = datetime(2026, 3, 1, tzinfo=UTC)
A, B, C = UUID(int=101), UUID(int=102), UUID(int=103)
LOOK = timedelta(minutes=4)  # between two looks of the dispatcher
LONGEST = timedelta(minutes=40)  # that a drill takes
PROBE = timedelta(hours=1)  # between two tries of a drill whose region is away


class Known(Candidate):
    """The same, reckoned once: a thousand are sorted at each of twenty thousand looks."""

    proven_at = cached_property(Candidate.proven_at.fget)  # type: ignore[arg-type, assignment]
    pressing = cached_property(Candidate.pressing.fget)  # type: ignore[arg-type, assignment]
    never_proven = cached_property(Candidate.never_proven.fget)  # type: ignore[arg-type, assignment]
    troubled = cached_property(Candidate.troubled.fget)  # type: ignore[arg-type, assignment]


@dataclass
class World:
    """Tenants with sites, and drills that take their time, fail, or wait for a region."""

    candidates: dict[UUID, Candidate]
    budget: int
    chance: random.Random
    failing: float = 0.0
    gone: tuple[UUID, datetime, datetime] | None = None  # region, from, until
    now: datetime = START
    day: Day = field(default_factory=Day)
    under_way: list[tuple[datetime, Choice]] = field(default_factory=list)
    stuck: dict[UUID, Choice] = field(default_factory=dict)  # by region
    made: list[tuple[datetime, Choice]] = field(default_factory=list)
    oldest: dict[UUID, timedelta] = field(default_factory=dict)  # when the next one began
    failures: Counter[UUID] = field(default_factory=Counter)
    in_trouble: set[UUID] = field(default_factory=set)

    def run(self, days: int) -> None:
        until = self.now + timedelta(days=days)
        while self.now < until:
            self._end_drills()
            if self.now.date() != (self.now - LOOK).date():
                self.day = replace(self.day, turns=0, repeats=0)
            for choice in rehearsals.choose(
                self._asked(), budget=self.budget, day=self.day, now=self.now, away=self.stuck
            ):
                self._begin(choice)
            self.now += LOOK

    def _asked(self) -> list[Candidate]:
        """Without an open slot only the troubled could be chosen: the others need not be sorted."""
        turns = rehearsals.open_slots(
            self.budget, planned=self.day.turns, last=self.day.last_turn, now=self.now
        )
        known = self.candidates.values()
        return list(known) if turns else [self.candidates[each] for each in self.in_trouble]

    def _begin(self, choice: Choice) -> None:
        age = self.now - self.candidates[choice.tenant].proven_at
        self.oldest[choice.tenant] = max(age, self.oldest.get(choice.tenant, age))
        self.made.append((self.now, choice))
        if choice.by is Class.TURN:
            self.day = replace(self.day, turns=self.day.turns + 1, last_turn=self.now)
        else:
            self.day = replace(self.day, repeats=self.day.repeats + 1, last_repeat=self.now)
        self._change(choice, waiting=True, planned_at=self.now)
        if self._is_gone(choice.site.region):
            self.stuck[choice.site.region] = choice
            self.under_way.append((self.now + PROBE, choice))
        else:
            took = timedelta(seconds=self.chance.uniform(20, LONGEST.total_seconds()))
            self.under_way.append((self.now + took, choice))

    def _end_drills(self) -> None:
        over = [each for each in self.under_way if each[0] <= self.now]
        self.under_way = [each for each in self.under_way if each[0] > self.now]
        for at, choice in over:
            if self._is_gone(choice.site.region):
                self.under_way.append((at + PROBE, choice))
                continue
            self.stuck.pop(choice.site.region, None)
            if self.chance.random() < self.failing:
                self.failures[choice.tenant] += 1
                self._change(choice, waiting=False, failed=True, not_before=at + RETRY)
            else:
                self._change(choice, waiting=False, failed=False, passed_at=at, not_before=None)

    def _change(self, choice: Choice, **values: object) -> None:
        known = self.candidates[choice.tenant]
        sites = tuple(
            replace(site, **values) if site.repository == choice.site.repository else site  # type: ignore[arg-type]
            for site in known.sites
        )
        self.candidates[choice.tenant] = changed = replace(known, sites=sites)
        (self.in_trouble.add if changed.troubled else self.in_trouble.discard)(choice.tenant)

    def _is_gone(self, region: UUID) -> bool:
        return self.gone is not None and (
            region == self.gone[0] and self.gone[1] <= self.now < self.gone[2]
        )


def tenants(
    count: int, *, every_days: int = 20, alone: int = 0, a_day: int | None = None
) -> dict[UUID, Candidate]:
    """`alone` of them are in one region only; so many began each day, or all a day ago."""
    made = {}
    for number in range(count):
        began = START + timedelta(days=number / a_day if a_day else -1)
        regions = (A,) if number < alone else (A, B)
        sites = tuple(
            Site(UUID(int=10_000 + 10 * number + place), region, began)
            for place, region in enumerate(regions)
        )
        tenant = UUID(int=number + 1)
        made[tenant] = Known(tenant, every_days, sites)
    return made


def test_of_a_thousand_tenants_with_fifty_a_day_no_proof_is_older_than_twenty_days() -> None:
    """Failures, and a region away for a week, are in it.

    They came fifty a day. Counted when the next drill begins; the drill itself then takes its
    minutes. The outage costs each one turn, half an hour: that of the drill that found it. With one
    region only, and that away, a proof grows older by the outage and the day it takes to catch up.
    """
    turn = timedelta(days=1) / 50 + LOOK
    gone = (A, START + timedelta(days=30), START + timedelta(days=37))
    alone = {UUID(int=number + 1) for number in range(60)}
    world = World(tenants(1000, alone=60, a_day=50), 50, random.Random(7), failing=0.01, gone=gone)

    world.run(days=70)

    assert len(world.candidates) == len(world.oldest) == 1000
    assert sum(world.failures.values()) > 20
    sound = {t for t in world.oldest if not world.failures[t] and t not in alone}
    assert max(world.oldest[t] for t in sound) <= timedelta(days=20) + turn
    assert max(world.oldest[t] for t in alone if not world.failures[t]) <= timedelta(days=28)
    # One that failed is tried elsewhere within a day, and there again after one.
    assert max(world.oldest.values()) <= timedelta(days=28)
    turned = [t for t in world.failures if t not in alone]
    assert max(world.oldest[t] for t in turned) <= timedelta(days=22)


def test_every_region_has_its_turn_and_no_day_has_more_than_its_share() -> None:
    world = World(tenants(300), 15, random.Random(8), failing=0.02)

    world.run(days=90)

    by_tenant: dict[UUID, list[UUID]] = {}
    for _, choice in world.made:
        by_tenant.setdefault(choice.tenant, []).append(choice.site.region)
    for tenant, regions in by_tenant.items():
        assert set(regions) == {A, B}, tenant
        if not world.failures[tenant]:
            assert all(one != other for one, other in pairwise(regions))
    days = Counter((at.date(), choice.by) for at, choice in world.made)
    assert max(n for (_, by), n in days.items() if by is Class.TURN) == 15
    assert max(n for (_, by), n in days.items() if by is Class.REPEAT) <= 2


def test_they_are_spread_over_the_day_and_what_was_missed_comes_no_faster_than_thrice() -> None:
    world = World(tenants(500), 24, random.Random(9))
    world.now = START + timedelta(hours=12)  # the dispatcher was away since midnight

    world.run(days=2)

    turns = [at for at, _ in world.made]
    gaps = [later - one for one, later in pairwise(turns)]
    assert min(gaps) >= timedelta(minutes=20)
    assert sum(at.date() == (START + timedelta(days=1)).date() for at in turns) == 24


def test_what_a_region_that_is_away_holds_up_is_one_drill_of_it() -> None:
    gone = (A, START + timedelta(days=3), START + timedelta(days=10))
    world = World(tenants(200, every_days=10), 20, random.Random(10), gone=gone)

    world.run(days=20)

    meanwhile = [c for at, c in world.made if gone[1] <= at < gone[2]]
    assert sum(choice.site.region == A for choice in meanwhile) <= 2
    assert sum(choice.site.region == B for choice in meanwhile) >= 7 * 20 - 2
    after = [c for at, c in world.made if at >= gone[2] + PROBE]
    assert sum(choice.site.region == A for choice in after) > len(after) / 2


def test_trouble_with_many_costs_the_others_no_turn() -> None:
    known = tenants(200, every_days=10)
    world = World(known, 20, random.Random(11))
    broken = [UUID(int=number) for number in range(1, 101)]
    for tenant in broken:
        sites = tuple(replace(site, failed=True) for site in known[tenant].sites)
        known[tenant] = replace(known[tenant], sites=sites)
    world.in_trouble.update(broken)

    world.run(days=16)

    sound = set(known) - set(broken)
    assert max(world.oldest[tenant] for tenant in sound) <= timedelta(days=10)
    assert {c.tenant for _, c in world.made} >= set(broken)  # with the turns nobody else needed


def test_who_runs_out_first_is_first_whatever_the_policy_says() -> None:
    def one(number: int, every: int, days: int) -> Candidate:
        site = Site(UUID(int=number), A, START, passed_at=START - timedelta(days=days))
        return Candidate(UUID(int=number), every, (site,))

    chosen = rehearsals.choose(
        [one(1, 90, 80), one(2, 14, 13), one(3, 14, 3)], budget=2880 * 3, day=Day(), now=START
    )

    assert [each.tenant.int for each in chosen] == [2]


@pytest.mark.parametrize(
    ("waiting_in", "away", "expected"), [(A, (), None), (A, (A,), B), (B, (A,), None)]
)
def test_one_drill_at_a_time_unless_it_waits_for_a_region(
    waiting_in: UUID, away: tuple[UUID, ...], expected: UUID | None
) -> None:
    sites = tuple(
        Site(UUID(int=n), region, START - timedelta(days=9), waiting=region == waiting_in)
        for n, region in enumerate((A, B))
    )
    found = rehearsals.choose(
        [Candidate(UUID(int=5), 10, sites)], budget=1, day=Day(), now=START, away=away
    )
    assert [each.site.region for each in found] == ([] if expected is None else [expected])


def test_the_budget_fits_all_policies_with_room() -> None:
    assert rehearsals.budget_for([]) == 1
    assert rehearsals.budget_for([90]) == 1
    assert rehearsals.budget_for([20] * 1000) == 63
    assert rehearsals.budget_for([14] * 100 + [90] * 900) == 22


def test_a_budget_by_policy_keeps_every_tenant_within_its_own_time() -> None:
    known = tenants(60, every_days=14)
    for number in range(30):
        tenant = UUID(int=number + 1)
        known[tenant] = replace(known[tenant], every_days=30)
    budget = rehearsals.budget_for(each.every_days for each in known.values())
    world = World(known, budget, random.Random(12))

    world.run(days=60)

    for tenant, age in world.oldest.items():
        assert age <= timedelta(days=known[tenant].every_days), tenant


def test_a_clock_that_was_ahead_stops_nothing() -> None:
    ahead = START + timedelta(days=900)
    assert rehearsals.open_slots(50, planned=0, last=ahead, now=START) == 1
