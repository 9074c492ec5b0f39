"""After a recovery: what the rows know and the regions do not have any more.

A point that no region has was removed since the dump was taken, by us or by somebody else; no row
says which. It is let go, and said in the report. What lies beneath its deleted objects is touched by
nobody: it freezes the repository with the next removal, for a person (`unexplained`). Mending it
would bring back what retention let go.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Exists, exists, select, update
from sqlalchemy.orm import Session

from backup import followers, healing, repositories
from backup.models import Copy, PointSource, Snapshot
from backup.states import CopyState
from strongroom.actors import Actor
from strongroom.lifecycle import Move, Reason, advance


def let_go(session: Session, tenant: UUID, *, by: Actor, now: datetime) -> int:
    """Points that no region has any more wait for no copy. Ask only when all regions were read."""
    waiting = session.execute(
        select(Copy).where(
            Copy.tenant_id == tenant, Copy.state.in_([CopyState.WAITING, CopyState.COPYING])
        )
    ).scalars()
    places = [row.id for row, _region in repositories.of_tenant(session, tenant)]
    points: set[UUID] = set()
    for copy in list(waiting):
        if any(followers.is_whole(session, copy.point_id, place) for place in places):
            continue
        move = Move(by=by, at=now, reason=Reason("gone-before-recovery"))
        if copy.state is CopyState.COPYING:
            advance(session, copy, CopyState.WAITING, move)
        advance(session, copy, CopyState.REMOVED, move)
        points.add(copy.point_id)
    session.flush()
    lost = (Snapshot.tenant_id == tenant, Snapshot.lost_at.is_not(None))
    session.execute(
        update(Snapshot)
        .where(*lost, Snapshot.forgotten_at.is_(None), ~_needed())
        .values(forgotten_at=now)
    )
    return len(points)


def want_healing(session: Session, tenant: UUID, *, by: Actor, now: datetime) -> None:
    """What a point needs and is gone from a region is looked for beneath, and in the others."""
    rows = session.execute(
        select(Snapshot.repository_id, Snapshot.restic_id).where(
            Snapshot.tenant_id == tenant,
            Snapshot.lost_at.is_not(None),
            Snapshot.forgotten_at.is_(None),
        )
    ).all()
    for repository in {row.repository_id for row in rows}:
        names = sorted(row.restic_id for row in rows if row.repository_id == repository)
        healing.want(session, tenant, repository, seen={"snapshots": names}, by=by, now=now)


def _needed() -> Exists:
    """Whether a copy that was not let go, in any region, is of a point with that snapshot."""
    return exists().where(
        PointSource.snapshot_id.in_([Snapshot.id, Snapshot.origin_id]),
        Copy.point_id == PointSource.point_id,
        Copy.state != CopyState.REMOVED,
    )
