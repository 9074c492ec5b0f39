"""Signs of life: every process says now and then that it is there, and what it stands on.

A process that ends takes its row away; one that was killed leaves it behind, and it grows old.
Silence is what tells: nobody has to fail in order to be missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom import owner
from strongroom.db import Base, Database, Role
from strongroom.lifecycle import database_now

SECONDS = 10.0  # between two beats
SILENT = timedelta(seconds=60)  # then a process is missed
FORGOTTEN = timedelta(days=1)


class Part(StrEnum):
    """What has to run somewhere, so that the promises are kept."""

    DISPATCHER = "dispatcher"
    WORKER = "worker"  # of backups, copies, proofs
    RESTORES = "restores"  # the workers that restores do not share
    UPKEEP = "upkeep"


class Beat(Base):
    """One process; on the database's clock."""

    __tablename__ = "beats"

    owner: Mapped[str] = mapped_column(primary_key=True)  # host:boot:pid:start
    part: Mapped[Part]
    begun_at: Mapped[datetime]
    at: Mapped[datetime]
    facts: Mapped[dict[str, Any]]  # free_bytes below its work folder; failing: parts of its rounds


@dataclass(frozen=True)
class Sign:
    """The latest of one part, of all its processes."""

    at: datetime
    processes: int  # that are not silent
    least_free: int | None  # bytes, of those that are not silent
    failing: tuple[str, ...]


Facts = Callable[[], Mapping[str, Any]]


class Beating:
    """The beats of one process: in a thread of its own, or between the rounds of the one it has."""

    def __init__(self, database: Database, role: Role, part: Part, facts: Facts) -> None:
        self._database = database
        self._role = role
        self._part = part
        self._facts = facts
        self._next = 0.0  # on the process's clock

    def start(self, stop: threading.Event) -> threading.Thread:
        thread = threading.Thread(target=self.run, args=(stop,), name="beats", daemon=True)
        thread.start()
        return thread

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. A database that is away is asked again with the next beat."""
        while not stop.is_set():
            self.go_on()
            stop.wait(SECONDS / 2)
        self.end()

    def go_on(self) -> None:
        """A beat, if it is time for one."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS
            with suppress(SQLAlchemyError):
                self.beat()

    def beat(self) -> None:
        facts = dict(self._facts())
        with self._database.session(self._role) as session:
            row = {"owner": owner.me(), "part": self._part, "facts": facts}
            now = func.clock_timestamp()
            session.execute(
                insert(Beat)
                .values(**row, begun_at=now, at=now)
                .on_conflict_do_update(index_elements=["owner"], set_={"at": now, "facts": facts})
            )

    def end(self) -> None:
        """Gone on purpose; with it goes what was left behind long ago."""
        with suppress(SQLAlchemyError), self._database.session(self._role) as session:
            old = func.clock_timestamp() - FORGOTTEN
            session.execute(delete(Beat).where((Beat.owner == owner.me()) | (Beat.at < old)))


def read(session: Session) -> Mapping[Part, Sign]:
    """The latest sign of each part; one that never gave any is left out."""
    now = database_now(session)
    rows = session.execute(select(Beat)).scalars().all()
    by_part = {part: [row for row in rows if row.part is part] for part in Part}
    return {part: sign(mine, now) for part, mine in by_part.items() if mine}


def sign(rows: Sequence[Beat], now: datetime) -> Sign:
    """Of one part's processes, at least one. Pure."""
    alive = [row for row in rows if now - row.at <= SILENT]
    free = [row.facts["free_bytes"] for row in alive if "free_bytes" in row.facts]
    failing = {name for row in alive for name in row.facts.get("failing", ())}
    return Sign(
        at=max(row.at for row in rows),
        processes=len(alive),
        least_free=min(free, default=None),
        failing=tuple(sorted(failing)),
    )
