"""The calendar of the sample tenants: two years that have been, and the days after them."""

from __future__ import annotations

from datetime import date, timedelta

FIRST_DAY = date(2024, 7, 1)
LAST_DAY = date(2026, 6, 30)

SATURDAY_SUNDAY = (5, 6)  # the weekend of the Emirates
FRIDAY_SATURDAY = (4, 5)  # the weekend of Egypt and Saudi Arabia


def history(*, since: date = FIRST_DAY) -> list[date]:
    return [since + timedelta(days=number) for number in range((LAST_DAY - since).days + 1)]


def after(day: int) -> date:
    """The date of the day-th day after the history; 1 is the first."""
    return LAST_DAY + timedelta(days=day)
