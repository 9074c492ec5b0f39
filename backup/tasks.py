"""Thin tasks: an id comes in, the row says what to do. Anything may come twice, late or never."""

from __future__ import annotations

from uuid import UUID

import structlog
from celery import shared_task
from sqlalchemy import select

from backup import (
    contents,
    copies,
    followers,
    locking,
    mending,
    planning,
    removal,
    rota,
    rotation,
    runs,
    verify,
)
from backup.models import (
    BackupRun,
    Copy,
    Healing,
    Point,
    Proof,
    Removal,
    Repository,
    Rotation,
)
from backup.states import (
    CopyState,
    HealingState,
    ProofState,
    RemovalState,
    RepositoryState,
    RotationState,
    RunState,
)
from strongroom import runtime
from strongroom.db import Role
from strongroom.dispatch import Due, Planner
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from strongroom.worker import Queue

log = structlog.get_logger(__name__)


@shared_task(name="backup.run")
def run(tenant: str, run_id: str) -> None:
    """Make a point; for a small tenant everything that follows happens here too."""
    now = runtime.current()
    point = runs.make(now, UUID(tenant), UUID(run_id))
    if point is not None:
        follow(now, point)
    elif _has_ended(now, UUID(tenant), UUID(run_id)):
        review(now, UUID(tenant))  # what is due to go goes, whether or not backups succeed


@shared_task(name="backup.copy")
def copy(tenant: str, copy_id: str) -> None:
    """Bring a point to a further region, and prove it there."""
    now = runtime.current()
    if copies.bring(now, UUID(tenant), UUID(copy_id)) is not None:
        _prove_point(now, UUID(tenant), copy_id=UUID(copy_id))


@shared_task(name="backup.prove")
def prove(tenant: str, proof_id: str) -> None:
    """Prove a copy."""
    verify.prove(runtime.current(), UUID(tenant), UUID(proof_id))


@shared_task(name="backup.heal")
def heal(tenant: str, healing_id: str) -> None:
    """Mend a repository; the proofs and copies that it wants are rung for."""
    mending.heal(runtime.current(), UUID(tenant), UUID(healing_id))


@shared_task(name="backup.remove")
def remove(tenant: str, repository_id: str) -> None:
    """Carry out what is planned to go in one repository."""
    removal.apply(runtime.current(), UUID(tenant), UUID(repository_id))


@shared_task(name="backup.lock")
def lock(tenant: str, repository_id: str) -> None:
    """Make the object locks of one repository longer."""
    locking.renew(runtime.current(), UUID(tenant), UUID(repository_id))


@shared_task(name="backup.rotate")
def rotate(tenant: str, rotation_id: str) -> None:
    """Make a key new."""
    rotation.rotate(runtime.current(), UUID(tenant), UUID(rotation_id))


def follow(now: Runtime, point: Point) -> None:
    """Proof, copies and retention of a new point, one after another; large ones go by queue."""
    tenant = point.tenant_id
    catalogue(now, tenant)
    if point.bytes <= now.settings.small_bytes:
        _prove_point(now, tenant, point_id=point.id)
        for copy_id in _waiting_copies(now, point):
            if copies.bring(now, tenant, copy_id) is not None:
                _prove_point(now, tenant, copy_id=copy_id)
    else:
        _hand_over(now, point)
    review(now, tenant)


def _has_ended(now: Runtime, tenant: UUID, run_id: UUID) -> bool:
    with now.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(BackupRun, run_id)
        return row is not None and row.ended_at is not None


def catalogue(now: Runtime, tenant: UUID) -> None:
    """Browsing may lag; a failure here is no failure of the point."""
    try:
        contents.record(now, tenant)
    except StrongroomError as error:
        log.warning("a point is not in the catalogue yet", tenant=str(tenant), error=error.message)


def review(now: Runtime, tenant: UUID) -> None:
    """Plan what retention lets go, and carry it out."""
    try:
        planned = removal.review(now, tenant)
    except StrongroomError as error:
        log.error("retention was not carried out", tenant=str(tenant), error=error.message)
        return
    if planned and not _released(now, tenant, planned):
        for repository in _repositories_with_removals(now, tenant):
            removal.apply(now, tenant, repository)


def _released(now: Runtime, tenant: UUID, planned: int) -> bool:
    """Whether all of it could go without touching a region."""
    try:
        return removal.release(now, tenant) == planned
    except StrongroomError:
        return False  # `apply` meets the same, and writes down what it was


def _waiting_copies(now: Runtime, point: Point) -> list[UUID]:
    with now.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        rows = session.execute(
            select(Copy.id).where(Copy.point_id == point.id, Copy.state == CopyState.WAITING)
        )
        return list(rows.scalars())


def _prove_point(
    now: Runtime, tenant: UUID, *, point_id: UUID | None = None, copy_id: UUID | None = None
) -> None:
    """Carry out the proofs that wait for a point's copies, or for one copy."""
    with now.database.session(Role.WORKER, tenant=tenant) as session:
        wanted = select(Proof.id).join(Copy, Copy.id == Proof.copy_id)
        wanted = wanted.where(Proof.state == ProofState.WAITING)
        if point_id is not None:
            wanted = wanted.where(Copy.point_id == point_id)
        if copy_id is not None:
            wanted = wanted.where(Copy.id == copy_id)
        waiting = list(session.execute(wanted).scalars())
    for proof_id in waiting:
        verify.prove(now, tenant, proof_id)


def _hand_over(now: Runtime, point: Point) -> None:
    with now.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        followers.hand_over(session, point.id)


def _repositories_with_removals(now: Runtime, tenant: UUID) -> list[UUID]:
    with now.database.session(Role.WORKER, tenant=tenant) as session:
        rows = session.execute(
            select(Removal.repository_id).where(
                Removal.tenant_id == tenant,
                Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
            )
        ).scalars()
        return list(dict.fromkeys(rows))


DUES = (
    Due(BackupRun, (RunState.QUEUED,), "backup.run", Queue.BACKUP),
    Due(Copy, (CopyState.WAITING,), "backup.copy", Queue.COPY),
    Due(Proof, (ProofState.WAITING,), "backup.prove", Queue.VERIFY),
    Due(Rotation, (RotationState.WAITING,), "backup.rotate", Queue.REMOVAL),
    Due(Healing, (HealingState.WAITING,), "backup.heal", Queue.VERIFY),
    Due(
        Removal,
        (RemovalState.PLANNED, RemovalState.FORGOTTEN),
        "backup.remove",
        Queue.REMOVAL,
        subject="repository_id",
        leased=False,
    ),
    Due(
        Repository,
        (RepositoryState.READY, RepositoryState.FROZEN),
        "backup.lock",
        Queue.REMOVAL,
        leased=False,
    ),
)
PLANNERS: tuple[Planner, ...] = (planning.enqueue_due, rota.plan)
