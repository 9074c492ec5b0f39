"""Asking for work and following it to its end, for commands that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

from kombu.exceptions import OperationalError
from sqlalchemy import select

from backup import planning
from backup.models import BackupRun, Copy, Point, Proof
from backup.planning import Order
from backup.states import CopyState, Level, ProofState, RunState
from restore.models import Drill, Restore
from restore.states import DrillState, RestoreState
from strongroom.db import Role
from strongroom.errors import Incomplete, NotFound, StrongroomError
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, record
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.worker import Queue, ring
from tenants.models import Tenant
from web.failing import Stopped
from web.output import Screen, size
from web.session import me

T = TypeVar("T")

POLL_SECONDS = 0.2
UNPROVEN = (ProofState.WAITING, ProofState.PROVING)
ENDED = (RunState.STORED, RunState.FAILED, RunState.QUARANTINED)


class RunFailed(StrongroomError):
    """The backup did not come to a point."""

    code = "run-failed"


def request(platform: Runtime, tenant: Tenant, order: Order) -> UUID:
    """Queue a run, and ring for it at once."""
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        run = planning.request_run(session, tenant.id, order)
        run.nudged_at = order.at
    with _maybe_lost():
        ring(platform.app, task="backup.run", queue=Queue.BACKUP, tenant=tenant.id, subject=run.id)
    return run.id


def ring_for(platform: Runtime, task: str, queue: Queue, row: Any) -> None:
    """Ring at once for a row that waits; the dispatcher does so too."""
    with _maybe_lost():
        ring(platform.app, task=task, queue=queue, tenant=row.tenant_id, subject=row.id)


@contextmanager
def _maybe_lost() -> Iterator[None]:
    """A lost doorbell costs rounds of the dispatcher; what was asked for stands in the database."""
    with suppress(OperationalError):
        yield


def point_of(
    platform: Runtime, tenant: Tenant, run_id: UUID, *, screen: Screen, seconds: float
) -> Point:
    """Wait for the run's point. Raises RunFailed with the reason, or Incomplete after the time."""
    told = [str(RunState.QUEUED)]

    def look() -> BackupRun | None:
        with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            run = session.get_one(BackupRun, run_id)
        far = run.progress or {}
        word = f"{far['percent']} %, {size(far['bytes'])}" if far else str(run.state)
        if run.state not in ENDED and word != told[-1]:
            told.append(word)
            screen.say(f"  {word}")
        return run if run.state in ENDED else None

    run = wait(look, seconds=seconds, what="the backup")
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        point = session.get(Point, run_id)
    if run.state is RunState.STORED and point is not None:
        return point
    failure = run.failure or {"code": str(run.state), "message": "No reason was recorded."}
    raise RunFailed(
        f"The backup of {tenant.slug} failed: {failure.get('message', failure['code'])}",
        code=failure["code"],
        run=str(run_id),
    )


def copies_of(
    platform: Runtime, tenant: Tenant, point_id: UUID, *, screen: Screen, seconds: float
) -> bool:
    """Wait until every region has the point and every proof has ended; False if not in time."""

    told = [""]

    def look() -> bool | None:
        with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            copies = session.execute(select(Copy).where(Copy.point_id == point_id)).scalars().all()
            proofs = (
                session.execute(
                    select(Proof).where(Proof.copy_id.in_([copy.id for copy in copies]))
                )
                .scalars()
                .all()
            )
        if any(_has_trouble(copy) for copy in copies):
            return False
        stored = sum(copy.state is CopyState.STORED for copy in copies)
        proven = sum(proof.state not in UNPROVEN for proof in proofs)
        word = f"{stored} of {len(copies)} copies stored, {proven} of {len(proofs)} proofs ended"
        if word != told[-1]:
            told.append(word)
            screen.say(f"  {word}")
        if stored < len(copies) or proven < len(proofs):
            return None
        return all(proof.state is ProofState.PASSED for proof in proofs)

    try:
        whole = wait(look, seconds=seconds, what="the copies")
    except Incomplete:
        whole = False
    if not whole:
        screen.say("Not every region has a verified copy yet; it is tried again by itself.")
    return whole


def _has_trouble(copy: Copy) -> bool:
    """It was tried and has to wait for something else than its turn."""
    trouble = (copy.failure or {}).get("code") not in (None, "repository-busy")
    return copy.state is CopyState.WAITING and trouble


