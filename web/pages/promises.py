"""The page of the promise register: every promise with its state, and its evidence one click away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from flask import Blueprint, abort, render_template, request

from strongroom.errors import NotFound
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from tenants.packs import Pack
from tenants.promise_rows import State
from web import scope
from web.pages import promise_words
from web.promises import register
from web.promises.register import Row, Shown

# Colour and sign of a state; the word stands beside them.
LOOKS: Mapping[State, tuple[str, str]] = {
    State.BROKEN: ("bad", "✕"),
    State.AT_RISK: ("warn", "!"),
    State.CANNOT_BE_PROVEN: ("quiet", "?"),
    State.KEPT: ("good", "✓"),
    State.NOT_BUILT: ("quiet", "–"),
}


@dataclass(frozen=True)
class Section:
    """One pack, with its promises, the worst first."""

    pack: Pack
    tenants: int
    rows: Sequence[Row]
    parameters: Mapping[str, int]  # that it sets


@dataclass(frozen=True)
class Page:
    """All sections that were asked for."""

    sections: Sequence[Section]
    packs: Mapping[str, Pack]  # that there are to choose from
    chosen: str | None
    counts: Mapping[State, int]  # of the sections that are shown, the worst first
    at: datetime  # when it was looked at


def make(runtime: Runtime) -> Blueprint:
    """`/promises` and `/promises/<promise>`."""
    blueprint = Blueprint("promises", __name__)

    @blueprint.get("/promises")
    @scope.platform(Action.SEE_PROMISES)
    def register() -> str:
        page = read_page(runtime, request.args.get("pack") or None)
        return render_template("promises.html", page=page, now=page.at, **words())

    @blueprint.get("/promises/<promise>")
    @scope.platform(Action.SEE_PROMISES)
    def one(promise: str) -> str:
        found = read_one(runtime, promise)
        if found is None:
            abort(404)
        return render_template("promise.html", row=found.rows[0], now=found.at, **words())

    return blueprint


def read_page(runtime: Runtime, pack: str | None) -> Page:
    """A pack that is not there chooses nothing."""
    known = register.known(runtime)
    chosen = pack if pack in known else None
    found = register.shown(runtime, pack=chosen)
    rows = found.rows
    sections = [
        _section(each, [row for row in rows if row.pack.name == name])
        for name, each in known.items()
        if chosen in (None, name)
    ]
    sections.sort(key=lambda each: (_urgency(each.rows[0]), each.pack.name))
    states = [row.state for row in rows]
    counts = {state: states.count(state) for state in LOOKS if state in states}
    return Page(sections, known, chosen, counts, found.at)


def read_one(runtime: Runtime, promise: str) -> Shown | None:
    try:
        return register.shown(runtime, only=promise)
    except NotFound:
        return None


def words() -> dict[str, object]:
    """What the templates need to say a row."""
    return {"looks": LOOKS, "note_of": promise_words.note, "key_of": promise_words.key}


def _section(pack: Pack, rows: Sequence[Row]) -> Section:
    parameters = {k: v for k, v in asdict(pack.parameters).items() if v is not None}
    ordered = sorted(rows, key=_urgency)
    return Section(pack, rows[0].tenants, ordered, parameters)


def _urgency(row: Row) -> int:
    """Sorts the worst first."""
    return list(LOOKS).index(row.state)
