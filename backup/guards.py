"""What stands between a decision and the removal it asks for; all of it pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backup.facts import Hold, Point
from backup.policy import EffectivePolicy
from backup.retention import Decision, Verdict, decide
from backup.schedule import CLOCK_TOLERANCE, check_aware
from backup.states import Trigger
from strongroom.errors import Refused

FEW = 3  # removals that are never a mass: one new point may displace one of each tier


class MassRemoval(Refused):
    """A pass would take more of a tenant's points than a person has allowed."""

    code = "mass-removal"


def would_remove(
    points: Iterable[Point],
    old: EffectivePolicy,
    new: EffectivePolicy,
    *,
    now: datetime,
    zone: ZoneInfo,
    holds: Collection[Hold] = (),
) -> tuple[Verdict, ...]:
    """The points that `new` would remove or trim today and `old` would not, newest first.

    A plan change is refused while this is not empty.
    """
    facts = list(points)
    before = decide(facts, old, now=now, zone=zone, holds=holds)
    after = decide(facts, new, now=now, zone=zone, holds=holds)
    return tuple(
        then
        for once, then in zip(before.verdicts, after.verdicts, strict=True)
        if once.keep and (not then.keep or then.without - once.without)
    )


def guard(decision: Decision, *, share: float) -> None:
    """Raises MassRemoval when more than `share` (0 to 1) of the points with data would lose some.

    Safety points and records of failures stand outside; FEW removals always pass.
    """
    counted = [v for v in decision.verdicts if v.point.parts and v.point.kind is not Trigger.SAFETY]
    losing = [v for v in counted if not v.keep or v.without]
    if len(losing) <= max(FEW, share * len(counted)):
        return
    raise MassRemoval(
        f"At most {share:.0%} of a tenant's points may go in one pass; this one would remove data"
        f" of {len(losing)} out of {len(counted)}. Nothing was removed; look at the reasons and"
        " accept the finding (`strongroom finding list`) if they are right.",
        losing=len(losing),
        counted=len(counted),
        share=share,
    )


def clocks_agree(
    *,
    host: datetime,
    database: datetime,
    storage: Collection[datetime],
    tolerance: timedelta = CLOCK_TOLERANCE,
) -> bool:
    """False also when no region told its time: silence is no agreement."""
    check_aware(host, database, *storage)
    clocks = [host, database, *storage]
    return bool(storage) and max(clocks) - min(clocks) <= tolerance
