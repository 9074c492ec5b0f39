"""How a promise is measured: what is looked at, what was seen, and what that comes to.

    @measure("regions")
    def regions(look: Look) -> Seen: …

A measure asks over all tenants of one pack at once, and starts from what was *expected* (policies,
schedules, sources, plans): what nobody logged is missing, not fine. What a measure gives is figures;
`judged` makes the state of them, and nothing is kept of which nothing was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from strongroom.runtime import Runtime
from tenants.packs import Pack
from tenants.promise_rows import State

MOST_NAMED = 5
NOT_BUILT = "not-built"


@dataclass(frozen=True)
class Look:
    """What a measure may look at."""

    runtime: Runtime
    session: Session  # role OPERATOR: sees the rows of every tenant
    people: Session | None  # role PEOPLE; None where this process was not given it
    pack: Pack
    now: datetime


@dataclass(frozen=True)
class Seen:
    """What was seen. The figures count what the measure looks at: tenants, accounts, regions, …"""

    good: int = 0
    at_risk: int = 0
    broken: int = 0
    early: int = 0  # nothing can be expected of them yet
    blind: int = 0  # something should be seen, and cannot be
    oldest: datetime | None = None  # of the evidence that the worst, or else the good, rest on
    worst: tuple[str, ...] = ()  # names of the worst few
    figures: Mapping[str, Any] = field(default_factory=dict)  # plain JSON
    note: str = ""  # a code that says more
    at_best: State = State.KEPT  # where it shows only a part of what was promised

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Seen:
        """From what `to_json` made; what it comes to is kept elsewhere."""
        oldest = said["oldest"]
        return cls(
            **{name: said[name] for name in ("good", "at_risk", "broken", "early", "blind")},
            oldest=None if oldest is None else datetime.fromisoformat(oldest),
            worst=tuple(said["worst"]),
            figures=said["figures"],
            note=said["note"] or "",
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "good": self.good,
            "at_risk": self.at_risk,
            "broken": self.broken,
            "early": self.early,
            "blind": self.blind,
            "oldest": None if self.oldest is None else self.oldest.isoformat(),
            "worst": list(self.worst),
            "figures": dict(self.figures),
            "note": self.note or None,
        }


Measure = Callable[[Look], Seen]
MEASURES: dict[str, Measure] = {}
ALWAYS: set[str] = set()  # there is something to say though nobody is under the pack


def measure(name: str, *, always: bool = False) -> Callable[[Measure], Measure]:
    """Known under this name, which packs use."""

    def add(function: Measure) -> Measure:
        if name in MEASURES:
            raise ValueError(f"two measures are called {name}")
        MEASURES[name] = function
        if always:
            ALWAYS.add(name)
        return function

    return add


def judged(seen: Seen) -> State:
    """What it comes to. Pure."""
    if seen.broken:
        return State.BROKEN
    if seen.at_risk:
        return State.AT_RISK
    if seen.blind or not seen.good:
        return State.CANNOT_BE_PROVEN
    return seen.at_best


class Grade(IntEnum):
    """What a query says of one row."""

    GOOD = 0
    AT_RISK = 1
    BROKEN = 2
    EARLY = 3
    BLIND = 4


# The tenants of a pack, with the policy in force; every query of a tenant's begins with it.
MINE = """
with mine as (
    select t.id, t.slug, t.created_at, t.own_schedule, t.plan_version_id, p.body,
        (select min(s.added_at) from sources s
         where s.tenant_id = t.id and s.removed_at is null) as sourced_at
    from tenants t
    join lateral (select body from policies where tenant_id = t.id
                  order by version desc limit 1) p on true
    where t.pack = :pack)
"""
_TALLIED = """
, graded as ({query})
select grade, count(*) as many, min(at) as oldest,
    (array_agg(name order by at nulls first, name))[1:{most}] as names
from graded where grade is not null group by grade
"""


def tally(look: Look, query: str, **values: Any) -> Seen:
    """Counts by grade, for a query that gives `name`, `grade` (a Grade; null: not looked at) and `at`
    of each row, out of `mine`. One statement, and five rows at most, however many tenants."""
    statement = MINE + _TALLIED.format(query=query, most=MOST_NAMED)
    found = look.session.execute(text(statement), _bound(look, values))
    by_grade = {row.grade: row for row in found}
    count = {grade: by_grade[grade].many if grade in by_grade else 0 for grade in Grade}
    telling = next((g for g in (Grade.BROKEN, Grade.AT_RISK, Grade.GOOD) if g in by_grade), None)
    wrong = [by_grade[g] for g in (Grade.BROKEN, Grade.AT_RISK, Grade.BLIND) if g in by_grade]
    return Seen(
        good=count[Grade.GOOD],
        at_risk=count[Grade.AT_RISK],
        broken=count[Grade.BROKEN],
        early=count[Grade.EARLY],
        blind=count[Grade.BLIND],
        oldest=None if telling is None else by_grade[telling].oldest,
        worst=tuple(name for row in wrong for name in row.names)[:MOST_NAMED],
    )


def one(look: Look, query: str, **values: Any) -> Any:
    """The one row of a query out of `mine`."""
    return look.session.execute(text(MINE + query), _bound(look, values)).one()


def rows(look: Look, query: str, **values: Any) -> Sequence[Any]:
    """The few rows of a query out of `mine`."""
    return look.session.execute(text(MINE + query), _bound(look, values)).all()


def added(seen: Seen, **figures: Any) -> Seen:
    """With more figures."""
    return replace(seen, figures={**seen.figures, **figures})


def _bound(look: Look, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"pack": look.pack.name, "now": look.now, **values}
