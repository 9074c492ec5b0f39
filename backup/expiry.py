"""When each restore point will go, as far as that can be known today.

The look ahead supposes that the schedule goes on as it should: one complete, verified point of
every source a local day, the same policy, the same holds, no more manual points. It is what
pages show and what object locks are set by; the removal itself rests on `retention.decide` alone.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backup import retention
from backup.facts import Hold, Point, Why
from backup.policy import EffectivePolicy
from backup.retention import Decision, Setting, Standing, Tier, Verdict
from backup.states import Trigger

DAY = timedelta(days=1)
NEVER = date.max  # nothing in sight ends it
FURTHEST_YEAR = 3000


@dataclass(frozen=True)
class Expiry:
    """The first local day on which a pass would remove the point."""

    on: date | None  # None: not while things stay as they are
    because: Why  # what keeps it until then, or takes it then


def expiries(
    points: Iterable[Point],
    policy: EffectivePolicy,
    *,
    now: datetime,
    zone: ZoneInfo,
    holds: Collection[Hold] = (),
) -> dict[UUID, Expiry]:
    """By point id; raises what `retention.decide` raises."""
    decision = retention.decide(points, policy, now=now, zone=zone, holds=holds)
    return after(decision, Setting(policy, now, zone, tuple(holds)))


def after(decision: Decision, setting: Setting) -> dict[UUID, Expiry]:
    """By point id, for a decision that was made with this setting."""
    bare = [retention.without_lapsed(v.point, setting) for v in decision.verdicts]
    counted = [p for p in bare if p.parts and not retention.is_ahead(p, setting)]
    full = [p for p in counted if p.kind is not Trigger.SAFETY and retention.is_verified(p)]
    verified = {point.id: place for place, point in enumerate(full)}
    ahead = _Ahead(setting, counted, verified, _next_day(counted, setting))
    return {
        verdict.point.id: _expiry(verdict, point, ahead)
        for verdict, point in zip(decision.verdicts, bare, strict=True)
    }


@dataclass(frozen=True)
class _World:
    """The points that some are counted among, newest first, as one tier sees them."""

    places: Mapping[UUID, int]  # by point
    first: Mapping[Hashable, int]  # by period, the place of its newest point
    newer: Sequence[int]  # by place, how many periods the points before it have


@dataclass(frozen=True)
class _Ahead:
    """What the look ahead rests on."""

    setting: Setting
    counted: Sequence[Point]  # newest first, as retention counts them
    verified: Mapping[UUID, int]  # of those that count for the floor, the place by point
    next_day: date  # of the next point to come
    _worlds: dict[tuple[Trigger, Standing], list[Point]] = field(default_factory=dict)
    _seen: dict[tuple[Trigger, Standing, Why], _World] = field(default_factory=dict)

    def world_of(self, point: Point, tier: Tier) -> _World:
        """As retention has it; the same for all points of a kind and standing."""
        alike = (point.kind, retention.standing(point))
        if alike not in self._worlds:
            self._worlds[alike] = retention.world_of(self.counted, point)
        if (*alike, tier.code) not in self._seen:
            self._seen[*alike, tier.code] = _seen_by(tier, self._worlds[alike])
        return self._seen[*alike, tier.code]


def _seen_by(tier: Tier, world: Sequence[Point]) -> _World:
    first: dict[Hashable, int] = {}
    newer = []
    for place, point in enumerate(world):
        newer.append(len(first))
        first.setdefault(tier.period(point), place)
    return _World({point.id: place for place, point in enumerate(world)}, first, newer)


def _expiry(verdict: Verdict, point: Point, ahead: _Ahead) -> Expiry:
    codes = [Why(reason.code) for reason in verdict.reasons]
    if not verdict.keep:
        return Expiry(ahead.setting.today, codes[0])
    for endless in (Why.CLOCK_BEHIND, Why.LEGAL_HOLD, Why.FUTURE_DATED):
        if endless in codes:
            return Expiry(None, endless)
    if Why.RECORD in codes:
        end, because = _old_on(point, ahead.setting), Why.MAX_AGE
    else:
        end, because = max(_ends(verdict, point, ahead), default=(date.min, codes[0]))
    lapse = _lapsed_on(point, ahead.setting)
    if lapse < end:
        end, because = lapse, Why.SOURCE_CEILING
    if Why.OBJECT_LOCK in codes and point.locked_until is not None:
        unlocked = _local(point.locked_until, ahead.setting)
        if unlocked > end:
            end, because = unlocked, Why.OBJECT_LOCK
    if Why.BEING_RESTORED in codes and point.wanted_until is not None:
        free = _local(point.wanted_until, ahead.setting)
        if free > end:
            end, because = free, Why.BEING_RESTORED
    return Expiry(None if end == NEVER else end, because)


def _ends(verdict: Verdict, point: Point, ahead: _Ahead) -> list[tuple[date, Why]]:
    """For each rule that keeps the point, the day on which it no longer does."""
    ends = []
    old_on = _old_on(point, ahead.setting)
    plan = {tier.code: tier for tier in retention.tiers(point, ahead.setting.policy.retention)}
    for code in {Why(reason.code) for reason in verdict.reasons}:
        if code in plan:
            end = _tier_end(point, plan[code], ahead)
            ends.append((end, code) if end <= old_on else (old_on, Why.MAX_AGE))
        elif code is Why.FLOOR:
            ends.append((_floor_end(point, ahead), code))
        elif code is Why.NEWEST_COMPLETE:
            ends.append((ahead.next_day, code))
        elif code is Why.SOURCE_COPY:  # at the latest
            ends.append((ahead.next_day + DAY * (ahead.setting.policy.floor - 1), code))
        elif code is Why.PINNED:
            pinned = retention.pinned_until(point)
            ends.append((_local(pinned, ahead.setting) if pinned else date.min, code))
    return ends


def _tier_end(point: Point, tier: Tier, ahead: _Ahead) -> date:
    """The day on which enough newer periods have a point, or the point's own has a newer one."""
    if point.kind is not Trigger.SCHEDULE:
        return NEVER
    world = ahead.world_of(point, tier)
    place = world.places[point.id]
    mine, oldest = tier.period(point), place == len(world.places) - 1
    count = world.newer[place]
    day = ahead.next_day
    while day.year < FURTHEST_YEAR:
        period = tier.period(replace(point, id=UUID(int=day.toordinal()), local_date=day))
        count += world.first.get(period, place) >= place  # no newer point has it
        if count >= tier.count or (period == mine and not oldest):
            return day
        day = _next_period(day, tier.code)
    return NEVER


