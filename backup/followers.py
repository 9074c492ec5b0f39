"""What follows a stored point: a copy for each further region, a proof for each copy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from backup import placing, planning, repositories
from backup import policy as policies
from backup.models import (
    BackupRun,
    Copy,
    Point,
    PointSource,
    Proof,
    Removal,
    Repository,
    Snapshot,
)
from backup.states import CopyState, Level, ProofState, RemovalState
from strongroom.actors import WORKER
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, record


def begin(session: Session, point: Point, *, stored_in: Repository, now: datetime) -> None:
    """Insert the copies and proofs of a new point.

    Where the point shares all its snapshots with an earlier one, the copy is there already and
    its proof still counts.
    """
    held = repositories.of_tenant(session, point.tenant_id)
    for repository, _region in placing.targets(session, point.tenant_id, held):
        here = repository.id == stored_in.id or is_whole(session, point.id, repository.id)
        copy = Copy(
            id=new_id(),
            tenant_id=point.tenant_id,
            point_id=point.id,
            region_id=repository.region_id,
            repository_id=repository.id,
            state=CopyState.STORED if here else CopyState.WAITING,
            stored_at=now if here else None,
            due_at=now,
            nudged_at=now,  # the task that made the point goes on with it at once
        )
        session.add(copy)
        record(session, copy, old="", move=Move(by=WORKER, at=now, reason=Reason("point-stored")))
        session.flush()
        if here:
            want_proof(session, copy, now=now)


def want_proof(session: Session, copy: Copy, *, now: datetime) -> None:
    """A proof that the data can be read back, unless that is known and fresh for all of it.

    A full run proves all of it again.
    """
    snapshots = snapshots_of(session, copy.point_id, copy.repository_id)
    full = session.get_one(BackupRun, copy.point_id).full
    fresh = fresh_since(session, copy.tenant_id, now=now)
    known = all(each.verified_at is not None and each.verified_at > fresh for each in snapshots)
    if known and not full:
        return
    proof = Proof(
        id=new_id(),
        tenant_id=copy.tenant_id,
        copy_id=copy.id,
        level=Level.DATA,
        state=ProofState.WAITING,
        due_at=now,
        nudged_at=now,
    )
    session.add(proof)
    record(session, proof, old="", move=Move(by=WORKER, at=now, reason=Reason("copy-stored")))


def hand_over(session: Session, point_id: UUID) -> None:
    """Let the dispatcher ring at once for what follows a point; whoever made it does not go on."""
    copies = select(Copy.id).where(Copy.point_id == point_id)
    for kind, mine in ((Copy, Copy.id.in_(copies)), (Proof, Proof.copy_id.in_(copies))):
        waits = kind.state == kind.WAITING
        session.execute(update(kind).where(mine, waits).values(nudged_at=None))


def fresh_since(session: Session, tenant: UUID, *, now: datetime) -> datetime:
    """What was read back since then counts as proven."""
    return now - timedelta(days=read_every(session, tenant))


def read_every(session: Session, tenant: UUID) -> int:
    """Within how many days the tenant's policy has everything read back once."""
    body = planning.current_policy(session, tenant).body
    return policies.from_json(body).verification.data_every_days


def snapshots_of(session: Session, point_id: UUID, repository_id: UUID) -> Sequence[Snapshot]:
    """The snapshots of a point that lie in a repository, its own or copied ones."""
    roots = select(PointSource.snapshot_id).where(
        PointSource.point_id == point_id, PointSource.snapshot_id.is_not(None)
    )
    return (
        session.execute(
            select(Snapshot).where(
                Snapshot.repository_id == repository_id,
                Snapshot.standing(),
                or_(Snapshot.id.in_(roots), Snapshot.origin_id.in_(roots)),
            )
        )
        .scalars()
        .all()
    )


def missing_roots(session: Session, point_id: UUID, repository_id: UUID) -> Sequence[UUID]:
    """Snapshots of the point that the repository does not have yet, by their first row's id.

    A source that retention took out of the copy there is not missing.
    """
    have = {each.origin_id or each.id for each in snapshots_of(session, point_id, repository_id)}
    let_go = (
        select(Removal.source_id)
        .join(Copy, Copy.id == Removal.copy_id)
        .where(
            Copy.point_id == point_id,
            Copy.repository_id == repository_id,  # a removal stays with the epoch it happened in
            Removal.source_id.is_not(None),
            Removal.state.in_([RemovalState.FORGOTTEN, RemovalState.GONE]),
        )
    )
    wanted = session.execute(
        select(PointSource.snapshot_id).where(
            PointSource.point_id == point_id,
            PointSource.snapshot_id.is_not(None),
            PointSource.source_id.not_in(let_go),
        )
    ).scalars()
    return [root for root in dict.fromkeys(wanted) if root is not None and root not in have]


def is_whole(session: Session, point_id: UUID, repository_id: UUID) -> bool:
    """Whether the repository has every snapshot of the point."""
    return not missing_roots(session, point_id, repository_id)
