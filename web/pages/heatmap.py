"""`/days`: tenants, or groups of them, by days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from uuid import UUID

from flask import Blueprint, Response, request

from strongroom.db import Role
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from tenants import plans
from web import days, picture, scope
from web.days import CELLS, LETTERS, Cell
from web.health import Attention
from web.pages import months
from web.pages.console import Sheet, sheet_of
from web.pages.months import Mark
from web.pages.moving import IDLE_SECONDS, send
from web.picture import Chosen

SPANS = (30, 90)  # days
GROUPS = ("plan", "region", "cause")
# Colour and sign of a day, the same as on a tenant's calendar.
LOOKS: Mapping[Cell, tuple[str, str]] = {
    **{Cell(mark.value): look for mark, look in months.LOOKS.items() if mark is not Mark.REMOVED},
    Cell.NOT_DUE: ("quiet", "·"),
    Cell.BEFORE: ("none", " "),
}
# What a group's day is called after when some of its tenants have it: the worst first.
WORST = (Cell.OVERDUE, Cell.FAILED, Cell.MISSED, Cell.PARTIAL, Cell.RUNNING, Cell.COMPLETE)


@dataclass(frozen=True)
class Choice:
    """What the address says; what makes no sense there chooses nothing."""

    span: int
    by: str | None  # groups instead of tenants
    chosen: Chosen

    @classmethod
    def of_request(cls) -> Choice:
        span = request.args.get("days", SPANS[0], type=int)
        by, cause = request.args.get("by"), request.args.get("cause")
        return cls(
            span=span if span in SPANS else SPANS[0],
            by=by if by in GROUPS else None,
            chosen=Chosen(
                plan=request.args.get("plan") or None,
                region=request.args.get("region") or None,
                cause=Attention(cause) if cause in set(Attention) else None,
            ),
        )


@dataclass(frozen=True)
class Strip:
    """The days of one tenant, the newest last."""

    cells: Sequence[Cell]

    def count(self, cell: Cell) -> int:
        return sum(each is cell for each in self.cells)


@dataclass(frozen=True)
class Day:
    """One day of a group."""

    counts: Counter[Cell]

    @cached_property
    def cell(self) -> Cell:
        """The worst that some of them have; nothing due where nothing was."""
        return next((each for each in WORST if self.counts[each]), Cell.NOT_DUE)

    @property
    def short(self) -> int:
        """How many have no complete point of a day on which one was due."""
        return sum(self.counts[each] for each in WORST[:4])


@dataclass(frozen=True)
class Group:
    """Tenants that share a plan, a region or a cause."""

    key: str | None  # None: they have none
    tenants: int
    days: Sequence[Day]

    @property
    def short(self) -> int:
        """Days of tenants, of all days shown."""
        return sum(day.short for day in self.days)


@dataclass(frozen=True)
class Heatmap:
    """The page; either tenants or groups."""

    choice: Choice
    dates: Sequence[date]
    plans: Mapping[str, Mapping[str, str]]  # names by language, by code
    regions: Sequence[str]
    causes: Mapping[Attention, int]
    at: datetime | None  # of when it is
    old: bool
    sheet: Sheet | None = None  # of Health, worst first
    strips: Mapping[UUID, Strip] = field(default_factory=dict)
    groups: Sequence[Group] = ()  # those short of most days first
    spans: Sequence[int] = SPANS  # that there are to choose from
    kinds: Sequence[str] = GROUPS  # the same
    looks: Mapping[Cell, tuple[str, str]] = field(default_factory=lambda: LOOKS)


def make(runtime: Runtime) -> Blueprint:
    """`/days`."""
    heatmap = Blueprint("heatmap", __name__)

    @heatmap.get("/days")
    @scope.platform(Action.SEE_CONSOLE)
    def by_day() -> Response:
        now = runtime.now()
        return send("days", seconds=IDLE_SECONDS, now=now, page=read(runtime, now))

    return heatmap


def read(runtime: Runtime, now: datetime) -> Heatmap:
    """The tenants or groups that were chosen, and their days."""
    choice = Choice.of_request()
    with runtime.database.session(Role.OPERATOR) as session:
        taken = picture.of(session, now=now, with_days=True)
        shared = Heatmap(
            choice=choice,
            dates=[taken.until - days.DAY * back for back in reversed(range(choice.span))],
            plans={each.code: each.name for each in plans.newest(session)},
            regions=days.regions(session),
            causes=taken.causes(),
            at=taken.at,
            old=taken.is_old(now),
        )
        if choice.by is not None:
            found = taken.strips(choice.chosen, choice.by)
            groups = [
                Group(key, count, list(by_days(cells, choice.span)))
                for key, (count, cells) in found.items()
            ]
            ordered = sorted(groups, key=lambda each: (-each.short, each.key or ""))
            return replace(shared, groups=ordered)
        sheet, cells = sheet_of(taken, choice.chosen)
        strips = {
            tenant: Strip([CELLS[letter] for letter in written[-choice.span :]])
            for tenant, written in cells.items()
        }
        return replace(shared, sheet=sheet, strips=strips)


def by_days(written: str, span: int) -> Iterator[Day]:
    """Strips one after another, each of SPAN letters: what each of the last days has. Pure."""
    letters = written.encode()
    for place in range(picture.SPAN - span, picture.SPAN):
        column = letters[place :: picture.SPAN]
        yield Day(
            Counter({cell: column.count(letter.encode()) for cell, letter in LETTERS.items()})
        )
