"""Destroying an epoch that was left: what opens it first, then all that lies there.

    closed      the record beside it, the wraps and escrow wraps of its password are gone
    destroyed   no version, delete marker or unfinished upload is left below its prefix

What opens it goes first: a destruction that is cut short, or that object locks hold up for months,
then leaves nothing that could be read. That is no loss, for the new epoch was read back before it
counted. Until `closed` all may wait: for holds, for findings that freeze, for whoever still reads,
and for every copy that was moved to be verified. No act makes a version noncurrent here: versions
are removed by name, or stay.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backup import healing, key_records, ledger, point_records, repositories
from backup.models import ObjectLock, Pack, Removal, Repository, Snapshot
from backup.rotating import Going, Later
from backup.states import RemovalState, RepositoryState
from strongroom import escrow, reaching
from strongroom.actors import WORKER
from strongroom.ids import made_at
from strongroom.lifecycle import Move, Reason, advance, database_now
from strongroom.regions import Region
from strongroom.storage import Act, Kept, Store

MOMENT = timedelta(minutes=1)

log = structlog.get_logger(__name__)


class Held(Later):
    """A hold, or a finding that freezes, stands before every removal of the tenant."""

    code = "old-epoch-held"


class BeingRead(Later):
    """A restore that chose the epoch before the switch may still read it."""

    code = "old-epoch-read"


class Unproven(Later):
    """A snapshot that was moved is not verified in the new epoch, or was found damaged since."""

    code = "new-epoch-unproven"


class Locked(Later):
    """Object locks keep some of it; nothing opens it any more."""

    code = "old-epoch-locked"


def destroy(going: Going, repository: UUID, *, successor: UUID) -> None:
    """Safe to repeat; raises a Later when it has to wait, with the time if that is known."""
    with going.session() as session:
        row = session.get_one(Repository, repository)
        region = session.get_one(Region, row.region_id)
        if row.state is RepositoryState.RETIRED:
            _require_free(session, going, row, session.get_one(Repository, successor))
    if row.state is RepositoryState.RETIRED:
        _close(going, row, region)
    if row.state is not RepositoryState.DESTROYED:
        _empty(going, row, region)


def _require_free(session: Session, going: Going, row: Repository, new: Repository) -> None:
    if ledger.holds_of(session, row.tenant_id, now=going.runtime.now()):
        raise Held(
            "A hold or an open finding forbids every removal, so the old epoch stays for now. "
            "The new one counts. See `strongroom finding list`."
        )
    if row.read_until is not None and row.read_until > database_now(session):
        raise BeingRead(
            f"A restore that began before the switch may read the old epoch until "
            f"{row.read_until:%Y-%m-%d %H:%M} UTC; it is destroyed after that. The new one counts.",
            until=row.read_until,
        )
    if healing.is_open(session, row.tenant_id, new.id) or _unproven(session, going, new):
        raise Unproven(
            "Not everything is verified in the new epoch any more, so the old one stays until it is."
        )


def _unproven(session: Session, going: Going, new: Repository) -> bool:
    """Whether something that was moved counts as not verified; what came later lay never here."""
    switched = datetime.fromisoformat(going.report["switched_at"])
    rows = session.execute(
        select(Snapshot.id).where(
            Snapshot.repository_id == new.id,
            Snapshot.forgotten_at.is_(None),
            Snapshot.verified_at.is_(None) | Snapshot.lost_at.is_not(None),
        )
    ).scalars()
    return any(made_at(each) <= switched for each in rows)


def _close(going: Going, row: Repository, region: Region) -> None:
    """From here on nobody can open it, whatever of it stays."""
    runtime, tenant = going.runtime, row.tenant_id
    key_records.remove(runtime, region, tenant, row.id)
    point_records.sweep_older(runtime, region, tenant)
    now = runtime.now()
    with going.session() as session:
        key_records.forget(session, tenant, row.id)
        wraps = runtime.vault.erase(session, repositories.password_context(row))
        escrow.complete(session, runtime.vault, tenant, now=now)
        move = Move(by=WORKER, at=now, reason=Reason("epoch-left", {"wraps_erased": wraps}))
        advance(session, session.get_one(Repository, row.id), RepositoryState.CLOSED, move)
        going.note(session, "closed", wraps_erased=wraps)
    log.info("an epoch was closed", repository=str(row.id), region=region.name)


def _empty(going: Going, row: Repository, region: Region) -> None:
    store = reaching.store(going.runtime.settings, region, prefix=row.prefix, act=Act.SWEEP)
    kept = store.delete_versions((v.key, v.version_id) for v in store.versions(row.prefix))
    for upload in list(store.uploads(row.prefix)):
        store.abort_upload(upload)
    left = sum(1 for _ in store.versions(row.prefix))
    if left:
        _wait_for(going, row, left, list(kept))
    _require_no_uploads(store, row)
    now = going.runtime.now()
    with going.session() as session:
        for kind in (ObjectLock, Pack):
            session.execute(delete(kind).where(kind.repository_id == row.id))
        forgotten = session.execute(
            select(Removal).where(
                Removal.repository_id == row.id, Removal.state == RemovalState.FORGOTTEN
            )
        ).scalars()
        gone = Move(by=WORKER, at=now, reason=Reason("gone"), values={"blocked": None})
        for removal in forgotten.all():  # its packs were waiting to be pruned
            advance(session, removal, RemovalState.GONE, gone)
        move = Move(by=WORKER, at=now, reason=Reason("epoch-destroyed"))
        advance(session, session.get_one(Repository, row.id), RepositoryState.DESTROYED, move)
        going.note(session, "closed", left=0, locked_until=None)
    log.info("an epoch was destroyed", repository=str(row.id), region=region.name)


def _wait_for(going: Going, row: Repository, left: int, kept: list[Kept]) -> None:
    """Say until when the last version is locked, and come again when the first lock ends."""
    ends = sorted(each.until for each in kept if each.until is not None)
    last = ends[-1].isoformat() if ends else None
    with going.session() as session:
        going.note(session, "closed", left=left, locked_until=last)
    why = f"locked until {ends[-1]:%Y-%m-%d %H:%M} UTC" if ends else "refused by the region"
    raise Locked(
        f"{left} object versions of the old epoch {row.id} stay: {why}. Nothing opens it any more; "
        "the rest goes by itself when its locks end.",
        until=ends[0] + MOMENT if ends else None,
    )


def _require_no_uploads(store: Store, row: Repository) -> None:
    if left := sum(1 for _ in store.uploads(row.prefix)):
        raise Locked(
            f"{left} unfinished uploads of the old epoch {row.id} stay. It is tried again.",
            until=None,
        )
