"""Stage 3: prove a copy. Checked is structure; verified means that data was read back.

    structure  restic's own check: indexes, snapshots and trees are whole, every pack is there
    data       that, and every pack is read that was not read within the time the policy sets
    share      by rota: the packs whose turn it is are read; structure has a turn of its own

A pack's name is its SHA-256, so that reading and hashing it proves it. Packs read within that time
count with the date of that reading; a pack that was found damaged is read each time. The proof of
a full run reads them all, and so does one that a person asks for. What was looked at is the whole
repository, so all snapshots that lay there are dated: `docs/decisions/verified-by-reading.md`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import (
    followers,
    healing,
    holdings,
    keyfile,
    leases,
    rota,
    scrub,
    strangers,
    unexplained,
)
from backup.founding import Within
from backup.holdings import Holdings
from backup.keyfile import KeyFileError
from backup.leases import Leased
from backup.making import failure_of
from backup.models import BackupRun, Copy, Proof, Snapshot
from backup.repositories import RepositoryBusy, Retired, Site
from backup.restic import commands, creation
from backup.restic.errors import ResticError
from backup.restic.flags import CheckExtent
from backup.states import CopyState, Level, ProofState
from strongroom import doorbells
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.keeper import Held
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance
from strongroom.runtime import Runtime
from strongroom.storage import Act, Missing, Store

CHECK_SECONDS = 6 * 3600.0
BUSY_PAUSE = timedelta(seconds=5)
WORKED = "worker"  # who asks for the proof of a new copy
DEEP = (Level.DATA, Level.SHARE)  # these read packs

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Found:
    """What a proof saw."""

    ok: bool
    packs_read: int = 0
    bytes_read: int = 0
    oldest_read: datetime | None = None  # of all packs, those read earlier included
    damaged: tuple[str, ...] = ()  # packs that do not hash to their name, or are gone
    errors: tuple[str, ...] = ()  # what the check of the structure said
    missing: bool = False  # a snapshot of the copy is not there; the others are none the worse
    snapshots: tuple[UUID, ...] = ()  # those that lay there: what the proof is about

    def with_packs(self, read: Found) -> Found:
        """What was seen of the structure, and then of the packs."""
        damaged = tuple(dict.fromkeys((*self.damaged, *read.damaged)))
        return replace(read, ok=self.ok and read.ok, damaged=damaged, errors=self.errors)

    def to_json(self) -> dict[str, Any]:
        return {
            "packs_read": self.packs_read,
            "bytes_read": self.bytes_read,
            "oldest_read": None if self.oldest_read is None else self.oldest_read.isoformat(),
            "damaged": list(self.damaged),
            "errors": list(self.errors),
        }


@dataclass(frozen=True)
class Seen:
    """What a proof saw, where, and when it looked."""

    found: Found
    repository: UUID
    since: datetime
    seconds: float


def prove(runtime: Runtime, tenant: UUID, proof_id: UUID) -> Proof | None:
    """Carry out a proof that waits; None when it could not be done yet."""
    answered = doorbells.answer(runtime, Proof, tenant, proof_id)
    if answered is None:
        return None
    proof, fence = answered
    with runtime.keeper.holding(proof, fence) as held:
        try:
            return _prove(runtime, proof, held)
        except Overtaken as error:
            log.warning("a proof went on elsewhere", proof=str(proof_id), error=error.message)
        except StrongroomError as error:
            _again(runtime, proof, held, error)
        return None


def _prove(runtime: Runtime, proof: Proof, held: Held) -> Proof:
    since, began = runtime.now(), time.monotonic()
    with runtime.database.session(Role.WORKER, tenant=proof.tenant_id) as session:
        copy = session.get_one(Copy, proof.copy_id)
    with leases.leased(
        runtime, copy.tenant_id, copy.repository_id, adding=False, damaged=True
    ) as leased:
        there = holdings.take(leased)
        strangers.report_data(leased.site, there.foreign)
        found = _structure(leased, proof, copy, there)
    if proof.level in DEEP and not found.missing:  # after other damage too: healing wants to know
        wanted = _to_read(runtime, proof, copy, there)
        found = found.with_packs(read_packs(leased.site, held, there, wanted))
    seen = Seen(found, copy.repository_id, since, time.monotonic() - began)
    _record(runtime, proof, held, seen)
    return proof


def _structure(leased: Leased, proof: Proof, copy: Copy, there: Holdings) -> Found:
    """Under the lease: whether all is there that should be, and hangs together."""
    if not _is_whole(leased.site.runtime, copy):
        return Found(ok=False, errors=("a snapshot of this copy is missing",), missing=True)
    errors, damaged = there.errors, there.missing
    if there.missing:
        errors += (f"{len(there.missing)} packs that were read before are gone",)
    if not errors and proof.level is not Level.SHARE:
        errors, damaged = _checked(leased)
    return Found(ok=not errors, damaged=damaged, errors=errors, snapshots=there.snapshots)


def _checked(leased: Leased) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What restic finds wrong, and in which packs.

    Raises its error if it cannot tell, and we see no damage either.
    """
    opened = leased.site.restic(Act.READ)
    try:
        report = commands.check(opened, leased.here(seconds=CHECK_SECONDS), CheckExtent())
    except ResticError as error:
        closed = why_closed(leased.site, leased.store)
        if closed is None:
            raise
        log.warning("a repository does not open", error=error.message)
        return (closed,), ()
    if report.ok:
        return (), ()
    return report.messages or ("restic found errors",), report.broken_packs


