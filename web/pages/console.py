"""What an operator sees: all tenants, their days, and one of them. Read-only; moving parts renew
themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, abort, request

from strongroom.db import Role
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import days, health, rehearsed, scope
from web.days import Cell, Strip
from web.health import RANK, Attention, Counts, Health
from web.pages import detail, months
from web.pages.months import Mark
from web.pages.moving import BUSY_SECONDS, IDLE_SECONDS, send
from web.rehearsed import LastDrill

ROWS = 100  # tenants or points on one page
SPANS = (30, 90)  # days
# Colour and sign of a day, the same as on a tenant's calendar.
LOOKS: Mapping[Cell, tuple[str, str]] = {
    **{Cell(mark.value): look for mark, look in months.LOOKS.items() if mark is not Mark.REMOVED},
    Cell.NOT_DUE: ("quiet", "·"),
    Cell.BEFORE: ("none", " "),
}


@dataclass(frozen=True)
class Sheet:
    """One page of many rows."""

    rows: Sequence[Any]
    number: int  # from 1
    last: int
    total: int  # rows on all pages


@dataclass(frozen=True)
class Overview:
    """The page of all tenants."""

    sheet: Sheet  # of Health, worst first
    counts: dict[UUID, Counts]  # of those on the sheet
    drills: dict[UUID, LastDrill]  # the same
    total: int
    attention: int
    severe: bool  # of some it is more than a nuisance
    waiting: int  # without any complete point, and nothing wrong with that yet
    causes: dict[Attention, int]  # how many tenants have it, worst first
    working: int


@dataclass(frozen=True)
class Choice:
    """Which tenants by days; None: all."""

    span: int
    plan: str | None
    region: str | None
    cause: Attention | None

    @classmethod
    def of_request(cls) -> Choice:
        """What the address says; what makes no sense there chooses nothing."""
        span = request.args.get("days", SPANS[0], type=int)
        cause = request.args.get("cause")
        return cls(
            span=span if span in SPANS else SPANS[0],
            plan=request.args.get("plan") or None,
            region=request.args.get("region") or None,
            cause=Attention(cause) if cause in set(Attention) else None,
        )

    def takes(self, tenant: Health) -> bool:
        return (self.plan is None or tenant.plan == self.plan) and (
            self.cause is None or any(each.code is self.cause for each in tenant.troubles)
        )


@dataclass(frozen=True)
class Heatmap:
    """The page of tenants by days."""

    choice: Choice
    spans: Sequence[int]  # that there are to choose from
    sheet: Sheet  # of Health, worst first
    dates: Sequence[date]
    strips: Mapping[UUID, Strip]
    plans: Mapping[str, Mapping[str, str]]  # names by language, by code
    regions: Sequence[str]
    causes: Mapping[Attention, int]
    looks: Mapping[Cell, tuple[str, str]]


def make(runtime: Runtime) -> Blueprint:
    """`/tenants`, `/tenants/<slug>` and `/days`."""
    console = Blueprint("console", __name__)

    @console.get("/tenants")
    @scope.platform(Action.SEE_CONSOLE)
    def overview() -> Response:
        page = read_overview(runtime)
        return _send("overview", runtime, moving=page.working > 0, page=page)

    @console.get("/days")
    @scope.platform(Action.SEE_CONSOLE)
    def by_day() -> Response:
        return _send("days", runtime, moving=False, page=read_heatmap(runtime))

    @console.get("/tenants/<slug>")
    @scope.platform(Action.SEE_CONSOLE)
    def tenant(slug: str) -> Response:
        found = detail.read(runtime, slug)
        if found is None:
            abort(404)
        sheet = cut(found.points)
        moving = bool(found.work)
        return _send("tenant", runtime, moving=moving, page=found, sheet=sheet)

    return console


def read_overview(runtime: Runtime) -> Overview:
    """All tenants' health, and the figures of those on this sheet."""
    with runtime.database.session(Role.OPERATOR) as session:
        everybody = health.read(session, now=runtime.now())
        chosen = everybody
        if request.args.get("show") == "attention":
            chosen = [each for each in everybody if each.troubles]
        sheet = cut(sorted(chosen, key=urgency))
        here = [each.id for each in sheet.rows]
        counts = health.count_points(session, here)
        drills = rehearsed.last_of(session, here)
    return Overview(
        sheet=sheet,
        counts=counts,
        drills=drills,
        total=len(everybody),
        attention=sum(bool(each.troubles) for each in everybody),
        severe=any(found.code.severe for each in everybody for found in each.troubles),
        waiting=sum(each.newest is None and not each.troubles for each in everybody),
        causes=causes(everybody),
        working=sum(len(each.working) for each in everybody),
    )


def read_heatmap(runtime: Runtime) -> Heatmap:
    """The tenants that were chosen, and their days."""
    choice, now = Choice.of_request(), runtime.now()
    with runtime.database.session(Role.OPERATOR) as session:
        everybody = health.read(session, now=now)
        there = None if choice.region is None else days.in_region(session, choice.region)
        chosen = [
            each for each in everybody if choice.takes(each) and (there is None or each.id in there)
        ]
        sheet = cut(sorted(chosen, key=urgency))
        found = days.read(session, [each.id for each in sheet.rows], choice.span, now=now)
        regions = days.regions(session)
    return Heatmap(
        choice=choice,
        spans=SPANS,
        sheet=sheet,
        dates=found.dates,
        strips=found.strips,
        plans={each.plan: each.plan_names for each in everybody},
        regions=regions,
        causes=causes(everybody),
        looks=LOOKS,
    )


def urgency(tenant: Health) -> tuple[int, int, str]:
    """Sorts the worst first: by its worst trouble, then by how many it has."""
    worst = min((RANK[each.code] for each in tenant.troubles), default=len(RANK))
    return worst, -len(tenant.troubles), tenant.slug


def causes(tenants: Sequence[Health]) -> dict[Attention, int]:
    """How many tenants have each trouble, worst first; those that nobody has are left out."""
    codes = [each.code for tenant in tenants for each in tenant.troubles]
    return {code: codes.count(code) for code in Attention if code in codes}


def cut(rows: Sequence[Any]) -> Sheet:
    """The sheet that was asked for, or the nearest one there is."""
    last = max(1, -(-len(rows) // ROWS))
    number = min(max(1, request.args.get("page", 1, type=int)), last)
    return Sheet(rows[(number - 1) * ROWS : number * ROWS], number, last, len(rows))


def _send(name: str, runtime: Runtime, *, moving: bool, **values: Any) -> Response:
    seconds = BUSY_SECONDS if moving else IDLE_SECONDS
    return send(name, seconds=seconds, now=runtime.now(), **values)
