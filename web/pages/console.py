"""What an operator sees: all tenants, and one of them. Read-only; moving parts renew themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, abort, request

from strongroom.db import Role
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import footing, health, picture, rehearsed, scope
from web.footing import Fault
from web.health import Attention, Counts
from web.pages import detail
from web.pages.moving import BUSY_SECONDS, IDLE_SECONDS, send
from web.picture import Chosen, Picture, Totals
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
    totals: Totals  # of all
    causes: Mapping[Attention, int]  # how many tenants have it, worst first
    faults: Sequence[Fault]  # of the platform itself, worst first
    at: datetime | None  # of when it is; None: nobody has looked yet
    old: bool

    @property
    def severe(self) -> bool:
        return self.totals.severe or any(each.code.severe for each in self.faults)


def make(runtime: Runtime) -> Blueprint:
    """`/tenants` and `/tenants/<slug>`."""
    console = Blueprint("console", __name__)

    @console.get("/tenants")
    @scope.platform(Action.SEE_CONSOLE)
    def overview() -> Response:
        page = read_overview(runtime)
        return _send("overview", runtime, moving=page.totals.working > 0, page=page)

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
    now = runtime.now()
    chosen = Chosen(attention=request.args.get("show") == "attention")
    with runtime.database.session(Role.OPERATOR) as session:
        taken = picture.of(session, now=now)
        sheet, _ = sheet_of(taken, chosen)
        here = [each.id for each in sheet.rows]
        return Overview(
            sheet=sheet,
            counts=health.count_points(session, here),
            drills=rehearsed.last_of(session, here),
            totals=taken.totals(Chosen()),
            causes=taken.causes(),
            faults=footing.read(session, runtime),
            at=taken.at,
            old=taken.is_old(now),
        )


def sheet_of(taken: Picture, chosen: Chosen) -> tuple[Sheet, Mapping[UUID, str]]:
    """The page that was asked for, of the tenants that were chosen, and their strips of days."""
    total = taken.totals(chosen).tenants
    number, last = _asked_page(total)
    rows = taken.sheet(chosen, first=(number - 1) * ROWS, count=ROWS)
    strips = {tenant.id: cells for tenant, cells in rows}
    return Sheet([tenant for tenant, _ in rows], number, last, total), strips


def cut(rows: Sequence[Any]) -> Sheet:
    """The sheet that was asked for, or the nearest one there is."""
    number, last = _asked_page(len(rows))
    return Sheet(rows[(number - 1) * ROWS : number * ROWS], number, last, len(rows))


def _asked_page(total: int) -> tuple[int, int]:
    last = max(1, -(-total // ROWS))
    return min(max(1, request.args.get("page", 1, type=int)), last), last


def _send(name: str, runtime: Runtime, *, moving: bool, **values: Any) -> Response:
    seconds = BUSY_SECONDS if moving else IDLE_SECONDS
    return send(name, seconds=seconds, now=runtime.now(), **values)
