"""A month as a sheet of weeks, and what each of its days says.

    Month.named("2026-11", today=…) ─▶ month.span(week) ─▶ calendar.calendar ─▶ weeks(month, …)

Which day a week begins with, and which are its weekend, is the tenant's country's to say.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from babel import Locale, UnknownLocaleError
from babel.languages import get_official_languages

from backup.states import Outcome, RunState
from restore.browsing.calendar import Calendar, Day, Run
from restore.browsing.cards import Card

DAY = timedelta(days=1)
LATELY = 13  # days before today that are always there, however young the month is
FIRST_YEAR, LAST_YEAR = 2000, 2200


@dataclass(frozen=True)
class Week:
    """How a country sees a week; days as `date.weekday` numbers them."""

    first: int
    weekend: frozenset[int]

    @property
    def days(self) -> Sequence[int]:
        return [(self.first + number) % 7 for number in range(7)]

    def begin(self, day: date) -> date:
        """The first day of the week that a day is in."""
        return day - DAY * ((day.weekday() - self.first) % 7)


@dataclass(frozen=True)
class Month:
    """A month of a year."""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> Month:
        return cls(day.year, day.month)

    @classmethod
    def named(cls, text: str | None, *, today: date) -> Month:
        """As an address names it (2026-11); today's for what is no month."""
        try:
            found = date.fromisoformat(f"{text}-01")
        except ValueError:
            return cls.of(today)
        return cls.of(found) if FIRST_YEAR <= found.year <= LAST_YEAR else cls.of(today)

    @property
    def name(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def first(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def last(self) -> date:
        return (self.first + DAY * 31).replace(day=1) - DAY

    @property
    def before(self) -> Month:
        return Month.of(self.first - DAY)

    @property
    def after(self) -> Month:
        return Month.of(self.last + DAY)

    def span(self, week: Week, *, today: date) -> tuple[date, date]:
        """The first and last day to be read: whole weeks, and of the present month some days more."""
        first, last = week.begin(self.first), week.begin(self.last) + DAY * 6
        if Month.of(today) == self:
            first = min(first, today - DAY * LATELY)
        return first, last


class Mark(enum.StrEnum):
    """What a day says of itself; what is worth most comes first."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    RUNNING = "running"
    FAILED = "failed"
    OVERDUE = "overdue"
    MISSED = "missed"
    REMOVED = "removed"


# Colour and sign; each mark has a sign of its own, so that no colour has to be told from another.
LOOKS: Mapping[Mark, tuple[str, str]] = {
    Mark.COMPLETE: ("good", "✓"),
    Mark.PARTIAL: ("warn", "!"),
    Mark.RUNNING: ("busy", "⋯"),
    Mark.FAILED: ("bad", "✕"),
    Mark.OVERDUE: ("warn", "◔"),
    Mark.MISSED: ("warn", "○"),
    Mark.REMOVED: ("quiet", "–"),
}
_OUTCOMES = {
    Outcome.COMPLETE: Mark.COMPLETE,
    Outcome.PARTIAL: Mark.PARTIAL,
    Outcome.FAILED: Mark.FAILED,
}


@dataclass(frozen=True)
class Cell:
    """One day on the sheet."""

    date: date
    marks: Sequence[Mark]
    count: int  # of points that can be restored
    inside: bool  # of this month
    weekend: bool
    today: bool


def week_of(country: str) -> Week:
    """As CLDR has it; a country it does not know begins with Monday."""
    for language in get_official_languages(country) or ():
        try:
            known = Locale.parse(f"{language}_{country}", sep="_")
        except (UnknownLocaleError, ValueError):
            continue
        days = (known.weekend_end - known.weekend_start) % 7 + 1
        weekend = frozenset((known.weekend_start + number) % 7 for number in range(days))
        return Week(known.first_week_day, weekend)
    return Week(0, frozenset({5, 6}))


def weeks(month: Month, found: Calendar, week: Week) -> list[list[Cell]]:
    """The sheet, row by row."""
    by_date = {day.date: day for day in found.days}
    first = week.begin(month.first)
    count = ((week.begin(month.last) - first).days // 7 + 1) * 7
    cells = [_cell(by_date[first + DAY * number], month, found, week) for number in range(count)]
    return [cells[number : number + 7] for number in range(0, count, 7)]


def _cell(day: Day, month: Month, found: Calendar, week: Week) -> Cell:
    return Cell(
        date=day.date,
        marks=marks(day),
        count=sum(_mark(card) in (Mark.COMPLETE, Mark.PARTIAL) for card in day.points),
        inside=Month.of(day.date) == month,
        weekend=day.date.weekday() in week.weekend,
        today=day.date == found.today,
    )


def marks(day: Day) -> list[Mark]:
    """Each once, in the order of `Mark`."""
    seen = {_mark(card) for card in day.points} | {_of_run(run) for run in day.runs}
    seen |= {Mark.OVERDUE if each.late else Mark.MISSED for each in day.missed}
    return [mark for mark in Mark if mark in seen]


def _mark(card: Card) -> Mark:
    return Mark.REMOVED if card.removed else _OUTCOMES[card.outcome]


def _of_run(run: Run) -> Mark:
    failed = run.state in (RunState.FAILED, RunState.QUARANTINED)
    return Mark.FAILED if failed else Mark.RUNNING


@dataclass(frozen=True)
class Tally:
    """A month of the year's view."""

    month: Month
    days: Mapping[Mark, int]  # by the best that is said of a day


def tallies(year: int, days: Sequence[Day]) -> list[Tally]:
    """All months of a year, the last one first; days of other years are left out."""
    found: dict[Month, dict[Mark, int]] = {Month(year, number): {} for number in range(12, 0, -1)}
    for day in days:
        said = marks(day)
        counts = found.get(Month.of(day.date))
        if said and counts is not None:
            counts[said[0]] = counts.get(said[0], 0) + 1
    return [Tally(month, counts) for month, counts in found.items()]
