"""What a worker does first when a doorbell has rung: it takes the row, if that still waits."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

import structlog

from strongroom import owner
from strongroom.actors import WORKER
from strongroom.db import Base, Role
from strongroom.lifecycle import Move, take
from strongroom.runtime import Runtime

Row = TypeVar("Row", bound=Base)

log = structlog.get_logger(__name__)


def answer(runtime: Runtime, kind: type[Row], tenant: UUID, row_id: UUID) -> tuple[Row, int] | None:
    """The row, which is ours now, and its fence.

    None where there is nothing to do: it is none of this tenant's, or does not wait (any more).
    """
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(kind, row_id)
        if row is None:
            log.warning("a doorbell named no row", of=kind.__tablename__, row=str(row_id))
            return None
        fence = take(session, row, owner=owner.me(), move=Move(by=WORKER, at=runtime.now()))
    return None if fence is None else (row, fence)