def prove(
    platform: Runtime, tenant: Tenant, point: Point, *, level: Level, region: str | None
) -> list[UUID]:
    """Ask for a proof of each stored copy of the point. Raises NotFound if there is none.

    Asked for by a person, a proof of the data reads all of it, however lately it was read.
    """
    now = platform.now()
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        rows = session.execute(
            select(Copy, Region)
            .join(Region, Region.id == Copy.region_id)
            .where(Copy.point_id == point.id, Copy.state == CopyState.STORED)
        ).all()
        copies = [row.Copy for row in rows if region in (None, row.Region.name)]
        if not copies:
            raise NotFound(
                f"Point {point.number} has no stored copy{f' in {region}' if region else ''}.",
                code="no-copy",
            )
        made = []
        for copy in copies:
            proof = Proof(
                id=new_id(),
                tenant_id=tenant.id,
                copy_id=copy.id,
                level=level,
                state=ProofState.WAITING,
                asked_by=str(me()),
                due_at=now,
            )
            session.add(proof)
            record(session, proof, old="", move=Move(by=me(), at=now, reason=Reason("asked")))
            made.append(proof.id)
    return made


def proofs(
    platform: Runtime, tenant: Tenant, ids: Sequence[UUID], *, seconds: float
) -> list[dict[str, Any]]:
    """Wait for these proofs and say what they found; those not done in time say so."""

    def look() -> bool | None:
        with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            rows = session.execute(select(Proof).where(Proof.id.in_(ids))).scalars().all()
        return None if any(row.ended_at is None for row in rows) else True

    with suppress(Incomplete):
        wait(look, seconds=seconds, what="the proofs")
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        rows = session.execute(
            select(Proof, Region)
            .join(Copy, Copy.id == Proof.copy_id)
            .join(Region, Region.id == Copy.region_id)
            .where(Proof.id.in_(ids))
        ).all()
        return [
            {
                "region": row.Region.name,
                "level": str(row.Proof.level),
                "state": str(row.Proof.state),
                "seconds": row.Proof.seconds,
                "bytes": row.Proof.bytes,
                "found": row.Proof.found or row.Proof.failure,
            }
            for row in rows
        ]


def wait(look: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """Ask again and again until it is not None.

    Raises Incomplete after the time, and Stopped on Ctrl-C; the work goes on either way.
    """
    try:
        return _wait(look, seconds=seconds, what=what)
    except KeyboardInterrupt:
        raise Stopped(
            f"We wait no longer, but {what} go{'' if what.endswith('s') else 'es'} on. "
            "`strongroom status` shows how far it is."
        ) from None


def _wait(look: Callable[[], T | None], *, seconds: float, what: str) -> T:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise Incomplete(
                f"Waited {seconds:.0f} seconds for {what}; it goes on without us. "
                "`strongroom status` shows how far it is.",
                code="still-going",
            )
        time.sleep(POLL_SECONDS)


def restored(platform: Runtime, row: Restore, *, screen: Screen, seconds: float) -> Restore:
    """Ring for a restore and wait for its end, telling each phase."""
    with _maybe_lost():
        ring(
            platform.app,
            task="restore.carry_out",
            queue=Queue.RESTORE,
            tenant=row.tenant_id,
            subject=row.id,
        )
    told: list[str] = []

    def look() -> Restore | None:
        with platform.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
            now = session.get_one(Restore, row.id)
        if now.phase and now.phase not in told:
            told.append(now.phase)
            screen.say(f"  {now.phase.replace('-', ' ')} …")
        return now if now.ended_at is not None or now.state in RESTORE_STUCK else None

    return wait(look, seconds=seconds, what="the restore")


def drilled(
    platform: Runtime,
    tenant: Tenant,
    regions: Mapping[UUID, str],
    *,
    screen: Screen,
    seconds: float,
) -> list[Drill]:
    """Ring for these drills, by id with their regions, and wait until each has ended or has to wait."""
    for each in regions:
        with _maybe_lost():
            ring(
                platform.app,
                task="restore.drill",
                queue=Queue.VERIFY,
                tenant=tenant.id,
                subject=each,
            )
    told: set[tuple[UUID, str]] = set()

    def look() -> list[Drill] | None:
        with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            wanted = select(Drill).where(Drill.id.in_(list(regions))).order_by(Drill.id)
            rows = list(session.execute(wanted).scalars())
        for row in rows:
            if (row.id, str(row.state)) not in told:
                told.add((row.id, str(row.state)))
                screen.say(f"  {regions[row.id]}: {row.state}")
        return rows if all(map(_is_settled, rows)) else None

    return wait(look, seconds=seconds, what="the rehearsed restores")


def _is_settled(row: Drill) -> bool:
    """It has ended, or was tried and waits for something else than its turn."""
    put_off = row.state is DrillState.WAITING and row.failure is not None
    return row.ended_at is not None or put_off or row.state is DrillState.QUARANTINED


RESTORE_STUCK = (RestoreState.QUARANTINED, RestoreState.ASKED)
