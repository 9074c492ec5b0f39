"""Which restore points are kept, which go, and why.

    points + policy + holds + now ─▶ decide ─▶ Decision(one Verdict a point, each with reasons)

Nothing here reads a clock or a database. Order and age rest on the platform's own first-seen
time; a snapshot's time in the repository plays no part. Precedence, strongest first: legal hold,
object lock, a restore under way, a source's age ceiling, floor, pin, plan.
`docs/decisions/retention.md` says how points are counted; `backup.expiry` looks ahead with the
rules of this module, and `backup.guards` stands before what a decision removes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import IntEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from backup.facts import Hold, Part, Point, Why
from backup.policy import EffectivePolicy, Keep
from backup.schedule import CLOCK_TOLERANCE, check_aware
from backup.states import Outcome, Trigger
from strongroom.errors import BadValue
from strongroom.lifecycle import Reason

SAFETY_DAYS = 7  # a safety point is pinned for so long, outside the quota


class NoPolicy(BadValue):
    """Without a policy nothing may be removed."""

    code = "no-policy"
    permanent = True


@dataclass(frozen=True)
class Verdict:
    """What becomes of one point."""

    point: Point
    keep: bool
    reasons: tuple[Reason, ...]  # strongest first, never empty
    without: frozenset[UUID] = frozenset()  # sources that a kept point loses


@dataclass(frozen=True)
class Decision:
    """One pass over one tenant; newest point first."""

    verdicts: tuple[Verdict, ...]

    @property
    def keep(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.keep)

    @property
    def remove(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.keep)

    @property
    def trimmed(self) -> tuple[Verdict, ...]:
        """Kept points that lose the data of a source."""
        return tuple(verdict for verdict in self.keep if verdict.without)


class Standing(IntEnum):
    """What a point counts for; one of lower standing never displaces one above it."""

    FULL = 0  # complete, with data: takes slots, counts for the floor
    PARTIAL = 1  # stays as long as a full one of its slot would
    EMPTY = 2  # not a byte, and nobody said that this is right: the same


@dataclass(frozen=True)
class Tier:
    """The newest point of each of so many periods."""

    code: Why
    count: int
    period: Callable[[Point], Hashable]


@dataclass(frozen=True)
class Setting:
    """What a decision rests on beside the points."""

    policy: EffectivePolicy
    now: datetime
    zone: ZoneInfo
    holds: tuple[Hold, ...] = ()

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()


def decide(
    points: Iterable[Point],
    policy: EffectivePolicy,
    *,
    now: datetime,
    zone: ZoneInfo,
    holds: Collection[Hold] = (),
) -> Decision:
    """Raises NoPolicy and BadValue for facts that make no sense; then nothing may be removed.

    With `now` behind the newest point by more than the tolerance everything is kept: either the
    clock went back or a point is dated ahead, and a person has to say which.
    """
    if not isinstance(policy, EffectivePolicy):
        raise NoPolicy(f"A retention policy was wanted, found {policy!r}; nothing is removed.")
    setting = Setting(policy, now, zone, tuple(holds))
    ordered = newest_first(points)
    check_aware(now)
    if ordered and ordered[0].first_seen_at > now + CLOCK_TOLERANCE:
        return _keep_all(ordered, setting)
    bare = {point.id: without_lapsed(point, setting) for point in ordered}
    reasons = soft_reasons([bare[point.id] for point in ordered], setting)
    return Decision(tuple(_verdict(p, bare[p.id], reasons[p.id], setting) for p in ordered))


def newest_first(points: Iterable[Point]) -> list[Point]:
    """Raises BadValue for a point that appears twice and NaiveTime for a moment without zone."""
    ordered = sorted(points, key=lambda p: (p.first_seen_at, p.number, p.id), reverse=True)
    check_aware(*(moment for point in ordered for moment in _moments(point)))
    if len({point.id for point in ordered}) != len(ordered):
        raise BadValue("Each restore point was wanted once, found one twice; nothing is removed.")
    return ordered


def standing(point: Point) -> Standing:
    """An empty point needs every source's word to count: 400 forged ones displace nothing."""
    if not any(part.size for part in point.parts):
        expected = point.parts and all(part.may_be_empty for part in point.parts)
        return Standing.FULL if expected and _complete(point) else Standing.EMPTY
    return Standing.FULL if _complete(point) else Standing.PARTIAL


def is_verified(point: Point) -> bool:
    """Every source of a full point has a good proof, of whatever age."""
    proven = all(part.verified_on is not None for part in point.parts)
    return standing(point) is Standing.FULL and proven


