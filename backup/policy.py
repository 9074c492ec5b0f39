"""The effective policy: what a tenant's plan comes to, as the backup part knows it.

A policy is data that was checked once. Its parts refuse nonsense when they are made, so a
policy that exists can be acted on: in particular there is no empty retention. Plans are written
by people in YAML or JSON and read by the same parser as the rows of the database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from enum import StrEnum
from uuid import UUID

from strongroom.errors import BadValue

MOST_DAYS = 36_525  # a century; beyond it a number of days is a slip of the finger
MOST_POINTS = 10_000
MOST_KM = 20_000  # no two places on earth are further apart
MOST_LOCK_DAYS = 3660
MOST_BYTES = 2**60
COUNTRY = re.compile(r"[A-Z]{2}")


class BadPolicy(BadValue):
    """A policy holds a value that cannot be used; `params` name field, found and wanted."""

    code = "bad-policy"


class Weekday(StrEnum):
    """The day of the weekly schedule, in the order of `date.weekday()`."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"

    @property
    def number(self) -> int:
        """0 for Monday to 6 for Sunday, as `date.weekday()` counts."""
        return list(Weekday).index(self)


@dataclass(frozen=True)
class Keep:
    """How many points the plan keeps; `docs/decisions/retention.md` says how they are counted."""

    last: int = 0  # newest points, whatever their day
    daily: int = 0  # newest point of so many local days that have one
    weekly: int = 0  # the same for ISO weeks (Monday to Sunday)
    monthly: int = 0  # the same for calendar months
    yearly: int = 0  # the same for calendar years
    max_age_days: int | None = None  # older goes, though a count would keep it; None: no limit

    def __post_init__(self) -> None:
        for name in ("last", "daily", "weekly", "monthly", "yearly"):
            _whole(f"retention.{name}", getattr(self, name), 0, MOST_POINTS)
        if self.max_age_days is not None:
            _whole("retention.max_age_days", self.max_age_days, 1, MOST_DAYS)
        if not any((self.last, self.daily, self.weekly, self.monthly, self.yearly)):
            raise _bad(
                "retention",
                found="no count above zero",
                wanted="at least one of last, daily, weekly, monthly, yearly above zero"
                " (max_age_days says when points go, not which ones stay)",
            )


@dataclass(frozen=True)
class Verification:
    """How often each copy is proven; every figure is the longest wait in days."""

    structure_every_days: int  # `check`: the repository hangs together
    data_every_days: int  # everything has been read back once within this time
    drill_every_days: int  # really restored and compared

    def __post_init__(self) -> None:
        for item in fields(self):
            _whole(f"verification.{item.name}", getattr(self, item.name), 1, MOST_DAYS)


@dataclass(frozen=True)
class Placement:
    """Where copies may lie; says nothing about how many there are."""

    least_km: int = 0  # between any two of the copies that are counted
    countries: tuple[str, ...] | None = None  # ISO 3166-1 alpha-2, in order; None: any

    def __post_init__(self) -> None:
        _whole("placement.least_km", self.least_km, 0, MOST_KM)
        if self.countries is None:
            return
        for code in self.countries:
            if not isinstance(code, str) or not COUNTRY.fullmatch(code):
                wanted = "countries of ISO 3166 in two capitals, like AE"
                raise _bad("placement.countries", found=_shown(code), wanted=wanted)
        if not self.countries:
            wanted = "at least one country; leave it out if copies may lie anywhere"
            raise _bad("placement.countries", found="none", wanted=wanted)
        object.__setattr__(self, "countries", tuple(sorted(set(self.countries))))

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {"least_km": self.least_km}
        return found if self.countries is None else found | {"countries": list(self.countries)}