def why_closed(site: Site, store: Store) -> str | None:
    """Why the repository cannot be opened with our password, looked at without restic.

    None when it can be. Raises StorageError when the region does not answer.
    """
    within = Within(store, site.prefix)
    try:
        creation.read_config(within, keyfile.open_repository(within, site.password))
    except KeyFileError as error:
        return error.message
    except Missing as error:
        return f"config is not there: {error.message}"
    return None


def _is_whole(runtime: Runtime, copy: Copy) -> bool:
    """A copy that retention let go since leaves the rest of the repository to be proven."""
    with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        if session.get_one(Copy, copy.id).state is CopyState.REMOVED:
            return True
        return followers.is_whole(session, copy.point_id, copy.repository_id)


def _to_read(runtime: Runtime, proof: Proof, copy: Copy, there: Holdings) -> Mapping[str, int]:
    now = runtime.now()
    with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        run = session.get_one(BackupRun, copy.point_id)
        days = followers.read_every(session, copy.tenant_id)
    if proof.level is Level.SHARE:
        day = rota.day_of(copy.repository_id, now)
        return there.share(day, every_days=days, now=now)
    if proof.asked_by not in (WORKED, rota.ASKED_BY):
        return there.packs
    fresh = now - timedelta(days=days)
    return there.unread_since(max(fresh, run.started_at or fresh) if run.full else fresh)


def read_packs(site: Site, held: Held, there: Holdings, wanted: Mapping[str, int]) -> Found:
    """Read what is wanted of what is there. What vanished meanwhile was pruned, or is damage."""
    read = scrub.read(site, wanted, held=held)
    pruned = holdings.went_by_us(site, read.vanished)
    damaged = [*read.damaged, *(name for name in read.vanished if name not in pruned)]
    return Found(
        ok=not damaged,
        packs_read=read.packs,
        bytes_read=read.bytes,
        oldest_read=there.oldest(read.at, gone=pruned),
        damaged=tuple(damaged),
        snapshots=there.snapshots,
    )


def _record(runtime: Runtime, proof: Proof, held: Held, seen: Seen) -> None:
    """The end of a proof, and what follows from it for the repository's snapshots."""
    now, found = runtime.now(), seen.found
    values = {
        "ended_at": now,
        "seconds": round(seen.seconds, 3),
        "bytes": found.bytes_read,
        "found": found.to_json(),
        "owner": None,
        "lease_until": None,
    }
    state = ProofState.PASSED if found.ok else ProofState.FAILED
    reason = Reason("proof-passed" if found.ok else "proof-failed", {"level": str(proof.level)})
    move = Move(by=WORKER, at=now, reason=reason, fence=held.fence, values=values)
    with runtime.database.session(Role.WORKER, tenant=proof.tenant_id) as session:
        advance(session, session.get_one(Proof, proof.id), state, move)
        copy = session.get_one(Copy, proof.copy_id)
        if copy.repository_id != seen.repository:  # it waits, and looks at the new epoch
            raise Retired(f"{proof!r} looked at an epoch that was replaced meanwhile.")
        if found.ok:
            if not _refuted(session, copy.repository_id, seen.since):
                _date(session, proof.level, seen, now=now)
            rota.passed(session, copy.repository_id, proof.level, now=now)
            unexplained.wake(session, copy.repository_id, now=now)
            return
        if not found.missing:
            session.execute(
                update(Snapshot)
                .where(Snapshot.repository_id == copy.repository_id)
                .values(checked_at=None, verified_at=None)
            )
        damage = {
            "damaged": list(found.damaged),
            "errors": list(found.errors),
            "proof": str(proof.id),
        }
        healing.want(session, copy.tenant_id, copy.repository_id, seen=damage, by=WORKER, now=now)


def _refuted(session: Session, repository: UUID, since: datetime) -> bool:
    """Whether another proof there failed meanwhile: it may have seen what we passed over."""
    found = session.execute(
        select(Proof.id)
        .join(Copy, Copy.id == Proof.copy_id)
        .where(
            Copy.repository_id == repository,
            Proof.state == ProofState.FAILED,
            Proof.ended_at >= since,
        )
        .limit(1)
    )
    return found.first() is not None


def _date(session: Session, level: Level, seen: Seen, *, now: datetime) -> None:
    """Date the snapshots that lay there: verified as of the oldest reading of any pack."""
    found = seen.found
    these = update(Snapshot).where(
        Snapshot.id.in_(found.snapshots), Snapshot.repository_id == seen.repository
    )
    if level is not Level.SHARE:
        session.execute(these.values(checked_at=now))
    if level in DEEP and found.oldest_read is not None:
        whole = these.where(Snapshot.checked_at.is_not(None))
        session.execute(whole.values(verified_at=found.oldest_read))


def _again(runtime: Runtime, proof: Proof, held: Held, error: StrongroomError) -> None:
    """Could not be carried out: nothing is known, so it waits; a proof that failed is another."""
    now = runtime.now()
    busy = isinstance(error, RepositoryBusy)
    values = {
        "due_at": now + (BUSY_PAUSE if busy else back_off(proof.attempt)),
        "nudged_at": None,
        "owner": None,
        "lease_until": None,
        "failure": failure_of(error),
    }
    move = Move(by=WORKER, at=now, reason=Reason(error.code), fence=held.fence, values=values)
    try:
        with runtime.database.session(Role.WORKER, tenant=proof.tenant_id) as session:
            advance(session, session.get_one(Proof, proof.id), ProofState.WAITING, move)
    except LifecycleError:
        log.warning("a proof went on elsewhere", proof=str(proof.id))
    else:
        log.warning("a proof has to wait", proof=str(proof.id), error=error.message)
