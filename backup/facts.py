"""What retention is told of points and holds, and the codes of what it answers.

Plain values, made from rows by whoever asks; nothing here knows a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from backup.states import Outcome, Trigger


class Why(StrEnum):
    """Reason codes as they are stored; the comment names the parameters."""

    # kept
    LEGAL_HOLD = "legal-hold"  # hold
    UNSETTLED = "unsettled"  # hold: a finding that a person has not looked at yet
    OBJECT_LOCK = "object-lock"  # until
    BEING_RESTORED = "being-restored"  # until
    CLOCK_BEHIND = "clock-behind"  # now, newest
    FUTURE_DATED = "future-dated"  # local_date
    FLOOR = "floor"  # place, of
    NEWEST_COMPLETE = "newest-complete"
    SOURCE_COPY = "source-copy"  # snapshot: among the newest verified of its source, or its newest
    PINNED = "pinned"  # until
    LAST = "last"  # the five tiers: place, of
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    MANUAL = "manual"  # place, of
    RECORD = "record"  # a failure without data, kept as a row
    # removed
    SOURCE_CEILING = "source-ceiling"  # source, days; may also take one source out of a kept point
    MAX_AGE = "max-age"  # days
    PIN_ENDED = "pin-ended"  # until
    NOT_IN_PLAN = "not-in-plan"


@dataclass(frozen=True)
class Part:
    """What a point holds of one source."""

    source: UUID
    snapshot: UUID  # the first one, which other regions' copies stem from; points may share it
    size: int  # bytes of the source at that moment, before deduplication
    verified_on: date | None = None  # newest good proof in any region; a failed proof takes it away
    stored_at: datetime | None = None  # first storage of a shared snapshot; None: with the point
    may_be_empty: bool = False  # a person said so
    whole: bool = True  # False: some of its files are missing
    retired: bool = False  # no longer backed up: its last copies need no guarding


@dataclass(frozen=True)
class Point:
    """What the platform itself recorded about a point."""

    id: UUID
    number: int
    kind: Trigger
    outcome: Outcome
    first_seen_at: datetime  # the platform's clock when it recorded the point
    local_date: date  # the tenant's day it stands for
    parts: tuple[Part, ...] = ()
    pinned_until: datetime | None = None
    locked_until: datetime | None = None  # the latest object lock in any region
    wanted_until: datetime | None = None  # somebody restores from it, or is about to


@dataclass(frozen=True)
class Hold:
    """A legal hold that is in force, or something that has to be looked at first."""

    id: UUID
    points: frozenset[UUID] | None = None  # None: every point of the tenant
    why: Why = Why.LEGAL_HOLD
