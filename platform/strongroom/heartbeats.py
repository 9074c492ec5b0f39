"""Signs of life: each part says now and then that it goes on; who is silent is missed.

On the database's clock, as leases are: hosts whose clocks differ miss nobody wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom import owner
from strongroom.db import Base

EVERY_SECONDS = 20.0
SILENT = timedelta(minutes=3)  # longer than that, and somebody has to look
FORGOTTEN = timedelta(days=1)


class Heartbeat(Base):
    """When one process last said that it goes on with a part of the work."""

    __tablename__ = "heartbeats"

    part: Mapped[str] = mapped_column(primary_key=True)  # "dispatcher", "worker:backup"
    process: Mapped[str] = mapped_column(primary_key=True)  # as leases name their owner
    at: Mapped[datetime]  # on the database's clock
    # free_bytes below its work folder; failing: parts of the newest round that failed
    facts: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


def beat(session: Session, *parts: str, **facts: Any) -> None:
    """This process goes on with these parts, and says this of itself."""
    process = owner.me()
    for part in parts:
        session.execute(
            insert(Heartbeat)
            .values(part=part, process=process, at=func.clock_timestamp(), facts=facts)
            .on_conflict_do_update(
                index_elements=["part", "process"],
                set_={"at": func.clock_timestamp(), "facts": facts},
            )
        )


def ages(session: Session) -> Mapping[str, timedelta]:
    """How long ago each part was heard of last, in whatever process."""
    age = func.clock_timestamp() - func.max(Heartbeat.at)
    return {
        row[0]: row[1]
        for row in session.execute(select(Heartbeat.part, age).group_by(Heartbeat.part))
    }


def alive(session: Session) -> Mapping[str, int]:
    """How many processes go on with each part."""
    rows = session.execute(
        select(Heartbeat.part, func.count())
        .where(Heartbeat.at > func.clock_timestamp() - SILENT)
        .group_by(Heartbeat.part)
    )
    return {row[0]: row[1] for row in rows}


def forget(session: Session) -> None:
    """Processes that have been gone for long."""
    session.execute(delete(Heartbeat).where(Heartbeat.at < func.clock_timestamp() - FORGOTTEN))
