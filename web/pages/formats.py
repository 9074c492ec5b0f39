"""Figures, moments and names as pages write them: the same digits, order and units everywhere.

What is read from left to right in every language stands in `<bdi dir="ltr">`: without it,
`2026-0042` after Arabic text is shown as `0042-2026`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from unicodedata import bidirectional
from zoneinfo import ZoneInfo

from babel.dates import format_timedelta
from flask import Flask
from markupsafe import Markup, escape

from web.output import size
from web.pages.language import locale

RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})  # classes of signs (UAX #9)


def register(app: Flask) -> None:
    app.jinja_env.filters.update(
        ltr=ltr,
        path=path,
        size=sized,
        exactly=exactly,
        number=number,
        day=day,
        when=when,
        ago=ago,
        lasting=lasting,
    )


def ltr(value: object) -> Markup:
    """Something that no language turns round: an identifier, a path, a command."""
    return Markup('<bdi dir="ltr">{}</bdi>').format(value)


def path(value: str) -> Markup:
    """A path with each name in it by itself: beside a slash, two Arabic names would change places.

    Where nothing is written from right to left there is nothing to hold apart.
    """
    if not turns(value):
        return ltr(value)
    names = (Markup("<bdi>{}</bdi>").format(name) if name else name for name in value.split("/"))
    return ltr(Markup("/").join(names))


def turns(value: str) -> bool:
    """Whether anything in it is written from right to left."""
    return any(bidirectional(sign) in RIGHT_TO_LEFT for sign in value)


def sized(count: float | None) -> Markup:
    return Markup("") if count is None else ltr(size(count))


def exactly(count: int) -> Markup:
    """Every byte, with the sign that sizes have."""
    return ltr(f"{count:,} B")


def lasting(seconds: float | None) -> Markup:
    """How long it took, with the signs of units that every language knows; never broken apart."""
    if seconds is None:
        return Markup("")
    if seconds < 60:
        words = f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    else:
        minutes = round(seconds / 60)
        words = f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    return ltr(words.replace(" ", "\N{NO-BREAK SPACE}"))


def number(value: int) -> Markup:
    """Latin digits in every language: figures are read out and typed in."""
    return ltr(f"{value:,}")


def day(value: date | str) -> Markup:
    return Markup('<time datetime="{0}"><bdi dir="ltr">{0}</bdi></time>').format(value)


def when(moment: datetime | str, zone: str) -> Markup:
    """Date and minute where the tenant is; the zone is said beside it or above the column."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    local = at.astimezone(ZoneInfo(zone))
    return Markup('<time datetime="{}"><bdi dir="ltr">{}</bdi></time>').format(
        at.astimezone(UTC).isoformat(timespec="minutes"), local.strftime("%Y-%m-%d %H:%M")
    )


def ago(moment: datetime, now: datetime) -> Markup:
    """How long it has been, in words; the figure in it keeps its digits and its place."""
    words: Any = format_timedelta(
        moment - now, granularity="minute", add_direction=True, locale=locale()
    )
    return escape(words)
