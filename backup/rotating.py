"""One rotation in the hands of a worker: how far it is, written down step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Rotation
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.keeper import Held
from strongroom.lifecycle import Overtaken
from strongroom.runtime import Runtime


class Later(StrongroomError):
    """Something that is not ours to change keeps a step from being done, until then if we know."""

    def __init__(self, message: str, *, until: datetime | None = None) -> None:
        super().__init__(message, until=str(until))
        self.until = until


class KeyFileLocked(Later):
    """The old key file is deleted, but a version of it stays until its object lock ends."""

    code = "key-file-locked"


@dataclass(frozen=True)
class Going:
    """A rotation that is ours for now."""

    runtime: Runtime
    row: Rotation
    held: Held

    @property
    def report(self) -> dict[str, Any]:
        return dict(self.row.report or {})

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.runtime.database.session(Role.WORKER, tenant=self.row.tenant_id) as session:
            yield session

    def note(self, session: Session, stage: str, **more: Any) -> None:
        """This step is done, in the same commit as what it did. Raises Overtaken.

        `self.row` follows once that commit is through, with the next `refresh`.
        """
        now = session.execute(
            select(Rotation)
            .where(Rotation.id == self.row.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).scalar_one()
        if now.fence != self.held.fence or self.held.is_lost:
            raise Overtaken(f"{self.row!r} was taken by another worker.")
        now.stage = stage
        now.report = {**(now.report or {}), **more}
        session.flush()

    def refresh(self) -> None:
        with self.session() as session:
            now = session.get_one(Rotation, self.row.id)
        self.row.stage, self.row.report = now.stage, now.report
