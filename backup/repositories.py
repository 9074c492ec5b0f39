"""Repositories: named at onboarding, one a tenant and region; how each is reached and opened."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backup import placement, placing, rota
from backup.keyfile import MachinePassword
from backup.models import Repository
from backup.restic.calls import Repository as ResticRepository
from backup.restic.calls import Surroundings
from backup.states import CURRENT, RepositoryState
from strongroom import storage
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.errors import BadValue, StrongroomError
from strongroom.ids import new_id
from strongroom.keeper import Held
from strongroom.keys import Context
from strongroom.lifecycle import Move, Reason, record
from strongroom.regions import Region, limits_at
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import vault_has

PASSWORD = "repository-password"  # noqa: S105 - the name of a purpose
READ_SECONDS = 12 * 3600
WRITE_SECONDS = 12 * 3600  # adds only; may delete nothing but locks
DELETE_SECONDS = 900  # the least that STS gives
LENT_SECONDS = 24 * 3600  # for which a restore may read from the epoch it chose
UNMADE = (RepositoryState.NEW, RepositoryState.COMING)
DELETING = frozenset(
    {
        storage.Act.CREATE,
        storage.Act.FORGET,
        storage.Act.PRUNE,
        storage.Act.SWEEP,
        storage.Act.HEAL,
    }
)


class RepositoryBusy(StrongroomError):
    """Another worker holds the repository; it will be free later."""

    code = "repository-busy"


class Retired(RepositoryBusy):
    """A later epoch counts now: whoever looks at the rows again finds it."""

    code = "repository-retired"


class Lost(threading.Event):
    """Set as soon as the lease is lost, also by whoever was stopped and has just woken.

    The keeper would say so only with its next beat.
    """

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held = held

    def is_set(self) -> bool:
        return self._held.is_lost


@dataclass(frozen=True)
class Site:
    """One repository with what is needed to reach and open it."""

    runtime: Runtime
    row: Repository
    region: Region
    password: MachinePassword

    @property
    def prefix(self) -> str:
        return self.row.prefix

    def credentials(self, act: storage.Act, *, packs: Sequence[str] = ()) -> storage.Credentials:
        """Rights cut to this repository's prefix and to the act; healing names its packs."""
        root = self.runtime.settings.regions.get(self.region.name)
        if root is None:
            raise BadValue(
                f"There are no credentials for region {self.region.name} in the settings; "
                "add them to STRONGROOM_REGIONS."
            )
        seconds = DELETE_SECONDS if act in DELETING else WRITE_SECONDS
        return storage.assume(
            self.region.address(),
            root,
            prefix=self.prefix,
            act=act,
            seconds=seconds,
            packs=tuple(packs),
        )

    def store(self, act: storage.Act) -> storage.Store:
        return storage.Store(self.region.address(), self.credentials(act))

    def restic(self, act: storage.Act) -> ResticRepository:
        """How restic opens it, with rights for this act."""
        return self.restic_with(self.credentials(act))

    def restic_with(self, credentials: storage.Credentials) -> ResticRepository:
        """How restic opens it with these rights, as fast as the region may be used at this hour."""
        limits = limits_at(self.region.bandwidth, self.runtime.now())
        address = f"{self.region.endpoint}/{self.region.bucket}/{self.prefix.rstrip('/')}"
        return ResticRepository(
            address=f"s3:{address}",
            password=self.password.text,
            key_hint=self.row.key_hint,
            cache=self.runtime.folder("cache", str(self.row.tenant_id)),
            credentials=credentials,
            location=self.region.location,
            upload_kib=limits.upload_kib,
            download_kib=limits.download_kib,
        )


@dataclass(frozen=True)
class Place:
    """What tells the repositories of the platform apart."""

    tenant: UUID
    region: UUID
    epoch: int = 1


def assign(session: Session, tenant: UUID, *, count: int, by: Actor, now: datetime) -> None:
    """Name repositories so that the tenant has `count` in regions that keep its policy's rules.

    Regions that it has already come first; the turns of all to be proven are set, as the policy in
    force says. Raises TooFewRegions.
    """
    have = set(
        session.execute(
            select(Repository.region_id).where(Repository.tenant_id == tenant)
        ).scalars()
    )
    regions = [placing.place_of(each) for each in session.execute(select(Region)).scalars()]
    rule = placing.rule_of(session, tenant)
    chosen = placement.choose(regions, count=count, rule=rule, have=have)
    wanted = [region for region in chosen if region.id not in have]
    for region in wanted:
        name(session, Place(tenant, region.id), RepositoryState.NEW, by=by, now=now)
    session.flush()
    rota.begin(session, tenant, now=now)


