"""Ends a call of restic whose region has gone silent: restic alone would try for a quarter of an hour.

restic has no option for how long it tries. So while a call goes on its region is asked, four times a
minute, for the small object that every probe reads. Nothing is asked in the first seconds, which
most calls do not outlast. A region that answers anything at all is not silent: restic then goes on
as it sees fit.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import structlog

from backup import probing, repositories
from backup.repositories import Site
from backup.restic.calls import Surroundings
from strongroom.errors import StrongroomError
from strongroom.storage import Unreachable

EVERY_SECONDS = 15.0
SILENT_SECONDS = 120.0  # a region that was restarted has answered again by then

log = structlog.get_logger(__name__)


@dataclass
class Silence:
    """What the answers of a region come to. Pure; moments are seconds of one clock."""

    since: float | None = None  # the first question that nothing has answered since
    last: float | None = None  # the last one that was not answered

    def heard(self, *, asked_at: float, answered: bool) -> None:
        """Where nobody asked for long, what was before says nothing."""
        late = self.last is not None and asked_at - self.last > SILENT_SECONDS
        if answered or late or self.since is None:
            self.since = None if answered else asked_at
        self.last = None if answered else asked_at

    @property
    def is_long(self) -> bool:
        """No single question makes a silence."""
        if self.since is None or self.last is None:
            return False
        return self.last - self.since >= SILENT_SECONDS


def surroundings(
    site: Site, *, seconds: float, stop: threading.Event | None = None
) -> Surroundings:
    """Where restic may run for this repository, until `stop`, or until its region is silent."""
    watch = Watch(site, stop=stop)
    return repositories.surroundings(site.runtime, site.row.id, seconds=seconds, stop=watch)


def also(here: Surroundings, other: Site) -> Surroundings:
    """The same, where a call needs another region too."""
    return replace(here, stop=Watch(other, stop=here.stop))


class Watch(threading.Event):
    """For the `stop` of a call: set when `stop` is, and raises Unreachable when the region is silent.

    It is looked at several times a second while the call goes on, and asks in threads of its own.
    """

    def __init__(self, site: Site, *, stop: threading.Event | None = None) -> None:
        super().__init__()
        self._site = site
        self._stop = stop
        self._silence = Silence()
        self._asking: threading.Thread | None = None
        self._due = time.monotonic() + EVERY_SECONDS

    def is_set(self) -> bool:
        if self._stop is not None and self._stop.is_set():
            return True
        if self._silence.is_long:
            raise Unreachable(
                f"Region {self._site.region.name} has not answered for "
                f"{SILENT_SECONDS:.0f} seconds, so restic was ended. It is tried again later, or "
                "elsewhere; check that the region is up.",
                region=self._site.region.name,
            )
        now = time.monotonic()
        if now >= self._due and (self._asking is None or not self._asking.is_alive()):
            self._due = now + EVERY_SECONDS
            self._asking = threading.Thread(target=self._ask, name="watch", daemon=True)
            self._asking.start()
        return False

    def _ask(self) -> None:
        began = time.monotonic()
        try:
            probing.reach(self._site)
        except Unreachable as error:
            log.warning("a region is silent", region=self._site.region.name, error=error.message)
            self._silence.heard(asked_at=began, answered=False)
        except StrongroomError:
            self._silence.heard(asked_at=began, answered=True)  # it may say no: that is an answer
        else:
            self._silence.heard(asked_at=began, answered=True)
