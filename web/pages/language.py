"""Which language a page speaks: ?lang=, then the cookie, then what the browser prefers."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request, url_for
from flask_babel import get_locale

LANGUAGES = {"en": "English", "ar": "العربية"}  # each in its own words
COOKIE = "lang"
YEAR = 365 * 24 * 3600


def register(app: Flask) -> None:
    app.context_processor(_context)
    app.after_request(_remember)


def choose() -> str:
    """English where nothing else is wanted that we speak."""
    for wanted in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    return request.accept_languages.best_match(list(LANGUAGES), default="en")


def current() -> str:
    return str(get_locale().language)


def other_url(code: str) -> str:
    """This very page in another language."""
    if request.endpoint is None:
        return url_for("console.overview", lang=code)
    values: dict[str, Any] = {**request.args, **(request.view_args or {}), "lang": code}
    return url_for(request.endpoint, **values)


def _context() -> dict[str, Any]:
    locale = get_locale()
    return {
        "language": locale.language,
        "direction": locale.text_direction,
        "languages": LANGUAGES,
        "other_url": other_url,
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
