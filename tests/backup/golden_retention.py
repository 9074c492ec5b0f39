"""Two years of one tenant under some fifteen policies, as text to be read and compared.

`python -m tests.backup.golden_retention` writes the golden files anew; read the difference.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from backup import expiry, retention
from backup.facts import Point
from backup.policy import EffectivePolicy
from backup.states import Outcome, Trigger
from tests.backup.retention_cast import (
    CAIRO,
    DAY,
    ERP,
    FILES,
    MESSAGES,
    START,
    applied,
    noon,
    part,
    partial,
    point,
    policy,
)

DAYS = 730
POLICIES: dict[str, EffectivePolicy] = {
    "last-10": policy(last=10),
    "daily-7": policy(daily=7),
    "daily-30": policy(daily=30, floor=3),
    "weekly-8": policy(weekly=8, floor=3),
    "monthly-12": policy(monthly=12),
    "yearly-3": policy(yearly=3),
    "starter": policy(daily=7, weekly=4, floor=3),
    "business": policy(daily=14, weekly=8, monthly=12, floor=3),
    "enterprise": policy(daily=30, weekly=12, monthly=24, yearly=7, floor=5),
    "last-and-daily": policy(last=20, daily=7, floor=2),
    "age-30": policy(daily=90, floor=3, max_age_days=30),
    "age-cuts-months": policy(daily=7, monthly=12, floor=3, max_age_days=180),
    "one-and-a-wide-floor": policy(last=1, floor=12),
    "transit-30": policy(daily=14, monthly=6, floor=3, ceilings={MESSAGES: 30}),
    "all-transit": policy(daily=60, floor=3, ceilings={ERP: 20, FILES: 20, MESSAGES: 20}),
    "months-without-days": policy(last=2, monthly=6, yearly=2, floor=1),
}


def story(day: int) -> list[Point]:
    """What the run of a day left: the files fail every 11th day, all fails every 50th, nobody
    ran days 200 to 209, nothing is verified from day 400 to 430, and people press buttons."""
    if 200 <= day < 210:
        return []
    proven = not 400 <= day <= 430
    parts = tuple(part(day, source, verified=proven) for source in (ERP, FILES, MESSAGES))
    made = [point(day, parts=parts)]
    if day % 50 == 49:
        made = [point(day, outcome=Outcome.FAILED, parts=())]
    elif day % 11 == 10:
        made = [partial(day, parts=(parts[0], parts[2]))]
    for every, kind in ((45, Trigger.MANUAL), (120, Trigger.SAFETY)):
        if day % every == every - 1:
            made.append(_asked_for(made[0], kind, parts=parts))
    return made


def _asked_for(scheduled: Point, kind: Trigger, *, parts: tuple[object, ...]) -> Point:
    later = timedelta(hours=1 if kind is Trigger.MANUAL else 2)
    return replace(
        scheduled,
        id=UUID(int=scheduled.id.int * 10 + later.seconds // 3600),
        kind=kind,
        outcome=Outcome.COMPLETE,
        first_seen_at=scheduled.first_seen_at + later,
        parts=parts,  # type: ignore[arg-type]
    )


def two_years(name: str) -> str:
    """The counts at each month's end, then every point kept at the end with its reasons."""
    under = POLICIES[name]
    world: list[Point] = []
    months: list[str] = []
    removed: Counter[str] = Counter()
    for day in range(DAYS):
        now = noon(day) + timedelta(hours=8)
        decision = retention.decide([*world, *story(day)], under, now=now, zone=CAIRO)
        removed.update(str(verdict.reasons[0].code) for verdict in decision.remove)
        world = applied(decision)
        if (START + DAY * (day + 1)).day == 1:
            months.append(f"{START + DAY * day:%Y-%m} {_with_data(world):3}")
    final = retention.decide(world, under, now=now, zone=CAIRO)
    ends = expiry.expiries(world, under, now=now, zone=CAIRO)
    lines = [
        f"{name}: {_said(under)}",
        "",
        "points with data at the end of each month",
        *("    " + "   ".join(months[first : first + 6]) for first in range(0, len(months), 6)),
        "removed: " + ", ".join(f"{code} {n}" for code, n in sorted(removed.items())),
        "",
        "left at the end, newest first",
        *(_line(v, ends[v.point.id]) for v in final.verdicts if v.point.parts),
        f"and {sum(not p.parts for p in world)} records of failures",
    ]
    return "\n".join(lines) + "\n"


def _with_data(world: list[Point]) -> int:
    return sum(bool(p.parts) for p in world)


def _said(under: EffectivePolicy) -> str:
    keep = {name: n for name, n in vars(under.retention).items() if n}
    counts = ", ".join(f"{name} {n}" for name, n in keep.items())
    ceilings = "".join(f", source {s.int} {d} d" for s, d in under.source_max_age_days.items())
    return f"{counts}, floor {under.floor}{ceilings}"


def _line(verdict: retention.Verdict, end: expiry.Expiry) -> str:
    fact = verdict.point
    reasons = []
    for reason in verdict.reasons:
        place = f" {reason.params['place']}/{reason.params['of']}" if "of" in reason.params else ""
        reasons.append(f"{reason.code}{place}")
    sources = ",".join(str(item.source.int) for item in fact.parts)
    head = f"#{fact.number:<4}{fact.local_date:%a %Y-%m-%d}  {fact.kind:9} {fact.outcome:9}"
    return f"{head} {sources:6} until {end.on or 'further notice'}  {', '.join(reasons)}"


if __name__ == "__main__":
    for name in POLICIES:
        target = Path(__file__).parent / "golden" / f"{name}.txt"
        target.write_text(two_years(name))
