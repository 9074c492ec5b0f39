"""A restore that is being carried out by this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from restore.models import Restore
from strongroom.db import Role
from strongroom.keeper import Held
from strongroom.runtime import Runtime


@dataclass(frozen=True)
class Going:
    """The restore's row, ours for now."""

    runtime: Runtime
    row: Restore
    held: Held

    @property
    def token(self) -> str:
        """Tells this restore's staging from others; the same when it is taken up again."""
        return self.row.id.hex

    @property
    def again(self) -> bool:
        """Whether an earlier attempt may have left something behind."""
        return self.row.attempt > 1

    def moment(self) -> datetime:
        """What stamps the names this restore gives: the same at every attempt.

        The second in which it was asked for; of restores of a source that were asked for in one
        second each has its own.
        """
        second = self.row.asked_at.replace(microsecond=0)
        with self.session() as session:
            earlier = session.execute(
                select(func.count()).where(
                    Restore.source_id == self.row.source_id,
                    Restore.id < self.row.id,
                    Restore.asked_at >= second,
                    Restore.asked_at < second + timedelta(seconds=1),
                )
            ).scalar_one()
        return second + timedelta(seconds=earlier)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.runtime.database.session(Role.WORKER, tenant=self.row.tenant_id) as session:
            yield session

    def note(self, **values: str) -> None:
        """Write down how far it is, for those who wait."""
        with self.session() as session:
            session.execute(
                update(Restore)
                .where(Restore.id == self.row.id, Restore.fence == self.held.fence)
                .values(**values)
            )
