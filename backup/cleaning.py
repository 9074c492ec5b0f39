"""Snapshots that a lost worker made and nobody recorded."""

from __future__ import annotations

import structlog
from sqlalchemy import select

from backup import acts, repositories
from backup.leases import Leased
from backup.making import tag_of
from backup.models import BackupRun, Snapshot
from backup.restic import commands
from backup.states import ActKind
from strongroom.db import Role
from strongroom.storage import Act

log = structlog.get_logger(__name__)


def forget_orphans(leased: Leased, run: BackupRun) -> int:
    """Forget this run's snapshots that have no row; what they hold is used again by the next one.

    Gives how many there were.
    """
    here = leased.here(seconds=600)
    site = leased.site
    listed = commands.snapshots(leased.restic, here)
    with site.runtime.database.session(Role.WORKER, tenant=run.tenant_id) as session:
        known = set(
            session.execute(
                select(Snapshot.restic_id).where(Snapshot.repository_id == site.row.id)
            ).scalars()
        )
    orphans = [one.id for one in listed if tag_of(run) in one.tags and one.id not in known]
    if orphans:
        repositories.allow_deletes(site, leased.held)
        keys = [f"snapshots/{orphan}" for orphan in orphans]
        with acts.recorded(site, ActKind.FORGET, [*keys, *acts.LOCKS], store=leased.store):
            commands.forget(site.restic(Act.FORGET), here, orphans)
        log.info("unrecorded snapshots were forgotten", run=str(run.id), count=len(orphans))
    return len(orphans)
