"""Proving one repository anew, by whoever waits for it: with the workers, or without any.

After a repository was brought back one proof of the data says all: it reads what is due, and dates
every snapshot that lies there. Workers are rung for it; who waits takes it where none has. A proof
that fails, and one that cannot be carried out, ends the waiting with words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import mended, verify
from backup.models import Copy, Proof, Snapshot
from backup.repositories import RepositoryBusy
from backup.states import Level, ProofState
from strongroom.db import Role
from strongroom.lifecycle import database_now
from strongroom.runtime import Runtime

TRIES = 3  # proofs that failed or could not be carried out
BUSY_SECONDS = 17 * 60.0  # as long as a lost worker's rights may last
PAUSE_SECONDS = 0.5
AGAIN_SECONDS = 5.0  # after what another try may mend
OPEN = (ProofState.PROVING, ProofState.WAITING)
ENDED_ILL = (ProofState.FAILED, ProofState.QUARANTINED)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """How far a repository is."""

    unproven: int  # snapshots that are waited for, and do not count as proven
    open: Proof | None = None  # the proof that is furthest
    over: bool = False  # its worker has not been heard of since its lease ran out
    failed: Proof | None = None  # if nothing is open: the last one that had begun after us


@dataclass
class Waiting:
    """One repository that is waited for."""

    runtime: Runtime
    tenant: UUID
    repository: UUID
    say: Say
    snapshots: Collection[UUID]  # those that lay there then: what workers bring later is theirs
    taken: set[UUID] = field(default_factory=set)  # proofs that began after we had begun
    tries: int = 0
    quiet_since: float = field(default_factory=time.monotonic)  # nobody has worked on it since


def unproven(session: Session, repository: UUID) -> set[UUID]:
    """Snapshots that lie there, and were not read back since they were put in doubt."""
    wanted = select(Snapshot.id).where(
        Snapshot.repository_id == repository,
        Snapshot.standing(),
        Snapshot.verified_at.is_(None),
    )
    return set(session.execute(wanted).scalars())


def begin(runtime: Runtime, tenant: UUID, repository: UUID, *, say: Say) -> Waiting:
    """What is to be proven now."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        snapshots = unproven(session, repository)
    return Waiting(runtime, tenant, repository, say, snapshots)


def wait(runtime: Runtime, tenant: UUID, repository: UUID, *, say: Say) -> str | None:
    """Until all that lies there is proven; gives why it cannot be, in words, or None."""
    waiting = begin(runtime, tenant, repository, say=say)
    while True:
        with runtime.database.session(Role.WORKER, tenant=tenant) as session:
            seen = look(session, waiting)
        if not seen.unproven:
            return None
        problem = go_on(waiting, seen)
        if problem is not None:
            return problem


def look(session: Session, waiting: Waiting) -> Seen:
    count = len(unproven(session, waiting.repository).intersection(waiting.snapshots))
    if not count:
        return Seen(0)
    proofs = list(
        session.execute(
            select(Proof)
            .join(Copy, Copy.id == Proof.copy_id)
            .where(Copy.repository_id == waiting.repository, Proof.level == Level.DATA)
            .where(Proof.state.in_(OPEN) | Proof.id.in_(waiting.taken))
            .order_by(Proof.id.desc())
        ).scalars()
    )
    for state in OPEN:
        for proof in proofs:
            if proof.state is state:
                over = proof.lease_until is not None and proof.lease_until < database_now(session)
                return Seen(count, open=proof, over=over)
    return Seen(count, failed=next((each for each in proofs if each.state in ENDED_ILL), None))


def go_on(waiting: Waiting, seen: Seen) -> str | None:
    """One step; gives why there is no further one."""
    proof = seen.open
    if proof is None:
        return _again(waiting, seen)
    if proof.state is ProofState.WAITING:
        return _take(waiting, seen, proof)
    waiting.say(f"a worker reads what {seen.unproven} snapshots need")
    if not seen.over:
        waiting.quiet_since = time.monotonic()
    return _pause(waiting, "Nobody has heard of the worker that proves it")


def _again(waiting: Waiting, seen: Seen) -> str | None:
    """Nothing is under way. A proof that had begun before us may have seen what is mended now."""
    if seen.failed is not None:
        return f"The proof failed: {said(seen.failed)}"
    waiting.tries += 1
    if waiting.tries > TRIES:
        return f"{seen.unproven} snapshots are not dated by proofs that passed."
    with waiting.runtime.database.session(Role.WORKER, tenant=waiting.tenant) as session:
        wanted = mended.want_proofs(session, waiting.repository, now=waiting.runtime.now())
    return None if wanted else "No copy in it is whole, so there is nothing to prove."


def _take(waiting: Waiting, seen: Seen, proof: Proof) -> str | None:
    """Carry it out here, unless a worker was faster."""
    waiting.taken.add(proof.id)
    waiting.say(f"reads what {seen.unproven} snapshots need")
    verify.prove(waiting.runtime, waiting.tenant, proof.id)
    with waiting.runtime.database.session(Role.WORKER, tenant=waiting.tenant) as session:
        row = session.get_one(Proof, proof.id)
    if row.state is not ProofState.WAITING:
        waiting.quiet_since = time.monotonic()
        return None
    failure = row.failure or {}
    if failure.get("code") == RepositoryBusy.code:
        waiting.say("waiting for a worker that holds the repository")
        return _pause(waiting, "Another worker has held the repository")
    waiting.tries += 1
    if waiting.tries >= TRIES:
        return f"The proof could not be carried out: {failure.get('message')}"
    time.sleep(AGAIN_SECONDS)
    return None


def _pause(waiting: Waiting, what: str) -> str | None:
    quiet = time.monotonic() - waiting.quiet_since
    if quiet > BUSY_SECONDS:
        return f"{what} for {quiet:.0f} seconds."
    time.sleep(PAUSE_SECONDS)
    return None


def said(proof: Proof) -> str:
    """What a failed proof found, in one line."""
    if proof.state is ProofState.QUARANTINED:
        return "it took two workers down, and is not tried again by itself"
    found = proof.found or {}
    damaged = [f"pack {name}" for name in found.get("damaged", ())]
    words = [*found.get("errors", ()), *damaged]
    return "; ".join(" ".join(each.split()) for each in words[:3]) or "it does not say why"
