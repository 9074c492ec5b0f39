"""When what somebody looks for is not there: why, in words, and where to go on.

Another tenant's id gets the words of an id that never was, and costs the same statements: nothing
is looked up for the answer but for a point that the tenant itself had.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from restore.browsing import parts
from restore.browsing.errors import BadCursor, NotListedYet
from restore.browsing.parts import Ref
from strongroom.errors import NotFound, StrongroomError
from web import scope
from web.pages.language import N_, gettext

View = Callable[..., Any]


@dataclass(frozen=True)
class Answer:
    """What is said about one code."""

    title: str
    todo: str
    status: int


ANSWERS: Mapping[str, Answer] = {
    "unknown-source": Answer(
        N_("There is no such source."),
        N_("Choose a restore point; it shows the sources that it has."),
        404,
    ),
    "nothing-stored": Answer(
        N_("There is no such restore point, or it has nothing of that source."),
        N_("Choose another restore point; each shows what it has."),
        404,
    ),
    "point-gone": Answer(
        N_("What this restore point had was removed."),
        N_("Its time was up, also if you saw it a moment ago. Use the nearest one that stands."),
        409,
    ),
    "not-catalogued": Answer(
        N_("What this restore point has is not listed yet."),
        N_(
            "The list follows each backup, as a rule within minutes. Restoring all of it works now."
        ),
        409,
    ),
    "path-not-in-point": Answer(
        N_("This restore point does not have it."),
        N_("Its history shows the points that do; a search finds what was deleted or renamed."),
        404,
    ),
    "bad-cursor": Answer(
        N_("This page of the list is not there."),
        N_("The address was changed, or the list is another one now. Begin with its first page."),
        400,
    ),
}


def explained(view: View) -> View:
    """A view whose questions may come to nothing answers with a page."""

    @functools.wraps(view)
    def asked(**values: Any) -> Any:
        try:
            return view(**values)
        except (NotFound, NotListedYet, BadCursor) as error:
            if error.code not in ANSWERS:
                raise
            return page(error, values)

    return asked


def page(error: StrongroomError, values: Mapping[str, Any]) -> AnyResponse:
    """`values` are the view's; the answer says no more than its code does."""
    answer = ANSWERS[error.code]
    said = {"title": gettext(answer.title), "todo": gettext(answer.todo)}
    made = render_template(
        "tenant/find/astray.html",
        here=scope.here(),
        **said,
        nearest=_nearest(values) if error.code == "point-gone" else None,
        again=_first_page() if error.code == "bad-cursor" else None,
        code=error.code,
        **{name: values.get(name) for name in ("number", "source")},
    )
    return make_response(made, answer.status)


def _nearest(values: Mapping[str, Any]) -> Ref | None:
    """The nearest point that still has this source."""
    if not values.get("source") or not values.get("number"):
        return None
    with scope.reading() as session:
        return parts.line(session, values["source"]).next_to(values["number"])


def _first_page() -> str:
    values: dict[str, Any] = {**request.args, **(request.view_args or {})}
    values.pop("after", None)
    return url_for(request.endpoint or "", **values)