def tiers(point: Point, keep: Keep) -> tuple[Tier, ...]:
    """The counts that may keep a point of this kind.

    Manual points are counted among themselves, so that pressing a button pushes out nothing.
    """
    if point.kind is Trigger.SAFETY:
        return ()
    if point.kind is Trigger.MANUAL:
        return (Tier(Why.MANUAL, max(keep.last, 1), lambda p: p.id),)
    return (
        Tier(Why.LAST, keep.last, lambda p: p.id),
        Tier(Why.DAILY, keep.daily, lambda p: p.local_date),
        Tier(Why.WEEKLY, keep.weekly, lambda p: p.local_date.isocalendar()[:2]),
        Tier(Why.MONTHLY, keep.monthly, lambda p: (p.local_date.year, p.local_date.month)),
        Tier(Why.YEARLY, keep.yearly, lambda p: p.local_date.year),
    )


def firm_reasons(point: Point, setting: Setting) -> list[Reason]:
    """What no ceiling and no plan can overrule."""
    reasons = [
        Reason(hold.why, {"hold": str(hold.id)})
        for hold in setting.holds
        if hold.points is None or point.id in hold.points
    ]
    if point.locked_until is not None and point.locked_until > setting.now:
        reasons.append(Reason(Why.OBJECT_LOCK, {"until": point.locked_until.isoformat()}))
    if point.wanted_until is not None and point.wanted_until > setting.now:
        reasons.append(Reason(Why.BEING_RESTORED, {"until": point.wanted_until.isoformat()}))
    return reasons


def lapses_at(point: Point, part: Part, policy: EffectivePolicy) -> datetime | None:
    """When the source's age ceiling takes this part, counted from its first storage."""
    days = policy.source_max_age_days.get(part.source)
    if days is None:
        return None
    return (part.stored_at or point.first_seen_at) + timedelta(days=days)


def without_lapsed(point: Point, setting: Setting) -> Point:
    """The point as it counts: with the parts that no ceiling has taken."""
    if not setting.policy.source_max_age_days:
        return point
    parts = []
    for part in point.parts:
        end = lapses_at(point, part, setting.policy)
        if end is None or end > setting.now:
            parts.append(part)
    return replace(point, parts=tuple(parts))


def pinned_until(point: Point) -> datetime | None:
    """A safety point is pinned even if nobody wrote it down."""
    if point.pinned_until is None and point.kind is Trigger.SAFETY:
        return point.first_seen_at + timedelta(days=SAFETY_DAYS)
    return point.pinned_until


def too_old(point: Point, setting: Setting) -> bool:
    """Counted in local days from the day it was first seen: kept through day `max_age_days`."""
    limit = setting.policy.retention.max_age_days
    seen = point.first_seen_at.astimezone(setting.zone).date()
    return limit is not None and (setting.today - seen).days > limit


def is_ahead(point: Point, setting: Setting) -> bool:
    """Its day lies past tomorrow, though it was seen already: kept, flagged, counted nowhere."""
    return point.local_date > setting.today + timedelta(days=1)


def soft_reasons(bare: Sequence[Point], setting: Setting) -> dict[UUID, list[Reason]]:
    """Floor, pin and plan for points newest first, each as it counts."""
    counted = [p for p in bare if p.parts and not is_ahead(p, setting)]
    found: dict[UUID, list[Reason]] = {point.id: [] for point in bare}
    for point in bare:
        if is_ahead(point, setting):
            params = {"local_date": point.local_date.isoformat()}
            found[point.id].append(Reason(Why.FUTURE_DATED, params))
    for id, reason in _floor(counted, setting.policy.floor):
        found[id].append(reason)
    for point in bare:
        end = pinned_until(point)
        if end is not None and end > setting.now:
            found[point.id].append(Reason(Why.PINNED, {"until": end.isoformat()}))
    for id, reason in _plan(counted, setting):
        found[id].append(reason)
    return found


def source_copies(counted: Sequence[Point], floor: int) -> list[UUID]:
    """The snapshots that no partial point may take away: of each source its newest of all, and
    its newest `floor` verified ones. Snapshots with files missing are counted for themselves, so
    that they displace no whole one."""
    copies: list[UUID] = []
    verified: dict[tuple[UUID, bool], set[UUID]] = {}
    for point in counted:
        if point.kind is Trigger.SAFETY:
            continue
        for part in point.parts:
            if part.retired or not (part.size or part.may_be_empty):
                continue
            first = (part.source, part.whole) not in verified
            proven = verified.setdefault((part.source, part.whole), set())
            wanted = part.verified_on is not None and len(proven | {part.snapshot}) <= floor
            if wanted:
                proven.add(part.snapshot)
            if first or wanted:
                copies.append(part.snapshot)
    return list(dict.fromkeys(copies))


def taken(world: Sequence[Point], tier: Tier) -> dict[UUID, Reason]:
    """The points of a world, newest first, that a tier keeps.

    As restic counts: periods without a point do not count, and while the tier is not full the
    oldest point stays too, so that a young tenant's first point is there for the long tiers.
    """
    seen: set[Hashable] = set()
    kept = {}
    for point in world:
        if len(seen) >= tier.count:
            break
        period = tier.period(point)
        if period not in seen or point is world[-1]:
            params = {"place": len(seen | {period}), "of": tier.count}
            kept[point.id] = Reason(tier.code, params)
        seen.add(period)
    return kept


