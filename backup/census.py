"""Whether the snapshots we know of really lie in the bucket: restic itself cannot notice one gone.

Taken under the lease, by one listing. A snapshot that is missing counts for nothing from then on:
no point is shared with it, no copy rests on it, and its copies wait to be brought again from a
region that has it. One that is seen again, because somebody brought the bucket back, counts again
once it is proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from backup import healing, probing, strangers
from backup.models import Act, Copy, PointSource, Removal, Snapshot
from backup.repositories import Site
from backup.states import ActKind, CopyState, RemovalState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.lifecycle import Move, Reason, advance
from strongroom.storage import Store

CONFIRMED = 5  # so many that a listing lacks are asked for by name before it is believed

log = structlog.get_logger(__name__)


def take(site: Site, store: Store, *, recovering: bool = False) -> int:
    """Compare the rows with the listing; gives how many snapshots were found missing now.

    While recovering, nothing is wanted for them yet: what the rows say is older than the bucket.
    Raises Untrue when the listing lacks what is there.
    """
    head = f"{site.prefix}snapshots/"
    listed = {found.key.removeprefix(head) for found in store.list(head)}
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        rows = session.execute(
            select(Snapshot.id, Snapshot.restic_id, Snapshot.lost_at, Snapshot.origin_id).where(
                Snapshot.repository_id == site.row.id, Snapshot.forgotten_at.is_(None)
            )
        ).all()
        lost, back = compare([(row.id, row.restic_id, row.lost_at) for row in rows], listed)
        names = [f"snapshots/{row.restic_id}" for row in rows if row.id in lost]
        probing.confirm(site, store, names[:CONFIRMED])
        unknown = listed.difference(row.restic_id for row in rows)
        there = {row.origin_id or row.id for row in rows if row.restic_id in listed}
        gone = [
            row.id
            for row in rows
            if row.restic_id not in listed and (row.origin_id or row.id) not in there
        ]
        now = site.runtime.now()
        if back:
            session.execute(update(Snapshot).where(Snapshot.id.in_(back)).values(lost_at=None))
        if lost:
            values = {"lost_at": now, "checked_at": None, "verified_at": None}
            session.execute(update(Snapshot).where(Snapshot.id.in_(lost)).values(**values))
            _want_again(session, site, lost, now=now)
            log.error("snapshots vanished", repository=str(site.row.id), count=len(lost))
            taken = [row.restic_id for row in rows if row.id in set(lost)]
            taken = [name for name in taken if name not in _let_go(session, site)]
            if taken and not recovering:
                of, seen = (site.row.tenant_id, site.row.id), {"snapshots": taken}
                healing.want(session, *of, seen=seen, by=WORKER, now=now)
        vanished = session.execute(select(Snapshot).where(Snapshot.id.in_(gone))) if gone else None
        missing = vanished.scalars().all() if vanished is not None else ()
        odd = bool(unknown or missing) or strangers.has_open(session, site)
    if odd:
        strangers.report_snapshots(site, unknown, () if recovering else missing)
    strangers.look_if_due(site, store)
    return len(lost)


def _let_go(session: Session, site: Site) -> set[str]:
    """Snapshots that a removal of ours was just forgetting when its worker was lost."""
    under_way = session.execute(
        select(Removal.id).where(
            Removal.repository_id == site.row.id,
            Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
        )
    ).first()
    if under_way is None:
        return set()
    acts = session.execute(
        select(Act.keys).where(Act.repository_id == site.row.id, Act.kind == ActKind.FORGET)
    ).scalars()
    return {key.removeprefix("snapshots/") for keys in acts for key in keys}


def compare(
    rows: Iterable[tuple[UUID, str, datetime | None]], listed: set[str]
) -> tuple[list[UUID], list[UUID]]:
    """The rows that are missing now, and those that are back. Pure."""
    lost, back = [], []
    for row_id, restic_id, lost_at in rows:
        if restic_id not in listed and lost_at is None:
            lost.append(row_id)
        elif restic_id in listed and lost_at is not None:
            back.append(row_id)
    return lost, back


def _want_again(session: Session, site: Site, lost: Sequence[UUID], *, now: datetime) -> None:
    """The copies that rested on them wait, and say why."""
    roots = select(Snapshot.origin_id).where(Snapshot.id.in_(lost), Snapshot.origin_id.is_not(None))
    copies = session.execute(
        select(Copy)
        .join(PointSource, PointSource.point_id == Copy.point_id)
        .where(
            Copy.repository_id == site.row.id,
            Copy.state == CopyState.STORED,
            or_(PointSource.snapshot_id.in_(lost), PointSource.snapshot_id.in_(roots)),
        )
        .distinct()
    ).scalars()
    failure = {
        "code": strangers.VANISHED,
        "params": {"region": site.region.name},
        "message": f"A snapshot vanished from region {site.region.name}: somebody deleted it. "
        "It is brought again from a region that has it.",
    }
    for copy in copies:
        values = {"stored_at": None, "failure": failure, "due_at": now, "nudged_at": None}
        move = Move(by=WORKER, at=now, reason=Reason(strangers.VANISHED), values=values)
        advance(session, copy, CopyState.WAITING, move)
