"""Which language a page speaks: ?lang=, what the person chose, the cookie, what the browser prefers."""

from __future__ import annotations

from typing import Any

import flask_babel  # type: ignore[import-untyped]
from babel import Locale
from flask import Flask, Response, request, url_for

from web import scope

LANGUAGES = {"en": "English", "ar": "العربية"}  # each in its own words
COOKIE = "lang"
YEAR = 365 * 24 * 3600


def register(app: Flask) -> None:
    flask_babel.Babel(app, locale_selector=choose)
    app.context_processor(_context)
    app.after_request(_remember)


def choose() -> str:
    """English where nothing else is wanted that we speak."""
    known = scope.somebody()
    chosen = None if known is None else known.account.locale
    for wanted in (request.args.get("lang"), chosen, request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    return request.accept_languages.best_match(list(LANGUAGES), default="en")


def locale() -> Locale:
    """Of the page that is being made."""
    found: Locale | None = flask_babel.get_locale()
    assert found is not None  # there is always a request here
    return found


def N_(text: str) -> str:  # the name by which messages are extracted
    """Marks a message that is translated where it is shown."""
    return text


def gettext(message: str, **values: object) -> str:
    return str(flask_babel.gettext(message, **values))


def ngettext(one: str, many: str, count: int, **values: object) -> str:
    """With the form that the language has for this count, which is `num` in the message."""
    return str(flask_babel.ngettext(one, many, count, **values))


def other_url(code: str) -> str:
    """This very page in another language."""
    return this_page(lang=code)


def this_page(**other: Any) -> str:
    """This very page with other arguments; those that are None go."""
    if request.endpoint is None:
        return url_for("home.home", **other)
    kept = {name: value for name, value in request.args.items() if not _of_ours(name)}
    return url_for(request.endpoint, **{**kept, **(request.view_args or {}), **other})


def _of_ours(name: str) -> bool:
    """What `url_for` takes for itself, in an address that anybody may have written."""
    return name == "endpoint" or name.startswith("_")


def _context() -> dict[str, Any]:
    return {
        "language": locale().language,
        "direction": locale().text_direction,
        "languages": LANGUAGES,
        "other_url": other_url,
        "this_page": this_page,
    }


def _remember(response: Response) -> Response:
    """Only when a person asked: a page that brings itself up to date changes no cookie."""
    wanted = request.args.get("lang")
    if wanted in LANGUAGES and "HX-Request" not in request.headers:
        response.set_cookie(
            COOKIE, wanted, max_age=YEAR, httponly=True, samesite="Lax", secure=request.is_secure
        )
    response.vary.update(("Accept-Language", "Cookie", "HX-Request"))
    return response
