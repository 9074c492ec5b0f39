"""Points and policies for the tests of retention: Acme in Cairo, with an ERP and its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backup import retention
from backup.facts import Part, Point
from backup.policy import EffectivePolicy, Keep, Verification, Weekday
from backup.states import Outcome, Trigger

CAIRO = ZoneInfo("Africa/Cairo")
START = date(2026, 1, 1)
ERP, FILES, MESSAGES = (UUID(int=n) for n in (1, 2, 3))
DAY = timedelta(days=1)


def policy(floor: int = 1, ceilings: dict[UUID, int] | None = None, **keep: int) -> EffectivePolicy:
    return EffectivePolicy(
        daily_at=time(2),
        weekly_on=Weekday.FRIDAY,
        weekly_at=time(2),
        jitter_minutes=60,
        retention=Keep(**(keep or {"daily": 3})),
        regions=2,
        verification=Verification(1, 30, 90),
        floor=floor,
        rpo_hours=26,
        source_max_age_days=ceilings or {},
    )


def noon(day: int) -> datetime:
    """Noon in UTC, so many days after the first."""
    return datetime.combine(START, time(12), tzinfo=UTC) + DAY * day


def part(number: int, source: UUID = ERP, *, verified: bool = True, size: int = 100) -> Part:
    """The snapshot is named by point and source, so each point has its own."""
    return Part(
        source=source,
        snapshot=UUID(int=number * 10 + source.int),
        size=size,
        verified_on=START if verified else None,
    )


def point(day: int, **changes: object) -> Point:
    """A complete, verified, scheduled point of that day; its number is the day's plus one."""
    made = Point(
        id=UUID(int=1000 + day),
        number=day + 1,
        kind=Trigger.SCHEDULE,
        outcome=Outcome.COMPLETE,
        first_seen_at=noon(day),
        local_date=START + DAY * day,
        parts=(part(day),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def partial(day: int, **changes: object) -> Point:
    return point(day, **{"outcome": Outcome.PARTIAL, **changes})


def days(*numbers: int) -> list[Point]:
    return [point(number) for number in numbers]


def kept(points: Iterable[Point], under: EffectivePolicy, *, day: int) -> list[int]:
    """The numbers of the days whose points stay, oldest first."""
    decision = retention.decide(points, under, now=noon(day), zone=CAIRO)
    return sorted(verdict.point.number - 1 for verdict in decision.keep)


def codes(decision: retention.Decision, day: int) -> list[str]:
    """The reason codes of the point of that day."""
    (verdict,) = (v for v in decision.verdicts if v.point.number == day + 1)
    return [str(reason.code) for reason in verdict.reasons]


def applied(decision: retention.Decision) -> list[Point]:
    """What is left when a decision has been carried out."""
    return [
        replace(
            verdict.point,
            parts=tuple(p for p in verdict.point.parts if p.source not in verdict.without),
        )
        for verdict in decision.keep
    ]
