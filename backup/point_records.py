"""A point as its run knew it, beside the repository: what restic's tags do not say.

    t/<tenant>/k/p/<run>.sealed

Which sources it has, unchanged ones included, how each ended, and the manifests of databases, without
which no restore of them could be proven. Sealed with a key that follows from the repository's
password: whoever opens the repository reads it, nobody else does or could have written it. Written
where the point is stored and with each copy; deleted when that copy is gone.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from backup import key_records, repositories
from backup.models import BackupRun, Copy, Point, PointSource, Snapshot
from backup.repositories import Site
from backup.states import CopyState
from strongroom import reaching
from strongroom.control_dumps import delete_wholly
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.key_stores.local import NONCE_BYTES
from strongroom.keys import Context
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Act, Store

PURPOSE = "point-record"
MOST_BYTES = 64 * 1024 * 1024  # of one record, opened

log = structlog.get_logger(__name__)


class PointRecordClosed(StrongroomError):
    """It does not open with the repository's password, or was changed."""

    code = "point-record-closed"
    permanent = True


def write(site: Site, point: UUID) -> None:
    """Beside this repository. A failure is logged: the point itself is stored."""
    try:
        keep(site, point)
    except StrongroomError as error:
        log.warning("a point has no record", point=str(point), error=error.message)


def keep(site: Site, point: UUID) -> None:
    """As `write`, and raises what went wrong."""
    tenant = site.row.tenant_id
    with site.runtime.database.session(Role.WORKER, tenant=tenant) as session:
        body = _body(session, point, site.row.id)
    _store(site, Act.RECORD).put(key_of(tenant, point), _sealed(site, point, body))


def key_of(tenant: UUID, run: UUID) -> str:
    return f"{prefix_of(tenant)}{run}.sealed"


def prefix_of(tenant: UUID) -> str:
    return f"{key_records.prefix_of(tenant)}p/"


def listed(site: Site) -> list[UUID]:
    """The runs that have a record beside this repository."""
    tenant = site.row.tenant_id
    return _runs(_store(site, Act.RECORD), tenant)


def read(site: Site, run: UUID) -> dict[str, Any]:
    """Raises PointRecordClosed, or a StorageError."""
    sealed = _store(site, Act.RECORD).get(key_of(site.row.tenant_id, run))
    nonce, cipher = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        packed = AESGCM(_key(site)).decrypt(nonce, cipher, _bound(site, run))
        opener = zlib.decompressobj()
        body: dict[str, Any] = json.loads(opener.decompress(packed, MOST_BYTES))
    except (InvalidTag, ValueError, zlib.error):
        raise PointRecordClosed(
            f"The record of point {run} in region {site.region.name} was changed, or is another's."
        ) from None
    return body


def tidy(runtime: Runtime, tenant: UUID) -> int:
    """Delete the records of points that retention let go; gives how many. Those of runs that no row
    knows stay."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        regions = {region.id: region for _row, region in repositories.of_tenant(session, tenant)}
        gone = [
            (row.point_id, row.region_id)
            for row in session.execute(
                select(Copy.point_id, Copy.region_id).where(
                    Copy.tenant_id == tenant, Copy.state == CopyState.REMOVED
                )
            )
        ]
    count = 0
    for region_id, region in regions.items():
        mine = {point for point, place in gone if place == region_id}
        if not mine:
            continue
        prefix = prefix_of(tenant)
        store = reaching.store(runtime.settings, region, prefix=prefix, act=Act.SWEEP)
        doomed = [run for run in _runs(store, tenant) if run in mine]
        delete_wholly(store, [key_of(tenant, run) for run in doomed])
        count += len(doomed)
    return count


def sweep_older(runtime: Runtime, region: Region, tenant: UUID) -> None:
    """What lies beneath the records was sealed with passwords of epochs that were left."""
    prefix = prefix_of(tenant)
    store = reaching.store(runtime.settings, region, prefix=prefix, act=Act.SWEEP)
    older = [(each.key, each.version_id) for each in store.versions(prefix) if not each.latest]
    store.delete_versions(older)


def _runs(store: Store, tenant: UUID) -> list[UUID]:
    prefix, found = prefix_of(tenant), []
    for each in store.list(prefix):
        try:
            found.append(UUID(each.key.removeprefix(prefix).removesuffix(".sealed")))
        except ValueError:
            continue
    return found


def _body(session: Session, point_id: UUID, repository: UUID) -> Mapping[str, Any]:
    """Snapshots by their names here; only what does not lie here by those of the first region."""
    run, point = session.get_one(BackupRun, point_id), session.get_one(Point, point_id)
    here = aliased(Snapshot)
    parts = session.execute(
        select(PointSource, func.coalesce(here.restic_id, Snapshot.restic_id).label("restic_id"))
        .outerjoin(Snapshot, Snapshot.id == PointSource.snapshot_id)
        .outerjoin(
            here,
            and_(
                or_(here.id == Snapshot.id, here.origin_id == Snapshot.id),
                here.repository_id == repository,
                here.forgotten_at.is_(None),
                here.lost_at.is_(None),
            ),
        )
        .where(PointSource.point_id == point_id)
        .order_by(PointSource.source_id, here.id)
        .ext(distinct_on(PointSource.source_id))
    ).all()
    return {
        "trigger": str(run.trigger),
        "cadences": run.cadences,
        "local_date": run.local_date.isoformat(),
        "full": run.full,
        "only_source": None if run.only_source_id is None else str(run.only_source_id),
        "asked_by": run.asked_by,
        "taken_at": point.taken_at.isoformat(),
        "outcome": str(point.outcome),
        "pinned_until": None if point.pinned_until is None else point.pinned_until.isoformat(),
        "parts": [
            {
                "source": str(row.PointSource.source_id),
                "outcome": str(row.PointSource.outcome),
                "snapshot": row.restic_id,
                "manifest": row.PointSource.manifest,
                "failure": row.PointSource.failure,
                "seconds": row.PointSource.seconds,
            }
            for row in parts
        ],
    }


def _sealed(site: Site, run: UUID, body: Mapping[str, Any]) -> bytes:
    packed = zlib.compress(json.dumps(body, ensure_ascii=False).encode())
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(_key(site)).encrypt(nonce, packed, _bound(site, run))


def _key(site: Site) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"strongroom.point.v1").derive(site.password.secret)


def _bound(site: Site, run: UUID) -> bytes:
    return Context(site.row.tenant_id, site.row.id, PURPOSE).encoded() + run.bytes


def _store(site: Site, act: Act) -> Store:
    prefix = prefix_of(site.row.tenant_id)
    return reaching.store(site.runtime.settings, site.region, prefix=prefix, act=act)
