"""Copies that wait too long: lag alone is a finding, whatever the cause.

A region may be away for days without any run failing. A copy may wait as long as the policy lets
a tenant be without a newer point; after that a person is told, once a region, until all are there.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backup import findings, planning
from backup import policy as policies
from backup.findings import Sight
from backup.models import Copy, Point
from backup.states import CopyState
from strongroom.lifecycle import Step
from strongroom.regions import Region

LAGS = "copy-lags"
WAITS = (CopyState.WAITING, CopyState.COPYING, CopyState.QUARANTINED)


def look(session: Session, copy: Copy, *, now: datetime) -> None:
    """Open, date or settle the finding about the copy's region."""
    policy = policies.from_json(planning.current_policy(session, copy.tenant_id).body)
    limit = timedelta(hours=policy.rpo_hours)
    waiting = [since for since in _waiting_since(session, copy) if since + limit < now]
    region = session.get_one(Region, copy.region_id)
    params = {
        "copies": len(waiting),
        "since": min(waiting, default=now).isoformat(),
        "hours": policy.rpo_hours,
    }
    sight = Sight(LAGS, region.name, params=params, repository=copy.repository_id)
    seen = [sight] if waiting else []
    findings.report(
        session, copy.tenant_id, seen, codes=[LAGS], repository=copy.repository_id, now=now
    )


def settle(session: Session, copy: Copy, *, now: datetime) -> None:
    """After a copy has come: look again, if there is a finding at all."""
    if findings.is_open(session, copy.tenant_id, [LAGS]):
        look(session, copy, now=now)


def _waiting_since(session: Session, copy: Copy) -> list[datetime]:
    """For each copy that waits for this repository, since when: as long as it has been wanted."""
    wanted = (
        select(func.max(Step.at))
        .where(
            Step.tenant_id == Copy.tenant_id,
            Step.row_id == Copy.id,
            Step.of == Copy.__tablename__,
            Step.old.in_(["", CopyState.STORED]),  # it was new, or what was there vanished
        )
        .scalar_subquery()
    )
    rows = session.execute(
        select(func.greatest(Point.first_seen_at, wanted))
        .select_from(Copy)
        .join(Point, Point.id == Copy.point_id)
        .where(
            Copy.tenant_id == copy.tenant_id,
            Copy.repository_id == copy.repository_id,
            Copy.state.in_(WAITS),
        )
    )
    return list(rows.scalars())
