"""Keeps the leases of this process alive, and tells the holder when one is lost.

One thread a process renews everything held, every 15 seconds. Whoever could not renew until ten
seconds before the lease ends (by the monotonic clock, so also after being stopped and woken) is
told through `Held.lost`, which `program.run` watches: the child is ended before anything else.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from strongroom import lifecycle
from strongroom.db import Database, Role

BEAT_SECONDS = 15.0
MARGIN_SECONDS = 10.0

log = structlog.get_logger(__name__)


@dataclass
class Held:
    """One lease of this process."""

    kind: Any  # the model
    row_id: uuid.UUID
    tenant: uuid.UUID
    fence: int
    lost: threading.Event = field(default_factory=threading.Event)
    renewed: float = field(default_factory=time.monotonic)

    @property
    def is_lost(self) -> bool:
        """True also when we were stopped for so long that nobody could tell us."""
        if time.monotonic() - self.renewed > lifecycle.LEASE.total_seconds() - MARGIN_SECONDS:
            self.lost.set()
        return self.lost.is_set()


class Keeper:
    """Renews the leases of one process."""

    def __init__(self, database: Database, *, beat: float = BEAT_SECONDS) -> None:
        self._database = database
        self._beat = beat
        self._held: dict[tuple[str, uuid.UUID], Held] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, row: Any, fence: int) -> Iterator[Held]:
        """Renew the lease of this row until the block ends."""
        held = Held(type(row), row.id, row.tenant_id, fence)
        key = (held.kind.__tablename__, held.row_id)
        with self._lock:
            self._held[key] = held
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
                self._thread.start()
        try:
            yield held
        finally:
            with self._lock:
                self._held.pop(key, None)

    def _run(self) -> None:
        """Until nothing is held any more; whoever holds something next starts a new thread."""
        while True:
            time.sleep(self._beat)
            with self._lock:
                held = list(self._held.values())
                if not held:
                    self._thread = None
                    return
            for one in held:
                self._renew(one)

    def _renew(self, held: Held) -> None:
        try:
            with self._database.session(Role.WORKER, tenant=held.tenant) as session:
                ours = lifecycle.renew(session, held.kind, {held.row_id: held.fence})
        except Exception as error:  # noqa: BLE001 - an edge: the database may be away a while
            log.warning("a lease could not be renewed", row=str(held.row_id), error=str(error))
        else:
            if held.row_id in ours:
                held.renewed = time.monotonic()
            else:
                held.lost.set()
        if held.is_lost:
            log.warning("a lease was lost", table=held.kind.__tablename__, row=str(held.row_id))
