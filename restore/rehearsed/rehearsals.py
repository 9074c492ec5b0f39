"""Whose restore is rehearsed next, and from which region: a decision over plain values.

The tenant whose proof by restore runs out first has the next turn, and it goes to the region that
had none for longest. The day's turns are spread over the day. A tenant of whom the last drill in
some region failed is served apart (`Class.REPEAT`), so that trouble costs the others no turn.
A region that a waiting drill cannot reach gets no more: that one drill tells when it is back.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

ROOM = 1.25  # turns a day beyond what the policies need
EARLY = 0.75  # of the time a policy sets: no turn comes before
FIRST = timedelta(days=1)  # but the first one when the first point is so old, and copied
REPEATS = 0.1  # of the day's turns, on top of them: for what failed
CATCH_UP = 3.0  # times the pace of a day, when turns were missed
RETRY = timedelta(days=1)  # before the same region is tried again after a failure
DAY = timedelta(days=1)
EARLIEST = datetime.min.replace(tzinfo=UTC)


class Class(enum.StrEnum):
    """By what right a drill is made; stands on the row as who asked for it."""

    TURN = "rota"
    REPEAT = "rota-again"


@dataclass(frozen=True)
class Site:
    """One repository of a tenant with a point that can be drilled."""

    repository: UUID
    region: UUID
    since: datetime  # when its first point came to be: age counts from here until a drill passed
    passed_at: datetime | None = None
    planned_at: datetime | None = None  # its last drill by rota, however that ended
    not_before: datetime | None = None  # after a failure
    failed: bool = False  # its last drill that ended did not pass
    waiting: bool = False  # a drill of it waits or runs


@dataclass(frozen=True)
class Candidate:
    """A tenant, and where its points lie."""

    tenant: UUID
    every_days: int  # a proof by restore may grow this old
    sites: tuple[Site, ...]

    @property
    def proven_at(self) -> datetime:
        """Its last proof by restore, from whichever region; without one, its first point."""
        passed = [site.passed_at for site in self.sites if site.passed_at is not None]
        return max(passed) if passed else min(site.since for site in self.sites)

    @property
    def pressing(self) -> tuple[datetime, UUID]:
        """For sorting: by when its last good drill was planned, as some take longer than others."""
        last = max(self.sites, key=lambda site: site.passed_at or EARLIEST)
        at = self.proven_at
        if last.planned_at is not None and not self.never_proven:
            at = min(at, last.planned_at)
        return at + timedelta(days=self.every_days), self.tenant

    @property
    def never_proven(self) -> bool:
        return all(site.passed_at is None for site in self.sites)

    @property
    def troubled(self) -> bool:
        return any(site.failed for site in self.sites)


@dataclass(frozen=True)
class Day:
    """What was planned since midnight (UTC)."""

    turns: int = 0
    repeats: int = 0
    last_turn: datetime | None = None  # also of an earlier day
    last_repeat: datetime | None = None


@dataclass(frozen=True)
class Choice:
    """One drill to be made."""

    tenant: UUID
    site: Site
    by: Class


def budget_for(every_days: Iterable[int]) -> int:
    """Turns a day that let every tenant have its own in time, with some room."""
    return max(1, math.ceil(ROOM * sum(1 / days for days in every_days)))


def open_slots(budget: int, *, planned: int, last: datetime | None, now: datetime) -> int:
    """How many of the day's `budget` may be planned now: evenly spaced, and never a bunch.

    What was missed is caught up within the same day, at most CATCH_UP times as fast.
    """
    spacing = DAY / budget
    into = now.astimezone(UTC) - now.astimezone(UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    left = min(budget, int(into / spacing) + 1) - planned
    since = DAY if last is None or last > now else now - last
    return max(0, min(left, _whole(since, spacing / CATCH_UP), _most(spacing)))


def choose(
    candidates: Sequence[Candidate],
    *,
    budget: int,
    day: Day,
    now: datetime,
    away: Collection[UUID] = (),
) -> list[Choice]:
    """The drills to be planned now, most pressing first; `away` are regions that cannot be reached."""
    turns = open_slots(budget, planned=day.turns, last=day.last_turn, now=now)
    extra = max(1, round(budget * REPEATS))
    repeats = open_slots(extra, planned=day.repeats, last=day.last_repeat, now=now)
    if not turns and not repeats:
        return []
    waiting = sorted(_askable(candidates, away), key=lambda each: each.pressing)
    sound = [each for each in waiting if not each.troubled]
    chosen = _take(sound, turns, now, away, Class.TURN)
    troubled = [each for each in waiting if each.troubled]
    # Turns that nobody else needs are theirs too.
    served = _take(troubled, repeats + turns - len(chosen), now, away, Class.REPEAT)
    spare = len(served) - repeats
    return chosen + [
        Choice(each.tenant, each.site, Class.TURN if number < spare else Class.REPEAT)
        for number, each in enumerate(served)
    ]


def _whole(time: timedelta, step: timedelta) -> int:
    return int(time / step)


def _most(spacing: timedelta) -> int:
    """In one look: one, or what a minute has where a day has very many."""
    return max(1, math.ceil(timedelta(minutes=1) * CATCH_UP / spacing))


def _askable(candidates: Iterable[Candidate], away: Collection[UUID]) -> list[Candidate]:
    """Those with no drill under way, but for one that waits for a region that is away."""
    return [
        each
        for each in candidates
        if each.sites and not any(s.waiting and s.region not in away for s in each.sites)
    ]


def _take(
    wanted: Iterable[Candidate], most: int, now: datetime, away: Collection[UUID], by: Class
) -> list[Choice]:
    chosen: list[Choice] = []
    for each in wanted:
        if len(chosen) >= most:
            break
        site = _site(each, now, away)
        if site is not None:
            chosen.append(Choice(each.tenant, site, by))
    return chosen


def _site(candidate: Candidate, now: datetime, away: Collection[UUID]) -> Site | None:
    """Where its next drill reads from; None while nothing presses, or nothing can be reached."""
    rest = EARLY * timedelta(days=candidate.every_days)
    if candidate.never_proven:
        rest = min(rest, FIRST)
    pressing = now - candidate.proven_at >= rest
    able = [
        site
        for site in candidate.sites
        if not site.waiting
        and site.region not in away
        and (site.failed or pressing)
        and (not site.failed or site.not_before is None or site.not_before <= now)
    ]
    # A region that did not fail comes first: whether the tenant can be restored at all.
    return min(able, key=lambda site: (site.failed, _last_turn(site), site.since), default=None)


def _last_turn(site: Site) -> datetime:
    turns = [at for at in (site.passed_at, site.planned_at) if at is not None]
    return max(turns) if turns else EARLIEST
