"""Which copy a restore reads from: the nearest verified one that can be reached, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backup import placement, placing, probing, repositories
from backup.models import PointSource, Repository, Snapshot
from backup.repositories import Site
from restore.delivery.models import Delivery
from restore.models import Restore
from strongroom.db import Role
from strongroom.errors import NotFound, StrongroomError
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import StorageError

UNVERIFIED = "not-verified"  # a nearer region was passed over for one whose copy is verified


class NowhereReached(StrongroomError):
    """Every region that has the data is away."""

    code = "no-region-reached"


class NothingStored(NotFound):
    """The point has nothing of this source."""

    code = "nothing-stored"


@dataclass(frozen=True)
class Chosen:
    """Where the data comes from."""

    site: Site
    restic_id: str
    bytes: int  # of the source when it was backed up; of a database, of its dump
    manifest: dict[str, Any] | None  # of a database
    verified: bool
    passed_over: tuple[str, ...]  # preferred regions that could not be used, with the reason


def choose(
    runtime: Runtime, restore: Restore | Delivery, *, but: Mapping[str, str] | None = None
) -> Chosen:
    """Raises NothingStored, or NowhereReached when every region is away.

    `but` names regions that were tried, with what was wrong.
    """
    with runtime.database.session(Role.WORKER, tenant=restore.tenant_id) as session:
        part = session.execute(
            select(PointSource).where(
                PointSource.point_id == restore.point_id,
                PointSource.source_id == restore.source_id,
                PointSource.snapshot_id.is_not(None),
            )
        ).scalar_one_or_none()
        if part is None:
            raise NothingStored("This point holds nothing of that source. Choose another point.")
        rows = _copies(session, part)
    passed = dict(but or {})
    for repository, region, snapshot in rows:
        if region.name in passed:
            continue
        site = repositories.site(runtime, restore.tenant_id, repository.id)
        try:
            probing.reach(site, snapshot=snapshot.restic_id)
        except StorageError as error:
            passed[region.name] = error.code
            continue
        try:
            repositories.lend(runtime, restore.tenant_id, repository.id)
        except repositories.Retired:  # just now: the rows say where it lies instead
            return choose(runtime, restore, but=but)
        verified = snapshot.verified_at is not None
        nearer = _nearer(rows, region) if verified else ()
        passed = dict.fromkeys(nearer, UNVERIFIED) | passed
        why = tuple(f"{name}: {code}" for name, code in passed.items())
        return Chosen(*(site, snapshot.restic_id, snapshot.bytes, part.manifest, verified, why))
    tried = ", ".join(f"{name}: {code}" for name, code in passed.items())
    raise NowhereReached(
        f"No region that has this point can be reached now ({tried or 'none has it'}). "
        "It is tried again; `strongroom region check` shows which are up."
    )


Held = tuple[Repository, Region, Snapshot]


def _nearer(rows: Sequence[Held], chosen: Region) -> Sequence[str]:
    """Regions that would be nearer than a verified copy, if what they have were verified."""
    order = [p.name for p in placement.nearest_first([placing.place_of(r) for _, r, _ in rows])]
    unverified = {region.name for _, region, snapshot in rows if snapshot.verified_at is None}
    return [name for name in order[: order.index(chosen.name)] if name in unverified]


def _copies(session: Session, part: PointSource) -> Sequence[Held]:
    """Verified copies first, then by distance from the preferred region, or by rank."""
    rows = [
        (row.Repository, row.Region, row.Snapshot)
        for row in session.execute(
            select(Repository, Region, Snapshot)
            .join(Region, Region.id == Repository.region_id)
            .join(Snapshot, Snapshot.repository_id == Repository.id)
            .where(
                or_(Snapshot.id == part.snapshot_id, Snapshot.origin_id == part.snapshot_id),
                Snapshot.standing(),
                Repository.counts(),
            )
        )
    ]
    own = [region for _, region in repositories.of_tenant(session, part.tenant_id)]
    order = [place.id for place in placement.nearest_first([placing.place_of(r) for r in own])]
    return sorted(rows, key=lambda row: (row[2].verified_at is None, order.index(row[1].id)))
