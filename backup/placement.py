"""Which regions a tenant's copies lie in: plain values in, a choice or a refusal with reasons out.

Two rules. **Countries**: a copy lies in one of them or nowhere; this is what law and contracts
say, so it is asked again before everything that is written (`placing`). **Distance**: the copies
that are counted lie at least so far from one another. A further copy in between does no harm, so
distance decides what is chosen and forbids no copy that is there.

A region that does not say its country, or its coordinates, is never taken where the rule needs
them. Distances are great circles on a sphere; the real ones differ by half a percent at most.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from backup.policy import Placement
from strongroom.errors import BadValue

EARTH_KM = 6371.0088  # mean radius, IUGG


@dataclass(frozen=True)
class Place:
    """A region, as far as placement looks at it."""

    id: UUID
    name: str
    rank: int  # lower comes first
    open: bool = True  # takes tenants it does not have yet
    country: str | None = None
    position: tuple[float, float] | None = None  # degrees north, degrees east


@dataclass(frozen=True)
class Excluded:
    """A region that was not taken, and the rule that spoke against it."""

    region: str
    code: str  # "closed", "country-not-said", "country", "position-not-said" or "too-near"
    found: str = ""  # the country; the region it is too near to, and the distance

    def __str__(self) -> str:
        match self.code:
            case "closed":
                return f"{self.region} is closed"
            case "country-not-said":
                return f"{self.region} does not say its country"
            case "country":
                return f"{self.region} lies in {self.found}"
            case "position-not-said":
                return f"{self.region} does not say its coordinates"
        return f"{self.region} is {self.found}"


class TooFewRegions(BadValue):
    """No set of regions keeps all rules; `params["excluded"]` has the reasons, by region."""

    code = "too-few-regions"


def choose(
    places: Collection[Place], *, count: int, rule: Placement, have: Collection[UUID] = ()
) -> list[Place]:
    """`count` regions that keep every rule, those the tenant has and low ranks first.

    Whenever such a set exists, one is found. Raises TooFewRegions. Pure.
    """
    excluded, fitting = [], []
    for place in sorted(places, key=lambda p: (p.id not in have, p.rank, p.name)):
        reason = _alone(place, rule, apart=count > 1, had=place.id in have)
        if reason is None:
            fitting.append(place)
        else:
            excluded.append(reason)
    found = next(_sets(fitting, count, rule.least_km), None)
    if found is None:
        raise _refusal(fitting, excluded, count=count, rule=rule)
    return found


def may_lie(place: Place, rule: Placement) -> Excluded | None:
    """Why nothing may be written there; None if it may. Pure."""
    if rule.countries is None:
        return None
    if place.country is None:
        return Excluded(place.name, "country-not-said")
    if place.country not in rule.countries:
        return Excluded(place.name, "country", place.country)
    return None


def narrowed(rule: Placement, keep_in: Collection[str] | None) -> Placement:
    """The rule with what law or contract says of the tenant; never wider. Raises BadValue. Pure."""
    if keep_in is None:
        return rule
    left = set(keep_in) if rule.countries is None else set(keep_in) & set(rule.countries)
    if not left:
        raise BadValue(
            f"The tenant's data may lie in {_listed(keep_in)} only, and the plan's copies in "
            f"{_listed(rule.countries or ())}. Choose another plan.",
            code="nowhere-allowed",
        )
    return Placement(rule.least_km, tuple(left))


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The great circle between two positions in degrees (haversine)."""
    north, east = map(math.radians, one)
    north_2, east_2 = map(math.radians, other)
    a = math.sin((north_2 - north) / 2) ** 2
    a += math.cos(north) * math.cos(north_2) * math.sin((east_2 - east) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(a)))


def nearest_first(places: Collection[Place]) -> list[Place]:
    """From the preferred region outwards; those of unknown position last, by rank. Pure."""
    ranked = sorted(places, key=lambda p: (p.rank, p.name))
    home = ranked[0].position if ranked else None
    if home is None:
        return ranked
    return sorted(
        ranked,
        key=lambda p: (p != ranked[0], kilometres(home, p.position) if p.position else math.inf),
    )


def _alone(place: Place, rule: Placement, *, apart: bool, had: bool) -> Excluded | None:
    """What speaks against a region whatever the others are."""
    if not place.open and not had:
        return Excluded(place.name, "closed")
    if apart and rule.least_km and place.position is None:
        return may_lie(place, rule) or Excluded(place.name, "position-not-said")
    return may_lie(place, rule)


def _sets(
    places: Sequence[Place], count: int, least_km: int, taken: tuple[Place, ...] = ()
) -> Iterator[list[Place]]:
    """All sets of so many that are far enough apart, in the order of preference."""
    if len(taken) == count:
        yield list(taken)
        return
    for number, place in enumerate(places):
        if len(places) - number < count - len(taken):
            return
        left = [p for p in places[number + 1 :] if not _too_near(place, p, least_km)]
        yield from _sets(left, count, least_km, (*taken, place))


def _too_near(one: Place, other: Place, least_km: int) -> bool:
    if not least_km or one.position is None or other.position is None:
        return False  # where distance counts, only regions with a position come this far
    return kilometres(one.position, other.position) < least_km


def _refusal(
    fitting: Sequence[Place], excluded: Sequence[Excluded], *, count: int, rule: Placement
) -> TooFewRegions:
    most: list[Place] = []
    for fewer in range(min(count - 1, len(fitting)), 0, -1):
        most = next(_sets(fitting, fewer, rule.least_km), [])
        if most:
            break
    near = [_nearness(place, most, rule) for place in fitting if place not in most]
    reasons = [*excluded, *near]
    said = "; ".join(map(str, reasons)) or "there are no others"
    return TooFewRegions(
        f"The plan keeps copies in {count} regions{_rule_said(rule)}. "
        f"Only {len(most)} can be taken: {said}. Add one with `strongroom region add`, say where "
        "regions lie with `strongroom region place`, or choose another plan.",
        excluded={each.region: each.code for each in reasons},
        countries=list(rule.countries or ()),
        least_km=rule.least_km,
    )


def _nearness(place: Place, taken: Sequence[Place], rule: Placement) -> Excluded:
    other = next((p for p in taken if _too_near(place, p, rule.least_km)), None)
    if other is None or place.position is None or other.position is None:
        return Excluded(place.name, "too-near", "too near to the others")
    km = kilometres(place.position, other.position)
    return Excluded(place.name, "too-near", f"{km:.0f} km from {other.name}")


def _rule_said(rule: Placement) -> str:
    said = "" if rule.countries is None else f" in {_listed(rule.countries)}"
    return said + (f", at least {rule.least_km} km apart" if rule.least_km else "")


def _listed(countries: Collection[str]) -> str:
    return ", ".join(sorted(countries)) or "no country"
