"""Ends a restore that is under way: somebody cancelled it, or its worker lost it.

Whoever cancels writes it on the row; the worker looks there once a second, ends the program that
runs, clears away what it staged, and says so. Once the exchange has begun it is too late, which is
decided on the row: `Going.past_return` and the request exclude each other.
"""

from __future__ import annotations

import threading
from typing import Self

import structlog
from sqlalchemy import select

from restore.models import Restore
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.keeper import Held
from strongroom.runtime import Runtime

LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Cancelled(StrongroomError):
    """Somebody took it back; nothing live was touched."""

    code = "restore-cancelled"
    permanent = True


class Stop(threading.Event):
    """For the `stop` of calls: set when the restore is cancelled, or no longer ours."""

    def __init__(self, runtime: Runtime, held: Held) -> None:
        super().__init__()
        self.cancelled = False
        self._runtime, self._held = runtime, held
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cancel", daemon=True)

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def is_set(self) -> bool:
        return super().is_set() or self._held.is_lost

    def look(self) -> None:
        """Whether somebody has cancelled by now."""
        asked = select(Restore.cancel_asked_at).where(Restore.id == self._held.row_id)
        with self._runtime.database.session(Role.WORKER, tenant=self._held.tenant) as session:
            if session.execute(asked).scalar_one_or_none() is not None:
                self.cancelled = True
                self.set()

    def check(self) -> None:
        """Between two steps. Raises Cancelled."""
        self.look()
        if self.cancelled:
            raise cancelled()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - an edge: the database may be away a while
                log.warning("could not look for a cancellation", error=str(error))


def cancelled() -> Cancelled:
    return Cancelled("The restore was cancelled before anything live was touched.")
