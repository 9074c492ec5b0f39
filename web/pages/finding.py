"""Find the moment and the thing: calendar, points, browsing, search, history, differences.

All of it is answered from rows (`restore/browsing`). A viewer sees the calendar and the points, and
no name of any file or table: those views ask for `Action.BROWSE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from babel.dates import format_date, get_day_names
from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from backup import ledger
from backup.catalogue import FOLDER, TABLE
from backup.sources import directory
from restore.browsing import (
    calendar,
    cards,
    differences,
    folders,
    history,
    parts,
    searching,
    shown,
)
from restore.browsing.calendar import Calendar, Day
from restore.browsing.differences import Between, Change, Difference, Page
from restore.browsing.folders import Item, Listing, Sort, View
from restore.browsing.history import History, State
from restore.browsing.searching import Found, Kind, Query
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import scope
from web.pages import formats, hijri, months
from web.pages.astray import explained
from web.pages.language import locale
from web.pages.months import Month
from web.pages.moving import IDLE_SECONDS, send
from web.pages.selection import Selection, unwire, wire

BUSY_SECONDS = 5  # while a backup runs; the page is larger than one that only shows progress
MOST_LINES = 40  # points, failed and missed backups beneath the calendar; a day alone shows all
# What a page may weigh is 200 KB. What goes for the lists of points (two where two are chosen) and
# for all else is taken off; entries have the rest, each with its form and links, and its name thrice.
ROOM, ROOM_BESIDE_TWO = 170_000, 150_000
OF_ENTRY, OF_HIT, OF_CHANGE, OF_STATE = 620, 1300, 1250, 900
OF_NAME = len("<bdi></bdi>")  # around each name of a path that is not all from left to right
MOST_STATES = 50
REPLACED = "\N{REPLACEMENT CHARACTER}"  # stands in the catalogue for what is no UTF-8
POINT = "/points/<int(max=2147483647):number>"


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""
    hijri.add(tenant)
    tenant.context_processor(lambda: {"allowed": allowed, "wire": wire, "address": address})
    tenant.add_app_template_filter(month_name, "month_name")
    tenant.add_app_template_filter(whole_day, "whole_day")
    add_moments(tenant, runtime)
    add_things(tenant)
    add_comparing(tenant)


def add_moments(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.get("/")
    @scope.tenant(Action.SEE_STATUS)
    def overview(slug: str) -> Response:
        found = read_sheet(runtime)
        seconds = BUSY_SECONDS if found.calendar.running else IDLE_SECONDS
        values = {"here": scope.here(), "now": runtime.now(), "page": found}
        return send("tenant/find/calendar", seconds=seconds, **values)

    @tenant.get("/years/<int:year>")
    @scope.tenant(Action.SEE_STATUS)
    def year(slug: str, year: int) -> str:
        if not months.FIRST_YEAR <= year <= months.LAST_YEAR:
            abort(404)
        days = (date(year, 1, 1), date(year, 12, 31))
        with scope.reading() as session:
            found = calendar.calendar(session, scope.here().id, days, now=runtime.now())
        tallies = months.tallies(year, found.days)
        more = {"tallies": tallies, "looks": LOOKS, "today": found.today}
        return render_template("tenant/find/year.html", here=scope.here(), year=year, **more)

    @tenant.get(POINT)
    @scope.tenant(Action.SEE_STATUS)
    @explained
    def point(slug: str, number: int) -> str:
        now = runtime.now()
        with scope.reading() as session:
            known = ledger.read(session, scope.here().id, now=now)
            card = cards.one(session, known, number, now=now)
            before, after = parts.neighbours(session, number)
        return render_template(
            "tenant/find/point.html",
            here=scope.here(),
            now=now,
            card=card,
            before=before,
            after=after,
            every=known.policy.verification,
            whole=lambda source: Selection(number, source),
        )


@dataclass(frozen=True)
class Sheet:
    """What the page of the calendar shows."""

    calendar: Calendar
    month: Month
    week: months.Week
    rows: Sequence[Sequence[months.Cell]]
    line: Sequence[Day]  # days with something on them, the newest first
    rest: Sequence[Day]  # those that the line has no room for
    day: date | None  # the only one that the line shows

    @property
    def weekdays(self) -> Sequence[tuple[str, str]]:
        """Short and long names in the order of the week."""
        short, long = (get_day_names(width, locale=locale()) for width in ("abbreviated", "wide"))
        return [(short[each], long[each]) for each in self.week.days]

    @property
    def looks(self) -> Any:
        return LOOKS


LOOKS = {str(mark): look for mark, look in months.LOOKS.items()}


def read_sheet(runtime: Runtime) -> Sheet:
    """The month that was asked for; or the one of a day."""
    here, now = scope.here(), runtime.now()
    today = now.astimezone(ZoneInfo(here.zone)).date()
    day = _date(request.args.get("day"))
    month = Month.named(request.args.get("month"), today=today)
    if day is not None:
        month = Month.named(f"{day:%Y-%m}", today=today)
    with scope.reading() as session:
        country = session.execute(select(Tenant.country)).scalar_one()
        week = months.week_of(country)
        found = calendar.calendar(session, here.id, month.span(week, today=today), now=now)
    days = [each for each in reversed(found.days) if _shown(each) and day in (None, each.date)]
    line, rest = _cut(days) if day is None else (days, [])
    return Sheet(found, month, week, months.weeks(month, found, week), line, rest, day)


def _shown(day: Day) -> bool:
    return bool(day.points or day.runs or day.missed)


def _cut(days: Sequence[Day]) -> tuple[list[Day], list[Day]]:
    """As many days as have room, one at least."""
    room, line = MOST_LINES, 0
    for day in days:
        room -= len(day.points) + len(day.runs) + len(day.missed)
        if room < 0 and line:
            break
        line += 1
    return list(days[:line]), list(days[line:])


def add_things(tenant: Blueprint) -> None:
    @tenant.get(f"{POINT}/sources/<uuid:source>/")
    @scope.tenant(Action.BROWSE)
    @explained
    def browse(slug: str, number: int, source: UUID) -> str:
        folder, view = asked_folder(), asked_view()
        with scope.reading() as session:
            listing = light(session, source, number, folder, view)
            line = parts.line(session, source)
        return render_template(
            "tenant/find/browse.html",
            here=scope.here(),
            listing=listing,
            line=line,
            view=view,
            folder=listing.crumbs[-1].path,
            one=lambda item: selected(listing.part, item),
            all=_nearest_folder(listing),
        )

    @tenant.get("/sources/<uuid:source>/go")
    @scope.tenant(Action.BROWSE)
    def browse_at(slug: str, source: UUID) -> AnyResponse:
        """The same folder in another point: a form cannot put what was chosen into a path."""
        number, folder = _number("point"), asked_folder()
        if number is None:
            abort(404)
        values: dict[str, Any] = {"number": number, "source": source, "folder": address(folder)}
        return redirect(url_for("tenant.browse", slug=slug, **values), code=303)

    @tenant.get("/search")
    @scope.tenant(Action.BROWSE)
    @explained
    def find(slug: str) -> str:
        query = asked_query()
        with scope.reading() as session:
            sources = parts.sources(session)
            found = light_hits(session, query)
        return render_template(
            "tenant/find/search.html",
            here=scope.here(),
            query=query,
            found=found,
            sources=sources,
            one=lambda hit: chosen_of(hit, hit.newest.number, hit.source, hit.source_kind),
        )

    @tenant.get("/sources/<uuid:source>/history")
    @scope.tenant(Action.BROWSE)
    @explained
    def path_history(slug: str, source: UUID) -> str:
        path, after = _unwired("path"), request.args.get("after")
        with scope.reading() as session:
            most = fitting([path] * MOST_STATES, each=OF_STATE)  # each links to its folder
            found = history.of_path(session, source, path, after=after, most=most)
        return render_template(
            "tenant/find/history.html",
            here=scope.here(),
            found=found,
            one=lambda state: _of_state(found, state),
        )


def add_comparing(tenant: Blueprint) -> None:
    @tenant.get("/sources/<uuid:source>/difference")
    @scope.tenant(Action.BROWSE)
    @explained
    def difference(slug: str, source: UUID) -> str:
        """Between `from` and `to`; without `from`, what changed since the point before."""
        with scope.reading() as session:
            line = parts.line(session, source)
            numbers = asked_numbers(line)
            if numbers is None:
                return render_template("tenant/find/alone.html", here=scope.here(), line=line)
            two = differences.between(session, source, numbers)
            counts = differences.counts(session, two)
            change = asked_change(counts)
            found = light_changes(session, two, change, request.args.get("after"))
        return render_template(
            "tenant/find/difference.html",
            here=scope.here(),
            line=line,
            two=two,
            counts=counts,
            change=change,
            found=found,
            most=differences.MOST_COUNTED,
            one=lambda each: _as_before(two, each),
        )


def light(session: Session, source: UUID, number: int, folder: str, view: View) -> Listing:
    """A page that weighs no more than pages may: of long names there are fewer."""
    listing = folders.browse(session, source, number, folder, view)
    most = fitting([item.path for item in listing.items], each=OF_ENTRY)
    if most == len(listing.items):
        return listing
    return folders.browse(session, source, number, folder, replace(view, most=most))


def light_hits(session: Session, query: Query) -> Found:
    """The same for what a search finds."""
    found = searching.search(session, query)
    most = fitting([hit.path for hit in found.hits], each=OF_HIT)
    if most == len(found.hits):
        return found
    return searching.search(session, replace(query, most=most))


def light_changes(session: Session, two: Between, change: Change, after: str | None) -> Page:
    """The same for what differs."""
    found = differences.entries(session, two, change, after=after)
    most = fitting([each.path for each in found.items], each=OF_CHANGE, room=ROOM_BESIDE_TWO)
    if most == len(found.items):
        return found
    return differences.entries(session, two, change, after=after, most=most)


def fitting(paths: Sequence[str], *, each: int, room: int = ROOM) -> int:
    """How many of these a page has room for, one at least; `each` is what one weighs beside its name."""
    for place, path in enumerate(paths):
        names = OF_NAME * min(path.count("/"), shown.MOST) if formats.turns(path) else 0
        room -= each + 3 * len(wire(path)) + min(len(path.encode()), 400) + names
        if room < 0:
            return max(1, place)
    return len(paths)


def selected(part: parts.Part, item: Item) -> Selection | None:
    """One entry of a folder, as a form carries it; None: it cannot be chosen alone."""
    folder = item.path[: -len(item.name.name) - 1] or "/"
    whole = Selection(part.point.number, part.source)
    return _selection(whole, item.path, item.kind, part.source_kind, folder)


def chosen_of(hit: Any, number: int, source: UUID, source_kind: str) -> Selection | None:
    """The same for what a search found."""
    return _selection(Selection(number, source), hit.path, hit.kind, source_kind, hit.folder.name)


def _of_state(found: History, state: State) -> Selection | None:
    """One state, as the newest point that has it gives it back; None: none has, or not alone."""
    if not state.points:
        return None
    whole = Selection(state.points[-1].number, found.source)
    return _selection(whole, found.path, state.kind, found.source_kind, found.folder.name)


def _as_before(two: Between, each: Difference) -> Selection | None:
    """What the earlier point has of it."""
    if each.before is None:
        return None
    whole = Selection(two.before.point.number, two.before.source)
    kind = two.before.source_kind
    return _selection(whole, each.path, each.before.kind, kind, each.folder.name)


def _selection(
    whole: Selection, path: str, kind: str, source_kind: str, folder: str
) -> Selection | None:
    if REPLACED in path:
        return None  # the name as the catalogue has it is not the name in the point
    if kind == TABLE:
        schema = folder.removeprefix("/")
        name = path[len(folder) + 1 :]
        return Selection(whole.number, whole.source, tables=(f"{schema}.{name}",))
    if kind == FOLDER and source_kind != directory.KIND:
        return None  # a schema: its tables are chosen
    return Selection(whole.number, whole.source, paths=(path,))


def _nearest_folder(listing: Listing) -> Selection | None:
    """The folder that is looked at, or the nearest above whose name can be written."""
    whole = Selection(listing.part.point.number, listing.part.source)
    if listing.part.source_kind != directory.KIND:
        return whole
    for crumb in reversed(listing.crumbs):
        if REPLACED not in crumb.path:
            root = crumb.path == "/"
            return whole if root else Selection(whole.number, whole.source, paths=(crumb.path,))
    return whole


def asked_folder() -> str:
    return _unwired("folder") or "/"


def _unwired(name: str) -> str:
    try:
        return unwire(request.args.get(name, ""))
    except ValueError:
        abort(404)


def address(name: str) -> str:
    """A name for an address that `url_for` writes: the least that `unwire` needs."""
    return name.replace("%", "%25")


def asked_view() -> View:
    words = request.args
    sort = Sort(words["sort"]) if words.get("sort") in set(Sort) else Sort.NAME
    return View(sort, words.get("order") == "down", words.get("after"))


def asked_query() -> Query:
    words = request.args
    return Query(
        text=words.get("q", "").replace("\0", ""),
        source=words.get("source", None, type=UUID),
        kind=Kind(words["kind"]) if words.get("kind") in set(Kind) else None,
        first=_date(words.get("first")),
        last=_date(words.get("last")),
        after=words.get("after"),
    )


def asked_numbers(line: parts.Line) -> tuple[int, int] | None:
    """The two points that were named; None: the one that was named has none before it."""
    last, first = _number("to"), _number("from")
    if last is None and line.newest is not None:
        last = line.newest.number
    if last is not None and first is None:
        before = line.before(last)
        first = None if before is None else before.number
    return None if first is None or last is None or first == last else (first, last)


def asked_change(counts: differences.Counts) -> Change:
    """The one that was asked for, or the first that there is."""
    wanted = request.args.get("change")
    if wanted in set(Change):
        return Change(wanted)
    there = [change for change in Change if getattr(counts, change) > 0]
    return there[0] if there else Change.CHANGED


def _number(name: str) -> int | None:
    """Of a point; what is none is as good as one that is not there."""
    found = request.args.get(name, None, type=int)
    return found if found is not None and 0 <= found < 2**31 else None


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def allowed(name: str) -> bool:
    """Whether to offer an action, by its code."""
    return scope.can(Action(name))


def month_name(day: date) -> str:
    """November 2026, in the page's language; with Latin digits everywhere."""
    return str(format_date(day, "LLLL y", locale=locale()))


def whole_day(day: date) -> str:
    """Tuesday 3 November 2026."""
    return str(format_date(day, "EEEE d MMMM y", locale=locale()))