def world_of(counted: Sequence[Point], point: Point) -> list[Point]:
    """Those a point is counted among: its own kind, and none of a lower standing than its own."""
    mine = standing(point)
    return [p for p in counted if p.kind is point.kind and standing(p) <= mine]


def _moments(point: Point) -> list[datetime]:
    stored = [part.stored_at for part in point.parts]
    ends = [point.pinned_until, point.locked_until, point.wanted_until]
    given = [point.first_seen_at, *ends, *stored]
    return [moment for moment in given if moment is not None]


def _complete(point: Point) -> bool:
    return point.outcome is Outcome.COMPLETE


def _floor(counted: Sequence[Point], floor: int) -> list[tuple[UUID, Reason]]:
    """A safety point may hold the very damage that a restore is to undo: it counts for nothing."""
    found = []
    full = [p for p in counted if standing(p) is Standing.FULL and p.kind is not Trigger.SAFETY]
    verified = [p for p in full if is_verified(p)][:floor]
    for place, point in enumerate(verified, start=1):
        found.append((point.id, Reason(Why.FLOOR, {"place": place, "of": floor})))
    found += [(point.id, Reason(Why.NEWEST_COMPLETE)) for point in full[:1]]
    holders = _partial_holders(counted)
    for snapshot in source_copies(counted, floor):
        if snapshot in holders:
            found.append((holders[snapshot], Reason(Why.SOURCE_COPY, {"snapshot": str(snapshot)})))
    return found


def _partial_holders(counted: Sequence[Point]) -> dict[UUID, UUID]:
    """By snapshot, the newest of the partial points that share it: that one is enough."""
    holders: dict[UUID, UUID] = {}
    for point in counted:
        if standing(point) is Standing.PARTIAL and point.kind is not Trigger.SAFETY:
            for part in point.parts:
                holders.setdefault(part.snapshot, point.id)
    return holders


def _plan(counted: Sequence[Point], setting: Setting) -> list[tuple[UUID, Reason]]:
    found = []
    levels = {point.id: standing(point) for point in counted}
    for kind in (Trigger.SCHEDULE, Trigger.MANUAL):
        for level in Standing:
            world = [p for p in counted if p.kind is kind and levels[p.id] <= level]
            judged = {p.id for p in world if levels[p.id] is level and not too_old(p, setting)}
            for tier in tiers(world[0], setting.policy.retention) if judged else ():
                found += [item for item in taken(world, tier).items() if item[0] in judged]
    return found


def _verdict(point: Point, bare: Point, soft: list[Reason], setting: Setting) -> Verdict:
    firm = firm_reasons(point, setting)
    if firm:
        return Verdict(point, keep=True, reasons=(*firm, *soft))
    lapsed = [part.source for part in point.parts if part not in bare.parts]
    ceilings = [_ceiling(source, setting) for source in lapsed]
    if not point.parts:
        return _record(point, soft, setting)
    if not bare.parts:
        return Verdict(point, keep=False, reasons=tuple(ceilings))
    if soft:
        return Verdict(point, True, (*ceilings, *soft), without=frozenset(lapsed))
    return Verdict(point, keep=False, reasons=(_why_it_goes(point, setting), *ceilings))


def _record(point: Point, soft: list[Reason], setting: Setting) -> Verdict:
    """No data, so nothing to count or guard; the row goes by age alone."""
    if soft or not too_old(point, setting):
        return Verdict(point, keep=True, reasons=(*soft, Reason(Why.RECORD)))
    return Verdict(point, keep=False, reasons=(_why_it_goes(point, setting),))


def _why_it_goes(point: Point, setting: Setting) -> Reason:
    end = pinned_until(point)
    if point.kind is Trigger.SAFETY and end is not None:
        return Reason(Why.PIN_ENDED, {"until": end.isoformat()})
    if too_old(point, setting):
        return Reason(Why.MAX_AGE, {"days": setting.policy.retention.max_age_days or 0})
    return Reason(Why.NOT_IN_PLAN)


def _ceiling(source: UUID, setting: Setting) -> Reason:
    days = setting.policy.source_max_age_days[source]
    return Reason(Why.SOURCE_CEILING, {"source": str(source), "days": days})


def _keep_all(ordered: Sequence[Point], setting: Setting) -> Decision:
    newest = ordered[0].first_seen_at
    params = {"now": setting.now.isoformat(), "newest": newest.isoformat()}
    verdicts = []
    for point in ordered:
        reasons = [*firm_reasons(point, setting), Reason(Why.CLOCK_BEHIND, params)]
        if point.first_seen_at > setting.now + CLOCK_TOLERANCE:
            ahead = {"local_date": point.local_date.isoformat()}
            reasons.append(Reason(Why.FUTURE_DATED, ahead))
        verdicts.append(Verdict(point, keep=True, reasons=tuple(reasons)))
    return Decision(tuple(verdicts))
