"""The records beside a repository, brought back where somebody deleted them.

Without them `strongroom recover` finds the repository, and not what opens it or what its points
are. We ourselves leave no delete marker there: what goes, goes with all its versions.
"""

from __future__ import annotations

from uuid import UUID

import structlog
from sqlalchemy import select

from backup import key_records, point_records
from backup.models import Copy
from backup.repositories import Site
from backup.states import CopyState
from strongroom import reaching
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.storage import Act

log = structlog.get_logger(__name__)


def bring_back(site: Site) -> int:
    """Gives how many records are there again. Raises a StorageError.

    What was overwritten is written anew, where we know what it says: records of repositories here,
    a tenant's own by the daily look.
    """
    tenant = site.row.tenant_id
    prefix = key_records.prefix_of(tenant)
    sweeper = reaching.store(site.runtime.settings, site.region, prefix=prefix, act=Act.SWEEP)
    markers = [each for each in sweeper.versions(prefix) if each.marker]
    kept = sweeper.delete_versions((each.key, each.version_id) for each in markers)
    deleted = {each.key for each in markers if each.latest} - {each.key for each in kept}
    return len(deleted) + _written(site)


def _written(site: Site) -> int:
    """What still lacks: our own words, so that nothing has to lie beneath."""
    tenant, runtime = site.row.tenant_id, site.runtime
    try:
        count = key_records.refresh(runtime, tenant, site.row.id)
    except StrongroomError as error:  # a platform without a record key has none
        log.warning("a repository has no record", repository=str(site.row.id), error=error.message)
        count = 0
    lacking = _points(site).difference(point_records.listed(site))
    for point in lacking:
        point_records.write(site, point)
    return count + len(lacking)


def _points(site: Site) -> set[UUID]:
    stored = select(Copy.point_id).where(
        Copy.repository_id == site.row.id, Copy.state == CopyState.STORED
    )
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        return set(session.execute(stored).scalars())