@dataclass(frozen=True)
class EffectivePolicy:
    """Everything about one tenant that decides when to back up, what to prove, what to keep."""

    daily_at: time  # wall clock in the tenant's zone
    weekly_on: Weekday  # local weekday of the full re-read
    weekly_at: time  # wall clock in the tenant's zone
    jitter_minutes: int  # window after the times above, over which tenants are spread
    retention: Keep
    regions: int  # copies, the first one included
    verification: Verification
    floor: int  # this many of the newest verified points never go
    rpo_hours: int  # with no newer complete point than this, the tenant is overdue
    source_max_age_days: Mapping[UUID, int] = field(default_factory=dict)  # ceilings by source
    placement: Placement = field(default_factory=Placement)
    lock_days: int | None = None  # stored objects cannot be removed for so long; None: no locks
    approve_restore_bytes: int | None = None  # in place, more than so much needs a second person
    own_schedule: bool = False  # the tenant may choose its own times

    def __post_init__(self) -> None:
        _wall_clock("daily_at", self.daily_at)
        _wall_clock("weekly_at", self.weekly_at)
        _typed("weekly_on", self.weekly_on, Weekday)
        _typed("retention", self.retention, Keep)
        _typed("verification", self.verification, Verification)
        _whole("jitter_minutes", self.jitter_minutes, 0, 24 * 60)
        _whole("regions", self.regions, 1, 16)
        _whole("floor", self.floor, 1, 1000)
        _whole("rpo_hours", self.rpo_hours, 1, 24 * 366)
        _typed("placement", self.placement, Placement)
        if self.lock_days is not None:
            _whole("lock_days", self.lock_days, 1, MOST_LOCK_DAYS)
        if self.approve_restore_bytes is not None:
            _whole("approve_restore_bytes", self.approve_restore_bytes, 0, MOST_BYTES)
        _typed("own_schedule", self.own_schedule, bool)
        for source, days in self.source_max_age_days.items():
            _whole(f"source_max_age_days.{source}", days, 1, MOST_DAYS)

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads again to an equal policy; values are plain JSON."""
        values: dict[str, object] = {item.name: getattr(self, item.name) for item in fields(self)}
        values["daily_at"] = self.daily_at.strftime("%H:%M")
        values["weekly_at"] = self.weekly_at.strftime("%H:%M")
        values["weekly_on"] = self.weekly_on.value
        values["retention"] = {i.name: getattr(self.retention, i.name) for i in fields(Keep)}
        values["verification"] = {
            item.name: getattr(self.verification, item.name) for item in fields(Verification)
        }
        values["source_max_age_days"] = {
            str(source): days for source, days in sorted(self.source_max_age_days.items())
        }
        values["placement"] = self.placement.to_json()
        return values


OPTIONAL = frozenset(
    {"source_max_age_days", "placement", "lock_days", "approve_restore_bytes", "own_schedule"}
)


def from_json(data: object) -> EffectivePolicy:
    """Strict: a missing, unknown or mistyped field raises BadPolicy that names it.

    In `retention`, counts left out are 0 and `max_age_days` left out is no limit;
    `source_max_age_days` may be left out, so may `placement` (anywhere), `lock_days` (no locks),
    `approve_restore_bytes` (nobody is asked) and `own_schedule` (the plan's times hold).
    Everything else has to be said.
    """
    values = _object("", data, EffectivePolicy, optional=OPTIONAL)
    counts = _object("retention", values["retention"], Keep, optional=_names(Keep))
    proofs = _object("verification", values["verification"], Verification)
    values |= {
        "daily_at": _parse_time("daily_at", values["daily_at"]),
        "weekly_at": _parse_time("weekly_at", values["weekly_at"]),
        "weekly_on": _parse_weekday(values["weekly_on"]),
        "retention": Keep(**counts),  # type: ignore[arg-type]  # Keep checks each value
        "verification": Verification(**proofs),  # type: ignore[arg-type]  # and so does this
        "source_max_age_days": _parse_ceilings(values.get("source_max_age_days", {})),
        "placement": _parse_placement(values.get("placement", {})),
    }
    return EffectivePolicy(**values)  # type: ignore[arg-type]  # and this


def _names(shape: type) -> set[str]:
    return {item.name for item in fields(shape)}


def _object(
    name: str, data: object, shape: type, *, optional: set[str] | frozenset[str] = frozenset()
) -> dict[str, object]:
    known = _names(shape)
    accepted = "an object with " + ", ".join(item.name for item in fields(shape))
    if not isinstance(data, Mapping):
        raise _bad(name, found=_shown(data), wanted=accepted)
    prefix = f"{name}." if name else ""
    for key in data:
        if key not in known:
            raise _bad(f"{prefix}{key}", found="a field nobody knows", wanted=accepted)
    for key in sorted(known - optional - set(data)):
        raise _bad(f"{prefix}{key}", found="nothing", wanted="a value; it has no default")
    return dict(data)


def _parse_time(name: str, value: object) -> time:
    wanted = 'a local time in quotes, "00:00" to "23:59"'
    if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        raise _bad(name, found=_shown(value), wanted=wanted)
    return time(int(value[:2]), int(value[3:]))


def _parse_weekday(value: object) -> Weekday:
    if isinstance(value, str) and value in set(Weekday):
        return Weekday(value)
    raise _bad("weekly_on", found=_shown(value), wanted="one of " + ", ".join(Weekday))


def _parse_ceilings(value: object) -> dict[UUID, int]:
    wanted = "an object of source id (UUID) to days"
    if not isinstance(value, Mapping):
        raise _bad("source_max_age_days", found=_shown(value), wanted=wanted)
    ceilings = {}
    for key, days in value.items():
        try:
            ceilings[UUID(key)] = days
        except (ValueError, AttributeError, TypeError):
            raise _bad("source_max_age_days", found=_shown(key), wanted=wanted) from None
    return ceilings


def _parse_placement(value: object) -> Placement:
    found = _object("placement", value, Placement, optional=_names(Placement))
    countries = found.get("countries")
    if countries is not None:
        if not isinstance(countries, list):
            wanted = 'a list of countries, like ["AE", "SA"]'
            raise _bad("placement.countries", found=_shown(countries), wanted=wanted)
        found["countries"] = tuple(countries)
    return Placement(**found)  # type: ignore[arg-type]  # it checks each value


def _whole(name: str, value: object, lowest: int, highest: int) -> None:
    # bool is an int to Python; `daily: yes` in a plan is a slip all the same
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
        return
    raise _bad(name, found=_shown(value), wanted=f"a whole number from {lowest} to {highest}")


def _wall_clock(name: str, value: object) -> None:
    if isinstance(value, time) and value.tzinfo is None and not value.second + value.microsecond:
        return
    wanted = "a time of day in hours and minutes without a zone; the tenant's zone applies"
    raise _bad(name, found=_shown(value), wanted=wanted)


def _typed(name: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise _bad(name, found=_shown(value), wanted=f"a value of type {wanted.__name__}")


def _shown(value: object) -> str:
    shown = repr(value)
    return f"{shown[:60]}{'…' if len(shown) > 60 else ''} ({type(value).__name__})"


def _bad(name: str, *, found: str, wanted: str) -> BadPolicy:
    name = name or "policy"
    message = f"{name}: wanted {wanted}, found {found}; correct this field of the plan."
    return BadPolicy(message, field=name, found=found, wanted=wanted)
