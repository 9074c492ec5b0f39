"""Makes counts of what a tenant has under way hold: whoever asks for more takes turns."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def lock(session: Session, tenant: UUID) -> None:
    """To the end of the transaction; before anything is counted, and before `wanted.lock`.

    Without it two requests at once would each count what the other has not written yet.
    """
    key = func.hashtextextended(f"asking:{tenant}", 0)
    session.execute(select(func.pg_advisory_xact_lock(key)))
