"""Snapshots that a lost worker made and nobody recorded."""

from __future__ import annotations

import structlog
from sqlalchemy import select

from backup import acts, repositories
from backup.grafting import TAG
from backup.leases import Leased
from backup.making import tag_of
from backup.models import BackupRun, Healing, Snapshot
from backup.restic import commands
from backup.states import ActKind
from strongroom.db import Role
from strongroom.storage import Act

log = structlog.get_logger(__name__)


def forget_orphans(leased: Leased) -> int:
    """Forget what runs of ours left here without a row; the next backup uses again what it holds.

    Whoever made it is gone, as we hold the repository now, and can no longer record it. A snapshot
    whose run is not known here stays: the rows may be older than the repository. Gives how many
    there were.
    """
    here = leased.here(seconds=600)
    site = leased.site
    listed = commands.snapshots(leased.restic, here)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        recorded = set(
            session.execute(
                select(Snapshot.restic_id).where(Snapshot.repository_id == site.row.id)
            ).scalars()
        )
        unknown = [one for one in listed if one.id not in recorded]
        runs = session.execute(select(BackupRun.id)).scalars() if unknown else ()
        tags = {tag_of(run) for run in runs}
        healings = session.execute(select(Healing.id)).scalars() if unknown else ()
        tags |= {f"{TAG}{row}" for row in healings}
    orphans = [one.id for one in unknown if tags.intersection(one.tags)]
    if orphans:
        forgetting = site.restic_with(repositories.deleting(site, leased.held, Act.FORGET))
        keys = [f"snapshots/{orphan}" for orphan in orphans]
        with acts.recorded(site, ActKind.FORGET, [*keys, *acts.LOCKS], store=leased.store):
            commands.forget(forgetting, here, orphans)
        log.info("unrecorded snapshots were forgotten", count=len(orphans))
    return len(orphans)
