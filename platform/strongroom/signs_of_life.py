"""How a process gives signs of life, and how the dispatcher knows that all is well."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.orm import Session

from strongroom import heartbeats
from strongroom.db import Database, Role

LAST_GOOD_SECONDS = 120.0  # a round of the dispatcher that succeeded is not older than that
CARRIERS = ("courier", "watch")  # without them no alert goes out
CARRIERS_SILENT = timedelta(minutes=5)

log = structlog.get_logger(__name__)


@dataclass
class Signs:
    """Those of one process, at most every EVERY_SECONDS."""

    database: Database
    role: Role
    parts: tuple[str, ...]
    given: float = field(default=float("-inf"))  # by the monotonic clock

    def give(self, **facts: Any) -> None:
        """If it is time; that it fails is logged and stops nothing."""
        if time.monotonic() - self.given < heartbeats.EVERY_SECONDS:
            return
        try:
            with self.database.session(self.role) as session:
                heartbeats.beat(session, *self.parts, **facts)
        except Exception as error:  # noqa: BLE001 - an edge: the database may be away a while
            log.warning("no sign of life could be given", error=type(error).__name__)
        self.given = time.monotonic()

    def give_once(self, **facts: Any) -> None:
        """For a process that forks: no connection is left open for its children."""
        self.give(**facts)
        self.database.close()


def carried(session: Session) -> bool:
    """Whether those who look and those who carry are there: without them no alert is opened or told."""
    ages = heartbeats.ages(session)
    return all(ages.get(part, timedelta.max) <= heartbeats.SILENT for part in CARRIERS)


@dataclass
class Wellness:
    """Whether the dispatcher goes round, and those who carry alerts live."""

    database: Database
    role: Role
    good: float = field(default=float("-inf"))  # when a round last succeeded, monotonic

    def touch(self) -> None:
        """A round has succeeded."""
        self.good = time.monotonic()

    def is_well(self) -> bool:
        if time.monotonic() - self.good > LAST_GOOD_SECONDS:
            return False
        with self.database.session(self.role) as session:
            ages = heartbeats.ages(session)
        return all(ages.get(part, timedelta.max) < CARRIERS_SILENT for part in CARRIERS)
