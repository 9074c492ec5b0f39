"""The watch: looks every minute at what is wrong, and has the alerts kept and told accordingly.

It runs in the upkeep, on the rows, and not through the broker. The dispatcher watches it in turn: where
no dead man's switch is pinged any more, one of the two has stopped (`strongroom.deadman`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from strongroom import heartbeats, storage
from strongroom.alerts import keeping
from strongroom.alerts.deciding import Trouble
from strongroom.db import Role
from strongroom.dispatch import CLOCKS_APART, Due
from strongroom.errors import StrongroomError
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime
from web.notices import overdue, troubles
from web.notices.troubles import Part

ROUND_SECONDS = 60.0
ADVISORY_LOCK = 7_215_501_886
OVERDUE_EVERY = timedelta(minutes=15)
MISSES = 2  # a region that did not answer once may just have been slow
PART = "watch"  # its heartbeat

log = structlog.get_logger(__name__)


@dataclass
class Watch:
    """The rounds of one process."""

    runtime: Runtime
    dues: Sequence[Due]
    missed: dict[str, int] = field(default_factory=dict)  # by region: looks in a row without answer
    began: float = field(default_factory=time.monotonic)
    told_overdue: datetime | None = None  # when tenants were last looked at for it

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            try:
                self.round()
                with self.runtime.database.session(Role.OPERATOR) as session:
                    heartbeats.beat(session, PART)
            except Exception:  # an edge: the next round tries again
                log.exception("the watch failed")
            stop.wait(ROUND_SECONDS)

    def round(self) -> int:
        """One look, by one process at a time; gives how many messages were put out."""
        runtime = self.runtime
        with runtime.database.alone(Role.OPERATOR, ADVISORY_LOCK) as alone:
            if not alone:
                return 0
            parts = troubles.of_platform(runtime, self.dues, settled=self._is_settled())
            parts.append(Part(("region.",), self._of_regions))
            found = troubles.look(parts)
            found.unseen += self._unsure()
            self._tell_tenants()
            with runtime.database.session(Role.OPERATOR) as session:
                heartbeats.forget(session)
                now = runtime.now()
                return keeping.keep(session, found.troubles, now=now, unseen=found.unseen)

    def _unsure(self) -> list[str]:
        """Beginnings of groups that this look says nothing of, one way or the other."""
        once = [
            f"region.silent:{name}" for name, count in self.missed.items() if 0 < count < MISSES
        ]
        return once if self._is_settled() else [*once, "part.", "footing."]

    def _is_settled(self) -> bool:
        """After a start everybody else is given the time to give a first sign of life."""
        return time.monotonic() - self.began > heartbeats.SILENT.total_seconds()

    def _tell_tenants(self) -> None:
        now = self.runtime.now()
        if self.told_overdue is None or now - self.told_overdue >= OVERDUE_EVERY:
            overdue.tell(self.runtime)
            self.told_overdue = now

    def _of_regions(self) -> list[Trouble]:
        """Each region in use is asked for its bucket and its clock."""
        wanted = select(Region).where(Region.state == RegionState.OPEN).order_by(Region.rank)
        with self.runtime.database.session(Role.OPERATOR) as session:
            rows = session.execute(wanted).scalars().all()
        return [trouble for row in rows if (trouble := self._of_region(row)) is not None]

    def _of_region(self, row: Region) -> Trouble | None:
        try:
            store = storage.Store(row.address(), self.runtime.settings.regions[row.name])
            there = store.exists_bucket()
            apart = abs(store.server_date() - self.runtime.now())
        except (StrongroomError, KeyError) as error:
            log.warning("a region gives no answer", region=row.name, error=type(error).__name__)
            there, apart = False, CLOCKS_APART
        self.missed[row.name] = 0 if there else self.missed.get(row.name, 0) + 1
        if self.missed[row.name] >= MISSES:
            return Trouble(f"region.silent:{row.name}", "region.silent", severe=True)
        if there and apart > CLOCKS_APART and not self.runtime.settings.demo:
            params = {"seconds": round(apart.total_seconds())}
            return Trouble(f"region.clock:{row.name}", "region.clock", severe=True, params=params)
        return None
