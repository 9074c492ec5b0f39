"""Stage 3: prove a copy. Checked is structure; verified means that data was read back.

A proof of the data reads every pack of the repository that was not read within the time the policy
sets for reading everything once: a pack's name is its SHA-256, so that reading and hashing it
proves it. Packs read within that time count with the date of that reading; a pack that was found
damaged is read each time, and the proof of a full run reads them all. Structure is what restic's own check makes sure of: indexes,
snapshots and trees are whole, and every pack they name is there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from backup import followers, leases, repositories
from backup.making import failure_of
from backup.models import BackupRun, Copy, Pack, Proof, Snapshot
from backup.repositories import RepositoryBusy, Site
from backup.restic import commands
from backup.restic.flags import CheckExtent
from backup.states import Level, ProofState
from strongroom import owner
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.ids import new_id
from strongroom.keeper import Held
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance, take
from strongroom.program import Stopped
from strongroom.runtime import Runtime
from strongroom.storage import Act, Missing, ObjectInfo, Store

CHECK_SECONDS = 6 * 3600.0
BUSY_PAUSE = timedelta(seconds=5)
ATTEMPTS = 8

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Found:
    """What a proof saw."""

    ok: bool
    packs_read: int = 0
    bytes_read: int = 0
    oldest_read: datetime | None = None  # of all packs, those read earlier included
    damaged: tuple[str, ...] = ()  # packs that do not hash to their name
    errors: tuple[str, ...] = ()  # what the check of the structure said
    missing: bool = False  # a snapshot of the copy is not there; the others are none the worse

    def to_json(self) -> dict[str, Any]:
        return {
            "packs_read": self.packs_read,
            "bytes_read": self.bytes_read,
            "oldest_read": None if self.oldest_read is None else self.oldest_read.isoformat(),
            "damaged": list(self.damaged),
            "errors": list(self.errors),
        }


def prove(runtime: Runtime, tenant: UUID, proof_id: UUID) -> Proof | None:
    """Carry out a proof that waits; None when it could not be done yet."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        proof = session.get(Proof, proof_id)
        if proof is None:
            log.warning("a doorbell named no proof of this tenant", proof=str(proof_id))
            return None
        fence = take(session, proof, owner=owner.me(), move=Move(by=WORKER, at=runtime.now()))
        copy = session.get_one(Copy, proof.copy_id)
    if fence is None:
        return None
    with runtime.keeper.holding(proof, fence) as held:
        try:
            return _prove(runtime, proof, copy, held)
        except Overtaken as error:
            log.warning("a proof went on elsewhere", proof=str(proof_id), error=error.message)
        except StrongroomError as error:
            _again(runtime, proof, held, error)
        return None


def _prove(runtime: Runtime, proof: Proof, copy: Copy, held: Held) -> Proof:
    began = time.monotonic()
    with leases.leased(runtime, copy.tenant_id, copy.repository_id, adding=False) as leased:
        report = commands.check(
            leased.site.restic(Act.READ), leased.here(seconds=CHECK_SECONDS), CheckExtent()
        )
    found = Found(ok=report.ok, errors=report.messages)
    if not _is_whole(runtime, copy):
        found = Found(ok=False, errors=("a snapshot of this copy is missing",), missing=True)
    if found.ok and proof.level is Level.DATA:
        site = repositories.site(runtime, copy.tenant_id, copy.repository_id)
        found = read_packs(site, held, since=_fresh_since(runtime, copy))
    _record(runtime, proof, held, found, seconds=time.monotonic() - began)
    return proof


def _is_whole(runtime: Runtime, copy: Copy) -> bool:
    with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        return followers.is_whole(session, copy.point_id, copy.repository_id)


def _fresh_since(runtime: Runtime, copy: Copy) -> datetime:
    """Packs read before this are read again: all of them for a full run."""
    with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        run = session.get_one(BackupRun, copy.point_id)
        fresh = followers.fresh_since(session, copy.tenant_id, now=runtime.now())
    return max(fresh, run.started_at or fresh) if run.full else fresh


def read_packs(site: Site, held: Held | None = None, *, since: datetime) -> Found:
    """Read and hash every pack not found whole since then, and note each as it is done."""
    store = site.store(Act.READ)
    known = {name: pack for name, pack in _known(site).items() if pack.whole}
    listed = list(store.list(site.prefix + "data/"))
    new = [each for each in listed if not _is_fresh(known.get(_name(each)), since)]
    damaged: list[str] = []
    for each in new:
        if held is not None and held.is_lost:
            raise Stopped("The proof's lease was lost; it is tried again.")
        whole = _read(store, each)
        if whole is None:
            continue
        _note(site, each, whole=whole)
        if not whole:
            damaged.append(_name(each))
    read = {_name(each) for each in new}
    earlier = [known[_name(each)].read_at for each in listed if _name(each) not in read]
    return Found(
        ok=not damaged,
        packs_read=len(new),
        bytes_read=sum(each.size for each in new),
        oldest_read=min(earlier, default=site.runtime.now()),
        damaged=tuple(damaged),
    )


def _is_fresh(pack: Pack | None, since: datetime) -> bool:
    return pack is not None and pack.read_at > since


def _read(store: Store, pack: ObjectInfo) -> bool | None:
    """Whether the pack hashes to its name; None when it was pruned meanwhile."""
    digest = hashlib.sha256()
    try:
        for chunk in store.stream(pack.key):
            digest.update(chunk)
    except Missing:
        return None
    return digest.hexdigest() == _name(pack)


def _name(pack: ObjectInfo) -> str:
    return pack.key.rpartition("/")[2]


def _known(site: Site) -> dict[str, Pack]:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        rows = session.execute(select(Pack).where(Pack.repository_id == site.row.id)).scalars()
        return {row.name: row for row in rows}


def _note(site: Site, pack: ObjectInfo, *, whole: bool) -> None:
    now = site.runtime.now()
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        session.execute(
            insert(Pack)
            .values(
                id=new_id(),
                tenant_id=site.row.tenant_id,
                repository_id=site.row.id,
                name=_name(pack),
                bytes=pack.size,
                read_at=now,
                whole=whole,
            )
            .on_conflict_do_update(
                index_elements=["tenant_id", "repository_id", "name"],
                set_={"read_at": now, "whole": whole},
            )
        )


def _record(runtime: Runtime, proof: Proof, held: Held, found: Found, *, seconds: float) -> None:
    """A good proof dates the snapshots of its copy; damage undates all of the repository's."""
    now = runtime.now()
    values = {
        "ended_at": now,
        "seconds": round(seconds, 3),
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
        mine: Sequence[Snapshot] = followers.snapshots_of(
            session, copy.point_id, copy.repository_id
        )
        if found.ok:
            dates: dict[str, Any] = {"checked_at": now}
            if proof.level is Level.DATA:
                dates["verified_at"] = now
            ids = [each.id for each in mine]
            session.execute(update(Snapshot).where(Snapshot.id.in_(ids)).values(**dates))
        elif not found.missing:
            session.execute(
                update(Snapshot)
                .where(Snapshot.repository_id == copy.repository_id)
                .values(checked_at=None, verified_at=None)
            )


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
