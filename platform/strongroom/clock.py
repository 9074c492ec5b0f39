"""Business time: one place where `now` comes from, so that everything else is handed it.

Leases do not use it: they live on the database's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now(*, shift: timedelta = timedelta(0)) -> datetime:
    """The current moment, aware and in UTC; a shift exists only in a home marked as demo."""
    return datetime.now(UTC) + shift


def aware(moment: datetime) -> datetime:
    """The same moment in UTC; naive values are refused at the border."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; every moment here is aware")
    return moment.astimezone(UTC)
