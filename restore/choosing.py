"""Which copy a restore reads from: the nearest verified one that can be reached, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backup import repositories
from backup.models import PointSource, Repository, Snapshot
from backup.repositories import Site
from restore.models import Restore
from strongroom import storage
from strongroom.db import Role
from strongroom.errors import NotFound, StrongroomError
from strongroom.regions import Region
from strongroom.runtime import Runtime


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
    manifest: dict[str, Any] | None  # of a database
    verified: bool
    passed_over: tuple[str, ...]  # preferred regions that could not be used, with the reason


def choose(runtime: Runtime, restore: Restore, *, but: Mapping[str, str] | None = None) -> Chosen:
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
    passed = [f"{name}: {code}" for name, code in (but or {}).items()]
    for repository, region, snapshot in rows:
        if region.name in (but or {}):
            continue
        site = repositories.site(runtime, restore.tenant_id, repository.id)
        try:
            rights = site.credentials(storage.Act.READ)
            storage.Store(region.address(), rights).server_date()
        except storage.StorageError as error:
            passed.append(f"{region.name}: {error.code}")
            continue
        verified = snapshot.verified_at is not None
        return Chosen(site, snapshot.restic_id, part.manifest, verified, tuple(passed))
    raise NowhereReached(
        f"No region that has this point can be reached now ({', '.join(passed) or 'none has it'}). "
        "It is tried again; `strongroom region check` shows which are up."
    )


def _copies(session: Session, part: PointSource) -> list[tuple[Repository, Region, Snapshot]]:
    """Verified copies first, then by the order of the regions."""
    rows = session.execute(
        select(Repository, Region, Snapshot)
        .join(Region, Region.id == Repository.region_id)
        .join(Snapshot, Snapshot.repository_id == Repository.id)
        .where(
            or_(Snapshot.id == part.snapshot_id, Snapshot.origin_id == part.snapshot_id),
            Snapshot.standing(),
        )
        .order_by(Snapshot.verified_at.is_(None), Region.rank, Region.name)
    )
    return [(row.Repository, row.Region, row.Snapshot) for row in rows]
