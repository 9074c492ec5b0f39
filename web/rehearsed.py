"""The last rehearsed restore of each tenant: when, how long, and whether all came back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from backup.models import Repository
from restore.models import Drill
from restore.states import DrillState
from strongroom.regions import Region


@dataclass(frozen=True)
class LastDrill:
    """One tenant's."""

    passed: bool
    at: datetime  # when it ended
    seconds: float | None  # what a real restore would have taken
    region: str


def last_of(session: Session, tenants: Collection[UUID]) -> dict[UUID, LastDrill]:
    """By tenant; who had none that came to an end is left out."""
    rows = session.execute(
        select(
            Drill.tenant_id,
            Drill.state,
            Drill.ended_at,
            Drill.restore_seconds,
            Drill.seconds,
            Region.name,
        )
        .join(Repository, Repository.id == Drill.repository_id)
        .join(Region, Region.id == Repository.region_id)
        .where(
            Drill.tenant_id.in_(tenants),
            Drill.state.in_([DrillState.PASSED, DrillState.FAILED]),
            Drill.ended_at.is_not(None),
        )
        .ext(distinct_on(Drill.tenant_id))
        .order_by(Drill.tenant_id, Drill.ended_at.desc())
    )
    return {
        row.tenant_id: LastDrill(
            row.state is DrillState.PASSED,
            row.ended_at,
            row.seconds if row.restore_seconds is None else row.restore_seconds,
            row.name,
        )
        for row in rows
    }
