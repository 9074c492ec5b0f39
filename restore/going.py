"""A restore that is being carried out by this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from restore.models import Restore
from restore.progress import Teller
from restore.states import Destination
from restore.stopping import Stop, cancelled
from strongroom.db import Role
from strongroom.keeper import Held
from strongroom.lifecycle import Overtaken
from strongroom.runtime import Runtime

log = structlog.get_logger(__name__)


class Phase(StrEnum):
    """How far it is. From the last two on nobody cancels."""

    BEGINNING = "beginning"
    SAFETY = "safety-point"
    FETCHING = "fetching"
    LOADING = "loading"  # a database, into a throw-away cluster
    COMPARING = "comparing"
    PLACING = "placing"  # a database, beside the live one
    LANDING = "landing"  # it gets its name
    SWAPPING = "swapping"  # it changes places with what is live


LOOKED_BACK = timedelta(hours=1)  # nobody asks for more in an hour than it has seconds
FINAL = frozenset({Phase.LANDING, Phase.SWAPPING})


def stamp(asked: Sequence[datetime]) -> datetime:
    """A second of its own for the last of these, which were asked for in this order. Pure."""
    taken = None
    for moment in asked:
        second = moment.replace(microsecond=0)
        taken = second if taken is None else max(second, taken + timedelta(seconds=1))
    assert taken is not None  # it is one of them itself
    return taken


@dataclass(frozen=True)
class Going:
    """The restore's row, ours for now."""

    runtime: Runtime
    row: Restore
    held: Held
    stop: Stop

    @property
    def token(self) -> str:
        """Tells this restore's staging from others; the same when it is taken up again."""
        return self.row.id.hex

    @property
    def again(self) -> bool:
        """Whether an earlier attempt may have left something behind."""
        return self.row.attempt > 1

    @property
    def in_place(self) -> bool:
        return self.row.destination is Destination.IN_PLACE

    def moment(self) -> datetime:
        """What stamps the names this restore gives: the same at every attempt, and no other's.

        The second in which it was asked for, or the next one that no earlier restore of the source
        has.
        """
        since = self.row.asked_at - LOOKED_BACK
        with self.session() as session:
            asked = session.execute(
                select(Restore.asked_at)
                .where(
                    Restore.source_id == self.row.source_id,
                    Restore.dry_run.is_(False),
                    Restore.id <= self.row.id,
                    Restore.asked_at > since,
                )
                .order_by(Restore.id)
            ).scalars()
            return stamp([*asked] or [self.row.asked_at])

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.runtime.database.session(Role.WORKER, tenant=self.row.tenant_id) as session:
            yield session

    def note(self, **values: Any) -> None:
        """Write down how far it is, for those who wait."""
        with self.session() as session:
            session.execute(
                update(Restore)
                .where(Restore.id == self.row.id, Restore.fence == self.held.fence)
                .values(**values)
                .execution_options(synchronize_session=False)
            )

    def enter(self, phase: Phase) -> None:
        """The next step begins, if nobody has cancelled. Raises Cancelled."""
        self.stop.check()
        self.note(phase=phase, progress=None)

    def past_return(self) -> None:
        """The last step begins: whoever cancels from here on is told that it is too late.

        Raises Cancelled where somebody was quicker, Overtaken where it is no longer ours.
        """
        phase = Phase.SWAPPING if self.in_place else Phase.LANDING
        with self.session() as session:
            ours = session.execute(
                update(Restore)
                .where(
                    Restore.id == self.row.id,
                    Restore.fence == self.held.fence,
                    Restore.cancel_asked_at.is_(None),
                )
                .values(phase=phase, progress=None)
                .returning(Restore.id)
                .execution_options(synchronize_session=False)
            ).first()
        if ours is not None and not self.held.is_lost:
            return
        self.stop.look()
        if self.stop.cancelled:
            raise cancelled()
        raise Overtaken("The restore was taken by another worker.")

    def teller(self, total: int | None) -> Teller:
        """For whoever moves the bytes of this phase, of which there are about so many."""
        return Teller(self._tell, total=total)

    def _tell(self, told: dict[str, Any]) -> None:
        """A figure that cannot be written stops no restore."""
        try:
            self.note(progress=told)
        except SQLAlchemyError as error:
            log.warning("progress was not written", restore=str(self.row.id), error=str(error))
