"""The watch: looks every minute at what is wrong, and has the alerts kept and told accordingly.

It runs in the upkeep, on the rows, and not through the broker. The dispatcher watches it in turn: where
no dead man's switch is pinged any more, one of the two has stopped (`strongroom.deadman`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from strongroom import heartbeats
from strongroom.alerts import keeping
from strongroom.db import Role
from strongroom.runtime import Runtime
from web.notices import overdue, troubles

ROUND_SECONDS = 60.0
ADVISORY_LOCK = 7_215_501_886
OVERDUE_EVERY = timedelta(minutes=15)
PART = "watch"  # its heartbeat

log = structlog.get_logger(__name__)


@dataclass
class Watch:
    """The rounds of one process."""

    runtime: Runtime
    began: float = field(default_factory=time.monotonic)
    told_overdue: datetime | None = None  # when tenants were last looked at for it

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            try:
                self.round()
                self._tell_tenants()
            except Exception:  # an edge: the next round tries again
                log.exception("the watch failed")
            stop.wait(ROUND_SECONDS)

    def round(self) -> int:
        """One look, by one process at a time, which alone says that the watch lives; gives how many
        messages were put out."""
        runtime = self.runtime
        with runtime.database.alone(Role.OPERATOR, ADVISORY_LOCK) as alone:
            if not alone:
                return 0
            found = troubles.look(troubles.of_platform(runtime, settled=self._is_settled()))
            found.unseen += self._unsure()
            with runtime.database.session(Role.OPERATOR) as session:
                heartbeats.forget(session)
                now = runtime.now()
                told = keeping.keep(session, found.troubles, now=now, unseen=found.unseen)
            with runtime.database.session(Role.OPERATOR) as session:
                heartbeats.beat(session, PART)
            return told

    def _unsure(self) -> list[str]:
        """Beginnings of groups that this look says nothing of, one way or the other."""
        with self.runtime.database.session(Role.OPERATOR) as session:
            regions = troubles.unsure_of_regions(session)
        return regions if self._is_settled() else [*regions, "part.", "footing."]

    def _is_settled(self) -> bool:
        """After a start everybody else is given the time to give a first sign of life."""
        return time.monotonic() - self.began > heartbeats.SILENT.total_seconds()

    def _tell_tenants(self) -> None:
        now = self.runtime.now()
        if self.told_overdue is None or now - self.told_overdue >= OVERDUE_EVERY:
            overdue.tell(self.runtime)
            self.told_overdue = now
