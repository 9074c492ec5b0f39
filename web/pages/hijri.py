"""The Hijri date beside the Gregorian one, for who wants it; Umm al-Qura, as the Gulf's offices do.

The wish lies in a cookie of its own: it says nothing of anybody, and needs no account.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, request
from hijridate import Gregorian
from markupsafe import Markup

from web.pages.language import YEAR, locale

COOKIE = "dates"
HIJRI, PLAIN = "hijri", "gregorian"


def add(views: Blueprint) -> None:
    """The filter `hijri`, and the wish, for the pages of these views."""
    views.add_app_template_filter(beside, "hijri")
    views.context_processor(lambda: {"hijri_wanted": wanted()})
    views.after_request(_remember)


def wanted() -> bool:
    return request.args.get(COOKIE, request.cookies.get(COOKIE)) == HIJRI


def beside(moment: date | datetime, zone: str) -> Markup:
    """Empty where nobody wants it, and for days of which the calendar is not known."""
    if not wanted():
        return Markup("")
    day = moment.astimezone(ZoneInfo(zone)).date() if isinstance(moment, datetime) else moment
    try:
        found = Gregorian(day.year, day.month, day.day).to_hijri()
    except OverflowError:
        return Markup("")
    language: Literal["ar", "en"] = "ar" if locale().language == "ar" else "en"
    month, era = found.month_name(language), found.notation(language)
    return Markup(' <small class="hijri"><bdi>{}</bdi></small>').format(
        f"{found.day} {month} {found.year} {era}"
    )


def _remember(response: Response) -> Response:
    asked = request.args.get(COOKIE)
    if asked in (HIJRI, PLAIN) and "HX-Request" not in request.headers:
        response.set_cookie(
            COOKIE, asked, max_age=YEAR, httponly=True, samesite="Lax", secure=request.is_secure
        )
    return response
