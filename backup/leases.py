"""Holding a repository: one worker at a time, ready to be written to.

The lease in the database is the mutex; restic's own locks are only cleared under it. A lease is
taken over when its holder is known to have ended, or when both the lease and every credential with
delete rights that was given out under it have run out: a host that was stopped in the middle of a
prune and woken later finds that it may delete nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import acts, census, founding, key_records, placing, probing, repositories, watching
from backup.models import Act, Repository
from backup.repositories import RepositoryBusy, Retired, Site
from backup.restic.calls import Repository as ResticRepository
from backup.restic.calls import Surroundings
from backup.states import ActKind, RepositoryState
from strongroom import owner
from strongroom.db import Role
from strongroom.errors import Refused, StrongroomError
from strongroom.keeper import Held
from strongroom.lifecycle import LEASE, database_now
from strongroom.runtime import Runtime
from strongroom.storage import Act as Rights
from strongroom.storage import Credentials, StorageError, Store

LOCKS_LEFT = 20  # released locks are listed each time: more of them than this are swept

LEFT = (RepositoryState.RETIRED, RepositoryState.CLOSED, RepositoryState.DESTROYED)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Leased:
    """A repository that is ours for now, made and tidy."""

    site: Site
    held: Held
    rights: Credentials  # of a backup: adds, and deletes locks only
    store: Store  # the same rights
    act: UUID  # our own, that is open: the release of locks

    @property
    def restic(self) -> ResticRepository:
        """For one call: how fast the region may be used changes with the hour."""
        return self.site.restic_with(self.rights)

    def here(self, *, seconds: float) -> Surroundings:
        """Where restic may run while the lease lasts, and the region answers."""
        return watching.surroundings(self.site, seconds=seconds, stop=repositories.Lost(self.held))


@contextmanager
def leased(
    runtime: Runtime,
    tenant: UUID,
    repository_id: UUID,
    *,
    adding: bool = True,
    damaged: bool = False,
) -> Iterator[Leased]:
    """Hold the repository; raises RepositoryBusy at once when somebody else does.

    It is made if it is new, and tidied if its last holder was lost: but not where it may be so
    `damaged` that restic cannot open it, for whoever mends it tidies it after that. Raises
    RegionNotAllowed before anything is written where the tenant's data may not lie, unless the
    caller brings no data there: `adding=False`, which may make no repository either.
    """
    if adding:
        placing.require(runtime, tenant, repository_id)
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row, fence = _take(session, repository_id)
        site = repositories.site_of(runtime, session, row)
    with runtime.keeper.holding(row, fence) as held:
        act, ready, unclean = None, None, False
        try:
            rights = site.credentials(Rights.BACKUP)
            unclean = True  # from here on something may be left behind
            with runtime.database.session(Role.WORKER, tenant=tenant) as session:
                act = acts.begin(session, row, (ActKind.LOCK_RELEASE, acts.LOCKS))
            ready = _ready(site, held, act, rights, tidy=not damaged)
            yield ready
            unclean = not _closed(ready, act)
        except Refused as error:
            if ready is not None and act is not None and not isinstance(error, StorageError):
                unclean = not _closed(ready, act)  # our own no, between two commands
            raise
        finally:
            _release(runtime, held, {"unclean": True} if unclean else {})


def _ready(site: Site, held: Held, act: Act, rights: Credentials, *, tidy: bool) -> Leased:
    store = Store(site.region.address(), rights)
    if site.row.state is not RepositoryState.COMING:  # no rows say yet what should lie there
        census.take(site, store)
    if tidy:
        probing.require(site, store)
    row = _founded(site, held) if site.row.key_hint is None else site.row
    site = Site(site.runtime, row, site.region, site.password)
    leased = Leased(site, held, rights, store, act.id)
    if row.unclean and tidy:
        founding.tidy(site, held, but=act.id)
    return leased


def _founded(site: Site, held: Held) -> Repository:
    """What opens the repository lies beside it before anything is stored in it."""
    row = founding.make(site, held)
    try:
        key_records.refresh(site.runtime, row.tenant_id, row.id)
    except StrongroomError as error:  # a platform without a record key goes on; upkeep writes it
        log.warning("a repository has no record yet", repository=str(row.id), error=error.message)
    return row


def _closed(leased: Leased, act: Act) -> bool:
    """Record the released locks; if the region is away now, the next holder does it."""
    try:
        locks = acts.close(leased.site, act, store=leased.store)
        if len(locks) > LOCKS_LEFT:
            acts.sweep(leased.site, locks, store=leased.store)
    except StrongroomError as error:
        log.warning("an act was left open", act=str(act.id), error=error.message)
        return False
    return True


def _take(session: Session, repository_id: UUID) -> tuple[Repository, int]:
    row = session.execute(
        select(Repository).where(Repository.id == repository_id).with_for_update()
    ).scalar_one()
    if row.state in LEFT:
        raise Retired(
            f"Repository {repository_id} was replaced by a new epoch. Nothing was done there."
        )
    now = database_now(session)
    if row.owner is not None:
        over = row.lease_until is None or row.lease_until < now
        rights_over = row.credentials_until is None or row.credentials_until < now
        if not (owner.is_gone(row.owner) or (over and rights_over)):
            raise RepositoryBusy(
                f"Repository {repository_id} is held by another worker. It will be tried again.",
                until=str(row.lease_until),
            )
        row.unclean = True  # its last holder did not give it back
    row.fence += 1
    row.owner = owner.me()
    row.lease_until = now + LEASE
    row.credentials_until = None
    session.flush()
    return row, row.fence


def _release(runtime: Runtime, held: Held, values: dict[str, object]) -> None:
    with runtime.database.session(Role.WORKER, tenant=held.tenant) as session:
        session.execute(
            update(Repository)
            .where(Repository.id == held.row_id, Repository.fence == held.fence)
            .values(owner=None, lease_until=None, credentials_until=None, **values)
        )