def _next_period(day: date, code: Why) -> date:
    if code is Why.WEEKLY:
        return day + DAY * (7 - day.weekday())
    if code is Why.MONTHLY:
        return (day.replace(day=1) + DAY * 31).replace(day=1)
    if code is Why.YEARLY:
        return date(day.year + 1, 1, 1)
    return day + DAY


def _floor_end(point: Point, ahead: _Ahead) -> date:
    place = ahead.verified[point.id]
    return ahead.next_day + DAY * (ahead.setting.policy.floor - place - 1)


def _next_day(counted: Sequence[Point], setting: Setting) -> date:
    newest = max((p.local_date for p in counted if p.kind is Trigger.SCHEDULE), default=date.min)
    return max(setting.today, newest + DAY)


def _old_on(point: Point, setting: Setting) -> date:
    limit = setting.policy.retention.max_age_days
    seen = _local(point.first_seen_at, setting)
    return NEVER if limit is None else seen + DAY * (limit + 1)


def _lapsed_on(point: Point, setting: Setting) -> date:
    """The day on which the last of its sources has reached its ceiling."""
    ends = [retention.lapses_at(point, part, setting.policy) for part in point.parts]
    if not ends or None in ends:
        return NEVER
    return _local(max(end for end in ends if end is not None), setting)


def _local(moment: datetime, setting: Setting) -> date:
    return moment.astimezone(setting.zone).date()
