"""Stage 2: bring a point to a further region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import followers, lags, leases, locking, point_records, probing, repositories, watching
from backup.founding import Within
from backup.making import failure_of
from backup.models import Copy, Repository, Snapshot
from backup.repositories import RepositoryBusy, Site
from backup.restic import commands
from backup.restic.calls import Repository as ResticRepository
from backup.restic.errors import CopyMissing
from backup.restic.outputs import Snapshot as Listed
from backup.states import CopyState
from strongroom import doorbells, storage
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.ids import new_id
from strongroom.keeper import Held
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance
from strongroom.runtime import Runtime

COPY_SECONDS = 12 * 3600.0
BUSY_PAUSE = timedelta(seconds=5)
PAUSE_MOST = timedelta(minutes=10)  # a region that is back gets its copies soon

log = structlog.get_logger(__name__)


class NoSource(StrongroomError):
    """No region that can be reached has what is to be copied."""

    code = "no-copy-source"


def bring(runtime: Runtime, tenant: UUID, copy_id: UUID) -> Copy | None:
    """Carry out a copy that waits; None when it is not there yet."""
    answered = doorbells.answer(runtime, Copy, tenant, copy_id)
    if answered is None:
        return None
    copy, fence = answered
    with runtime.keeper.holding(copy, fence) as held:
        try:
            _bring(runtime, copy, held)
        except Overtaken as error:
            log.warning("a copy went on elsewhere", copy=str(copy_id), error=error.message)
        except RepositoryBusy as error:
            _again(runtime, copy, held, error)
        except StrongroomError as error:
            _again(runtime, copy, held, error)
        else:
            return copy
        return None


def _bring(runtime: Runtime, copy: Copy, held: Held) -> None:
    with leases.leased(runtime, copy.tenant_id, copy.repository_id) as target:
        with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
            roots = followers.missing_roots(session, copy.point_id, copy.repository_id)
        if roots:
            source, ids = _source(runtime, copy, list(roots))
            _copy(copy, held, target, (source, ids))
            locking.lock_new(target)
        point_records.write(target.site, copy.point_id)
    now = runtime.now()
    with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        row = session.get_one(Copy, copy.id)
        values = {"stored_at": now, "owner": None, "lease_until": None, "failure": None}
        move = Move(by=WORKER, at=now, reason=Reason("copied"), fence=held.fence, values=values)
        advance(session, row, CopyState.STORED, move)
        followers.want_proof(session, row, now=now)
        lags.settle(session, row, now=now)


def _source(runtime: Runtime, copy: Copy, roots: list[UUID]) -> tuple[Site, dict[UUID, str]]:
    """A region that has all of it and can be reached: the site, and restic's id for each root."""
    with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        others = session.execute(
            select(Repository.id).where(
                Repository.tenant_id == copy.tenant_id,
                Repository.id != copy.repository_id,
                Repository.counts(),
            )
        ).scalars()
        found = [(each, ids_in(session, each, roots)) for each in others]
    for repository_id, ids in found:
        if len(ids) < len(roots):
            continue
        site = repositories.site(runtime, copy.tenant_id, repository_id)
        try:
            probing.reach(site, snapshot=next(iter(ids.values())))
        except storage.StorageError as error:
            log.warning("a copy's source cannot be used", region=site.region.name, why=error.code)
            continue
        return site, ids
    raise NoSource(
        "No region that can be reached now has this point. It is tried again; see "
        "`strongroom region check`."
    )


def ids_in(session: Session, repository_id: UUID, roots: Sequence[UUID]) -> dict[UUID, str]:
    """By root restic's id of each that lies in the repository."""
    rows = session.execute(
        select(Snapshot).where(
            Snapshot.repository_id == repository_id,
            Snapshot.standing(),
            Snapshot.id.in_(roots) | Snapshot.origin_id.in_(roots),
        )
    ).scalars()
    return {row.origin_id or row.id: row.restic_id for row in rows}


def _copy(
    copy: Copy, held: Held, target: leases.Leased, what: tuple[Site, dict[UUID, str]]
) -> None:
    source, ids = what
    copied = commands.copy(
        source.restic(storage.Act.READ),
        held_back(target.restic, source.restic(storage.Act.READ)),
        watching.also(target.here(seconds=COPY_SECONDS), source),
        list(ids.values()),
        through=Within(source.store(storage.Act.READ), source.prefix),
    )
    by_original = {each.original: each.snapshot for each in copied}
    _require_alike(source, target, by_original)
    with source.runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
        _guard(session, copy, held)
        for root, restic_id in ids.items():
            origin = session.get_one(Snapshot, root)
            session.add(
                Snapshot(
                    id=new_id(),
                    tenant_id=copy.tenant_id,
                    source_id=origin.source_id,
                    repository_id=copy.repository_id,
                    origin_id=root,
                    restic_id=by_original[restic_id].id,
                    taken_at=origin.taken_at,
                    bytes=origin.bytes,
                    files=origin.files,
                    added_bytes=origin.added_bytes,
                )
            )


def held_back(target: ResticRepository, source: ResticRepository) -> ResticRepository:
    """restic has one limit for what it reads from both sides: the lesser one counts."""
    limits = [each.download_kib for each in (target, source) if each.download_kib is not None]
    return replace(target, download_kib=min(limits, default=None))


def _guard(session: Session, copy: Copy, held: Held) -> None:
    """Lock the copy's row; raises Overtaken when another worker has it by now."""
    fence = session.execute(
        select(Copy.fence).where(Copy.id == copy.id).with_for_update()
    ).scalar_one()
    if fence != held.fence or held.is_lost:
        raise Overtaken(f"{copy!r} was taken by another worker.")


def _require_alike(source: Site, target: leases.Leased, copied: Mapping[str, Listed]) -> None:
    """A snapshot that only says it is the copy of ours, with other content, is none."""
    here = target.here(seconds=COPY_SECONDS)
    ours = commands.snapshots(source.restic(storage.Act.READ), here)
    trees = {one.id: one.tree for one in ours}
    for original, snapshot in copied.items():
        if trees.get(original) != snapshot.tree:
            raise CopyMissing(
                f"Snapshot {snapshot.id} in region {target.site.region.name} says it is a copy of "
                f"{original}, but holds something else. Somebody forged it; look at that region.",
                snapshot=snapshot.id,
            )


def _again(runtime: Runtime, copy: Copy, held: Held, error: StrongroomError) -> None:
    """Try later, for as long as it takes: a region may be away for days."""
    now = runtime.now()
    busy = isinstance(error, RepositoryBusy)
    pause = BUSY_PAUSE if busy else min(back_off(copy.attempt), PAUSE_MOST)
    values = {
        "due_at": now + pause,
        "nudged_at": None,
        "owner": None,
        "lease_until": None,
        "failure": failure_of(error),
    }
    move = Move(by=WORKER, at=now, reason=Reason(error.code), fence=held.fence, values=values)
    try:
        with runtime.database.session(Role.WORKER, tenant=copy.tenant_id) as session:
            row = session.get_one(Copy, copy.id)
            advance(session, row, CopyState.WAITING, move)
            lags.look(session, row, now=now)
    except LifecycleError:
        log.warning("a copy went on elsewhere", copy=str(copy.id))
    else:
        log.warning("a copy has to wait", copy=str(copy.id), error=error.message)
