"""What somebody chose on a page, on its way to a restore, a download or a preview.

Names travel percent-encoded: a browser rewrites the newlines of a form's values, and a name may
hold any. `hidden.html` writes a selection into a form; `chosen` reads it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote
from uuid import UUID

from flask import abort, redirect, request

from web import scope

MOST = 1000  # names at once; more are chosen by their folder


@dataclass(frozen=True)
class Selection:
    """Part of one source of one point; without names, all of it."""

    number: int  # of the point
    source: UUID
    paths: Sequence[str] = ()  # of a folder, as the catalogue writes them
    tables: Sequence[str] = ()  # "schema.table" of a database

    @property
    def is_whole(self) -> bool:
        return not self.paths and not self.tables

    @property
    def fields(self) -> Sequence[tuple[str, str]]:
        """As a form carries it."""
        named = [("point", str(self.number)), ("source", str(self.source))]
        named += [("path", wire(path)) for path in self.paths]
        return named + [("table", wire(table)) for table in self.tables]


def wire(name: str) -> str:
    """A name as it stands in forms and addresses."""
    return quote(name, safe="/")


def unwire(text: str) -> str:
    return unquote(text, errors="strict")


def chosen() -> Selection:
    """What the form of this request chose; 422 for what no page of ours sends."""
    form = request.form
    try:
        names = {
            each: [unwire(value) for value in form.getlist(each)] for each in ("path", "table")
        }
        found = Selection(
            int(form.get("point", "")),
            UUID(form.get("source", "")),
            tuple(dict.fromkeys(names["path"])),
            tuple(dict.fromkeys(names["table"])),
        )
    except ValueError:
        abort(422)
    if found.is_whole and "ticked" in form:  # nothing was: that is not to mean everything
        abort(redirect(scope.inside(form.get("page")) or "/", code=303))
    if len(found.paths) + len(found.tables) > MOST or (found.paths and found.tables):
        abort(422)
    if not 0 <= found.number < 2**31:
        abort(422)
    return found
