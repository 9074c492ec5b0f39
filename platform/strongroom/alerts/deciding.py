"""What becomes of the alerts, and when somebody is told: pure decisions over what is wrong now.

    open alerts + troubles now ─▶ decide ─▶ opened, changed, closed
    one alert, and now         ─▶ telling ─▶ whom to tell what, or nothing

A trouble is a group, not a tenant: 500 tenants overdue for one cause are one trouble with a count.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

CLOSES_AFTER = timedelta(minutes=10)  # not seen for so long: what comes and goes is one alert
TELLS_AFTER = {True: timedelta(0), False: timedelta(minutes=15)}  # by whether it is severe
ESCALATES_AFTER = {True: timedelta(hours=1), False: timedelta(hours=12)}  # by whether it is severe
REMINDS_AFTER = timedelta(days=1)  # of a severe one that nobody has acknowledged
WORSE_BY = 2.0  # times as many as were told of
WORSE_AFTER = timedelta(minutes=15)  # and not sooner after the last telling


class Manner(enum.StrEnum):
    """How an alert is told."""

    USUAL = "usual"
    LOUD = "loud"  # by all channels at once: the usual way may itself be what is broken
    CANARY = "canary"  # made on purpose: told once, to the first channels, and never escalated


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong now."""

    group: str  # what and why or where: "tenants.overdue", "region.silent:region-b"
    code: str  # what has words: "tenants.overdue"
    severe: bool
    count: int = 1
    worst: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)  # plain JSON, for the words
    manner: Manner = Manner.USUAL
    avoid: uuid.UUID | None = None  # the channel that is what is wrong


@dataclass(frozen=True)
class Seen:
    """What the decisions need of an alert (`models.Alert` has it)."""

    group: str
    severe: bool
    manner: Manner
    count: int
    opened_at: datetime
    seen_at: datetime
    closed_at: datetime | None
    told_at: datetime | None
    told_level: int
    told_count: int
    told_severe: bool
    acknowledged_at: datetime | None
    snoozed_until: datetime | None


@dataclass(frozen=True)
class Decision:
    """What becomes of all of them."""

    opened: Sequence[Trouble]
    changed: Mapping[str, Trouble]  # by group: still wrong, as it is now
    closed: frozenset[str]  # groups


class Event(enum.StrEnum):
    """What a telling says."""

    OPENED = "opened"
    WORSE = "worse"
    ESCALATED = "escalated"  # nobody acknowledged it: others are told
    STILL = "still"  # a snooze has ended, or a day has passed, and it is as wrong as before
    CLOSED = "closed"


@dataclass(frozen=True)
class Telling:
    """What is told, and up to which level of channels."""

    event: Event
    levels: tuple[int, ...]  # 1, 2 or both


def decide(
    alerts: Iterable[Seen],
    troubles: Iterable[Trouble],
    *,
    now: datetime,
    unseen: Sequence[str] = (),
) -> Decision:
    """`unseen` are beginnings of groups that could not be looked at: they stay as they are."""
    wrong = {each.group: each for each in troubles}
    known = {each.group: each for each in alerts}
    gone = (each for group, each in known.items() if group not in wrong)
    return Decision(
        opened=[each for group, each in wrong.items() if group not in known],
        changed={group: each for group, each in wrong.items() if group in known},
        closed=frozenset(
            each.group
            for each in gone
            if not each.group.startswith(tuple(unseen)) and now - each.seen_at >= CLOSES_AFTER
        ),
    )


def telling(alert: Seen, *, now: datetime) -> Telling | None:
    """What is to be told of one alert at this moment."""
    if alert.manner is Manner.CANARY:
        opened = Telling(Event.OPENED, (1,))
        return opened if alert.told_at is None and alert.closed_at is None else None
    if alert.closed_at is not None:
        # Who was told that something is wrong is told that it is over; and nobody else.
        return Telling(Event.CLOSED, _up_to(alert.told_level)) if alert.told_level else None
    return _telling(alert, now)


def _telling(alert: Seen, now: datetime) -> Telling | None:
    """Of one that is open."""
    if alert.snoozed_until is not None and now < alert.snoozed_until:
        return None
    if alert.told_at is None:
        if now - alert.opened_at < TELLS_AFTER[alert.severe]:
            return None  # what passes by itself in a while is nobody's matter
        return Telling(Event.OPENED, (1, 2) if alert.manner is Manner.LOUD else (1,))
    unanswered = alert.acknowledged_at is None
    waited = now - alert.opened_at >= ESCALATES_AFTER[alert.severe]
    escalates = unanswered and alert.told_level < 2 and waited
    reached = _up_to(2 if escalates else alert.told_level)
    if _is_worse(alert) and now - alert.told_at >= WORSE_AFTER:
        return Telling(Event.WORSE, reached)
    if alert.snoozed_until is not None and alert.told_at < alert.snoozed_until:
        return Telling(Event.STILL, reached)
    if escalates:
        return Telling(Event.ESCALATED, (2,))
    if unanswered and alert.severe and now - alert.told_at >= REMINDS_AFTER:
        return Telling(Event.STILL, reached)
    return None


def _is_worse(alert: Seen) -> bool:
    if alert.severe and not alert.told_severe:
        return True
    return alert.count >= max(alert.told_count, 1) * WORSE_BY


def _up_to(level: int) -> tuple[int, ...]:
    return (1, 2) if level == 2 else (1,)
