"""What an operator sees: all tenants, and one of them. Read-only; moving parts renew themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, abort, request

from strongroom.db import Role
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import health, rehearsed, scope
from web.health import RANK, Attention, Counts, Health
from web.pages import detail
from web.pages.moving import BUSY_SECONDS, IDLE_SECONDS, send
from web.rehearsed import LastDrill

ROWS = 100  # tenants or points on one page


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


def make(runtime: Runtime) -> Blueprint:
    """`/tenants` and `/tenants/<slug>`."""
    console = Blueprint("console", __name__)

    @console.get("/tenants")
    @scope.platform(Action.SEE_CONSOLE)
    def overview() -> Response:
        page = read_overview(runtime)
        return _send("overview", runtime, moving=page.working > 0, page=page)

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
