"""The moment at which a new epoch counts: one transaction, under the leases of both.

Whatever named the epoch before as the place where data lie names the new one afterwards. Nothing is
inherited: dates are those of what was read in the new one. Ages do not change, since they stand on
points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backup import filling, findings, followers, healing, repositories, rota, strangers
from backup.filling import Brought, Origin, Proven
from backup.grafting import root_of
from backup.leases import Leased
from backup.models import Copy, Removal, Repository, Rota, Snapshot
from backup.repositories import RepositoryBusy
from backup.rotating import Going
from backup.states import CopyState, RemovalState, RepositoryState
from strongroom.actors import WORKER
from strongroom.errors import StrongroomError
from strongroom.lifecycle import Move, Reason, advance

NOT_BROUGHT = "not-in-new-epoch"
OF_ITS_OBJECTS = (*strangers.AT_LEASE, *strangers.AT_LOOK)


class NotNow(StrongroomError):
    """The epoch before is damaged, or holds what nobody explains: that comes first."""

    code = "repository-unsettled"


@dataclass(frozen=True)
class Switch:
    """The epoch before and the new one, both held by us."""

    going: Going
    old: Leased
    new: Leased
    origin: Origin


def require_settled(session: Session, old: Repository, origin: Origin) -> None:
    """Raises NotNow. What does not open is not asked: it is not destroyed afterwards either."""
    if origin.closed is not None:
        return
    frozen = old.state is RepositoryState.FROZEN
    if frozen or healing.is_open(session, old.tenant_id, old.id):
        what = "is frozen" if frozen else "waits to be mended"
        raise NotNow(
            f"Repository {old.id} {what}: a new epoch is made once that is settled. See "
            "`strongroom finding list`."
        )


def switch(each: Switch, brought: Brought, proven: Proven) -> None:
    """Everything at once, or nothing. Raises RepositoryBusy without both leases, and NotNow."""
    going, now = each.going, each.going.runtime.now()
    with going.session() as session:
        repositories.lock(session, [each.old.site.row.id, each.new.site.row.id])
        for held in (each.old, each.new):
            _require_held(session, held)
        old = session.get_one(Repository, each.old.site.row.id)
        new = session.get_one(Repository, each.new.site.row.id)
        require_settled(session, old, each.origin)
        left = _move_snapshots(session, (old.id, new.id), brought, proven, each.origin)
        session.execute(
            update(Copy).where(Copy.repository_id == old.id).values(repository_id=new.id)
        )
        session.execute(
            update(Removal)
            .where(
                Removal.repository_id == old.id,
                Removal.state.in_([RemovalState.PLANNED, RemovalState.SPARED]),
            )
            .values(repository_id=new.id, nudged_at=None)
        )
        _retire(session, each, (old, new))
        _want_again(session, new, left, region=each.new.site.region.name, going=going)
        going.note(
            session,
            "switched",
            snapshots=len(brought),
            not_brought=len(left),
            switched_at=now.isoformat(),
            unreadable=each.origin.closed,
        )


def _require_held(session: Session, leased: Leased) -> None:
    ours = session.execute(
        select(Repository.id).where(
            Repository.id == leased.held.row_id,
            Repository.fence == leased.held.fence,
            Repository.lease_until > func.clock_timestamp(),
        )
    ).first()
    if ours is None or leased.held.is_lost:
        raise RepositoryBusy(f"The lease on repository {leased.held.row_id} was lost.")


def _move_snapshots(
    session: Session,
    move: tuple[UUID, UUID],
    brought: Brought,
    proven: Proven,
    origin: Origin,
) -> list[Snapshot]:
    """The same rows, at their new place; gives those that stay behind, and counts on none of them."""
    old, new = move
    rows = filling.wanted(session, old, lost=origin.closed is not None)
    moved: list[dict[str, Any]] = [
        {
            "id": row.id,
            "repository_id": new,
            "restic_id": brought[root_of(row)],
            "checked_at": proven.checked_at,
            "verified_at": proven.oldest_read,
            "lost_at": None,
        }
        for row in rows
        if root_of(row) in brought
    ]
    left = [row for row in rows if root_of(row) not in brought]
    if left and origin.closed is None:
        raise filling.NotAllThere("A snapshot was stored meanwhile. It is tried again.")
    if moved:
        session.execute(update(Snapshot), moved)
    session.execute(
        update(Snapshot)
        .where(Snapshot.id.in_([row.id for row in left]), Snapshot.lost_at.is_(None))
        .values(lost_at=proven.checked_at)
    )
    session.execute(
        update(Snapshot)
        .where(Snapshot.id.in_([row.id for row in left]))
        .values(checked_at=None, verified_at=None)
    )
    session.expire_all()
    return left


def _retire(session: Session, each: Switch, rows: tuple[Repository, Repository]) -> None:
    """States, turns to be proven, and what was to be looked at in the bucket that is left.

    The copies were written just now, but hold older data: for locks they are like packs that a
    prune wrote anew.
    """
    old, new = rows
    now = each.going.runtime.now()
    reason = Reason("new-epoch", {"epoch": new.epoch})
    ends: dict[str, Any] = {"due_at": None, "nudged_at": None}
    begins: dict[str, Any] = {"due_at": now, "nudged_at": None, "pruned_at": now}
    for row, state, held, values in (
        (old, RepositoryState.RETIRED, each.old.held, ends),
        (new, RepositoryState.READY, each.new.held, begins),
    ):
        move = Move(by=WORKER, at=now, reason=reason, fence=held.fence, values=values)
        advance(session, row, state, move)
    session.execute(
        update(Rota)
        .where(Rota.repository_id == old.id)
        .values(repository_id=new.id, passed_at=None, planned_at=None)
    )
    session.flush()
    rota.begin(session, new.tenant_id, now=now)
    findings.report(session, old.tenant_id, (), codes=OF_ITS_OBJECTS, repository=old.id, now=now)


def _want_again(
    session: Session, new: Repository, left: Sequence[Snapshot], *, region: str, going: Going
) -> None:
    """Copies whose data no other region has now wait, and say why."""
    if not left:
        return
    now = going.runtime.now()
    failure = {
        "code": NOT_BROUGHT,
        "params": {"region": region},
        "message": f"The repository in {region} did not open any more, and no other region has "
        "this. It is brought as soon as one has.",
    }
    stored = session.execute(
        select(Copy).where(Copy.repository_id == new.id, Copy.state == CopyState.STORED)
    ).scalars()
    for copy in stored.all():
        if not followers.is_whole(session, copy.point_id, new.id):
            values = {"stored_at": None, "failure": failure, "due_at": now, "nudged_at": None}
            move = Move(by=WORKER, at=now, reason=Reason(NOT_BROUGHT), values=values)
            advance(session, copy, CopyState.WAITING, move)
