"""A delivery that is being made by this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState
from strongroom.db import Role
from strongroom.keeper import Held
from strongroom.lifecycle import Overtaken
from strongroom.runtime import Runtime

NOTED_EVERY = 1.0  # seconds between two words about progress


@dataclass
class Going:
    """The delivery's row, ours for now."""

    runtime: Runtime
    row: Delivery
    held: Held
    _noted: float = field(default=0.0)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.runtime.database.session(Role.WORKER, tenant=self.row.tenant_id) as session:
            yield session

    def note(self, **values: Any) -> None:
        """Write it down. Raises Overtaken when the delivery was taken back, or is somebody else's."""
        with self.session() as session:
            noted = session.execute(
                update(Delivery)
                .where(
                    Delivery.id == self.row.id,
                    Delivery.fence == self.held.fence,
                    Delivery.state == DeliveryState.RUNNING,
                )
                .values(**values)
                .returning(Delivery.id)
            ).first()
        if noted is None or self.held.is_lost:
            self.held.lost.set()  # ends whatever program is under way
            raise Overtaken(f"Delivery {self.row.id} is no longer ours to make.")

    def progress(self, phase: str, done: int) -> None:
        """How far it is, for those who wait; at most once a second."""
        now = time.monotonic()
        if now - self._noted >= NOTED_EVERY:
            self._noted = now
            self.note(progress={"phase": phase, "bytes": done})