def name(
    session: Session, place: Place, state: RepositoryState, *, by: Actor, now: datetime
) -> Repository:
    """A row for a repository that is still to be made."""
    repository_id = new_id()
    row = Repository(
        id=repository_id,
        tenant_id=place.tenant,
        region_id=place.region,
        epoch=place.epoch,
        prefix=f"t/{place.tenant}/r/{repository_id}/",
        state=state,
        unclean=False,
        created_at=now,
    )
    session.add(row)
    session.flush()
    record(session, row, old="", move=Move(by=by, at=now, reason=Reason("assigned")))
    return row


def of_tenant(session: Session, tenant: UUID) -> Sequence[tuple[Repository, Region]]:
    """The tenant's repositories of the current epoch, the preferred region first."""
    rows = session.execute(
        select(Repository, Region)
        .join(Region, Region.id == Repository.region_id)
        .where(Repository.tenant_id == tenant, Repository.counts())
        .order_by(Region.rank, Region.name)
    )
    return [(row.Repository, row.Region) for row in rows]


def lock(session: Session, ids: Sequence[UUID]) -> None:
    """Until the end of the transaction nobody takes these repositories; loaded rows are renewed."""
    session.execute(
        select(Repository)
        .where(Repository.id.in_(ids))
        .order_by(Repository.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def site(runtime: Runtime, tenant: UUID, repository_id: UUID) -> Site:
    """The repository with its password."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        return site_of(runtime, session, session.get_one(Repository, repository_id))


def site_of(runtime: Runtime, session: Session, row: Repository) -> Site:
    """As `site`; a new repository gets its password here, before anything else."""
    region = session.get_one(Region, row.region_id)
    return Site(runtime, row, region, _password(runtime, session, row))


def _password(runtime: Runtime, session: Session, row: Repository) -> MachinePassword:
    context = password_context(row)
    if row.key_hint is None and row.state in UNMADE and not vault_has(session, context):
        runtime.vault.seal(session, MachinePassword.make().secret, context, now=runtime.now())
        session.flush()
    return MachinePassword(runtime.vault.open(session, context))


def password_context(row: Repository) -> Context:
    """What the repository's password is bound to; the repository stands for region and epoch."""
    return Context(tenant=row.tenant_id, subject=row.id, purpose=PASSWORD)


def deleting(
    site: Site, held: Held, act: storage.Act, *, packs: Sequence[str] = ()
) -> storage.Credentials:
    """Credentials with delete rights, recorded before anybody uses them.

    They are got first and dated afterwards, so that the date is never too early, however long we
    are stopped in between: nobody takes the repository over before they have run out, unless our
    process has ended. Raises RepositoryBusy when the lease is no longer ours.
    """
    credentials = site.credentials(act, packs=packs)
    with site.runtime.database.session(Role.WORKER, tenant=held.tenant) as session:
        changed = session.execute(
            update(Repository)
            .where(
                Repository.id == held.row_id,
                Repository.fence == held.fence,
                Repository.lease_until > func.clock_timestamp(),
            )
            .values(credentials_until=func.clock_timestamp() + timedelta(seconds=DELETE_SECONDS))
            .returning(Repository.id)
        ).first()
    if changed is None or held.is_lost:
        held.lost.set()
        raise RepositoryBusy(f"The lease on repository {held.row_id} was lost; nothing was done.")
    return credentials


def lend(runtime: Runtime, tenant: UUID, repository_id: UUID) -> None:
    """Somebody is about to read without a lease: for a day the repository is not destroyed.

    Raises Retired when a later epoch counts already.
    """
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        until = func.clock_timestamp() + timedelta(seconds=LENT_SECONDS)
        lent = session.execute(
            update(Repository)
            .where(Repository.id == repository_id, Repository.counts())
            .values(read_until=until)
            .returning(Repository.id)
        ).first()
    if lent is None:
        raise Retired(f"Repository {repository_id} was replaced by a new epoch; look again.")


def require_current(row: Repository) -> None:
    """What was seen there says nothing about the epoch that counts. Raises Retired."""
    if row.state not in CURRENT:
        raise Retired(f"Repository {row.id} was replaced by a new epoch meanwhile.")


def successor(session: Session, repository_id: UUID) -> UUID:
    """The repository that counts in the same region; itself if that is the one."""
    left = session.get_one(Repository, repository_id)
    here = select(Repository.id).where(
        Repository.tenant_id == left.tenant_id,
        Repository.region_id == left.region_id,
        Repository.counts(),
    )
    return session.execute(here).scalar_one_or_none() or repository_id


def surroundings(
    runtime: Runtime, repository_id: UUID, *, seconds: float, stop: threading.Event | None = None
) -> Surroundings:
    """Where restic may run for this repository."""
    return Surroundings(
        scratch=runtime.folder("scratch", str(repository_id)),
        timeout=seconds,
        restic=runtime.settings.restic,
        stop=stop,
    )
