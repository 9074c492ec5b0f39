"""What the platform stands on, looked at again and again: each region, and the key store.

A region gives back a canary that was written there before, and is asked for nothing else: one that
lists and answers but holds other bytes is not good. What was seen is a row for each, with the last
time that it was good.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from strongroom import reaching
from strongroom.db import Base, Role
from strongroom.errors import StrongroomError
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime
from strongroom.storage import Act, Missing, Store, Untrue

SECONDS = 20.0  # between two rounds
PATIENCE = 90.0  # for all of one round
ADVISORY_LOCK = 0x5354_524C_4F4F_4B53  # of two processes one looks
PREFIX = "canary/"
KEY = f"{PREFIX}look.json"
LASTS = timedelta(minutes=50)  # of rights that are good for an hour
KEYS = "keys"
REGION = "region "  # and its name

log = structlog.get_logger(__name__)


class Look(Base):
    """What was seen of one thing, last; on the database's clock."""

    __tablename__ = "looks"

    what: Mapped[str] = mapped_column(primary_key=True)  # "region <name>" or "keys"
    at: Mapped[datetime]
    good_at: Mapped[datetime | None]  # None: never yet
    bad_since: Mapped[datetime | None]  # None: it is good
    failure: Mapped[dict[str, Any] | None]  # code and message
    seconds: Mapped[float]  # that the answer took
    apart: Mapped[float | None]  # seconds that its clock is ahead of ours, when it last said it


@dataclass(frozen=True)
class Canary:
    """What lies in a region to be read back; nobody's data."""

    region: Region
    store: Store
    until: float  # on the process's clock: then the rights are cut anew

    @property
    def text(self) -> bytes:
        return f'{{"strongroom": "canary", "bucket": "{self.region.bucket}"}}\n'.encode()

    def look(self) -> float:
        """Raises a StorageError when it does not come back as it was written; gives how many
        seconds the region's clock is ahead of ours."""
        try:
            self._require(self.store.get(KEY))
        except Missing:  # a new region, or one that was wiped: what is missing there others say
            self.store.put(KEY, self.text)
            self._require(self.store.get(KEY))
        return (self.store.server_date() - datetime.now(UTC)).total_seconds()

    def _require(self, found: bytes) -> None:
        if hashlib.sha256(found).digest() != hashlib.sha256(self.text).digest():
            raise Untrue(
                f"Wanted the canary back from region {self.region.name}, found {len(found)} other "
                "bytes. Look at what answers there.",
                region=self.region.name,
            )


class Lookout:
    """The rounds of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._canaries: dict[str, Canary] = {}  # by the region's name

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What fails is logged and tried again."""
        while not stop.is_set():
            try:
                self.round()
            except Exception:  # an edge: the next round tries again
                log.exception("the lookout failed")
            stop.wait(SECONDS)

    def round(self) -> None:
        """Each thing in a thread of its own: one that hangs keeps nobody from the others."""
        with self._runtime.database.alone(Role.OPERATOR, ADVISORY_LOCK) as alone:
            if not alone:
                return
            regions = self._regions()
            asked: dict[str, Callable[[], object]] = {
                name_of(row): (lambda row=row: self._canary(row).look())  # type: ignore[misc]
                for row in regions
            }
            asked[KEYS] = self._runtime.vault.provider.probe
            looking = [
                threading.Thread(target=self._look, args=each, name="look", daemon=True)
                for each in asked.items()
            ]
            for thread in looking:
                thread.start()
            until = time.monotonic() + PATIENCE
            for thread in looking:  # one that hangs is left behind, and its row grows old
                thread.join(max(0.0, until - time.monotonic()))
            self._forget(list(asked))

    def _regions(self) -> Sequence[Region]:
        with self._runtime.database.session(Role.OPERATOR) as session:
            wanted = select(Region).where(Region.state == RegionState.OPEN).order_by(Region.rank)
            return session.execute(wanted).scalars().all()

    def _canary(self, row: Region) -> Canary:
        known = self._canaries.get(row.name)
        same = known is not None and known.region.address() == row.address()
        if known is None or not same or known.until < time.monotonic():
            store = reaching.store(self._runtime.settings, row, prefix=PREFIX, act=Act.RECORD)
            known = Canary(row, store, time.monotonic() + LASTS.total_seconds())
            self._canaries[row.name] = known
        return known

    def _look(self, what: str, ask: Callable[[], object]) -> None:
        began, failure, said = time.monotonic(), None, None
        try:
            said = ask()
        except StrongroomError as error:
            failure = {"code": error.code, "message": error.message}
        except Exception as error:  # an edge: whatever is wrong there is what was seen
            log.exception("a look failed", what=what)
            failure = {"code": "look-failed", "message": type(error).__name__}
        took = time.monotonic() - began
        self._note(what, failure, took, said if isinstance(said, float) else None)

    def _note(
        self, what: str, failure: dict[str, str] | None, seconds: float, apart: float | None
    ) -> None:
        now = func.statement_timestamp()  # one moment, however often it is written
        seen: dict[str, Any] = {"at": now, "failure": failure, "seconds": seconds, "apart": apart}
        seen["bad_since"] = None if failure is None else func.coalesce(Look.bad_since, now)
        if failure is None:
            seen["good_at"] = now
        first = {**seen, "bad_since": None if failure is None else now}
        with self._runtime.database.session(Role.OPERATOR) as session:
            session.execute(
                insert(Look)
                .values(what=what, **first)
                .on_conflict_do_update(index_elements=["what"], set_=seen)
            )

    def _forget(self, asked: Sequence[str]) -> None:
        """A region that was closed is not missed."""
        with self._runtime.database.session(Role.OPERATOR) as session:
            session.execute(delete(Look).where(Look.what.not_in(asked)))


def name_of(region: Region) -> str:
    return f"{REGION}{region.name}"
