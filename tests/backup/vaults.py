"""What lies in a tenant's repositories, seen from outside: with root credentials, and by restic."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from backup import followers, planning, policy, repositories
from backup.models import Point, Policy, Removal, Repository, Snapshot
from backup.repositories import Site
from backup.restic import commands
from backup.restic.calls import Surroundings
from backup.restic.flags import CheckExtent, RestoreOrder
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Act, Store, Version
from strongroom.storage_errors import StorageError
from tenants.models import Tenant
from tests.cast import rows_of
from tests.faults import FaultProxy

A, B = "region-a", "region-b"


@dataclass(frozen=True)
class Vault:
    """One tenant's repository in one region."""

    runtime: Runtime
    site: Site

    @property
    def prefix(self) -> str:
        return self.site.prefix

    @property
    def store(self) -> Store:
        """With the region's root credentials: what an intruder with full rights can do."""
        root = self.runtime.settings.regions[self.site.region.name]
        return Store(self.site.region.address(), root)

    @property
    def row(self) -> Repository:
        with self.runtime.database.session(Role.WORKER, tenant=self.site.row.tenant_id) as session:
            return session.get_one(Repository, self.site.row.id)

    def rows(self) -> Sequence[Snapshot]:
        """What the platform has recorded of it."""
        with self.runtime.database.session(Role.WORKER, tenant=self.site.row.tenant_id) as session:
            return session.query(Snapshot).filter_by(repository_id=self.site.row.id).all()

    def here(self) -> Surroundings:
        return repositories.surroundings(self.runtime, self.site.row.id, seconds=120)

    def lock_all(self, until: datetime) -> list[Version]:
        """What lies there now, but so that `unlock` ends it: however long a test takes."""
        listed = self.store.versions(self.prefix)
        locked = [each for each in listed if not each.marker and "/locks/" not in each.key]
        for each in locked:
            self._retain(each, until)
        return locked

    def unlock(self, versions: Sequence[Version]) -> None:
        """As when their time is over; a region takes no moment that has passed."""
        end = datetime.now(UTC) + timedelta(seconds=2)
        for each in versions:
            end = self._let_go(each, after=end)
        while datetime.now(UTC) <= end + timedelta(seconds=1):
            time.sleep(0.1)

    def _let_go(self, version: Version, *, after: datetime) -> datetime:
        """Shortly; gives when. A busy machine may let the moment pass before the region has it."""
        for seconds in (1, 5, 60):
            end = max(after, datetime.now(UTC) + timedelta(seconds=seconds))
            try:
                self._retain(version, end, BypassGovernanceRetention=True)
            except StorageError:
                if seconds == 60:
                    raise
            else:
                break
        return end

    def _retain(self, version: Version, until: datetime, **more: Any) -> None:
        with self.store._calling("lock", version.key) as (client, bucket):
            client.put_object_retention(
                Bucket=bucket,
                Key=version.key,
                VersionId=version.version_id,
                Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
                **more,
            )

    def packs(self) -> list[str]:
        return [each.key for each in self.store.list(self.prefix + "data/")]

    def stored(self) -> int:
        """Bytes of all packs."""
        return sum(each.size for each in self.store.list(self.prefix + "data/"))

    def left_over(self) -> list[Version]:
        """Versions and delete markers that no plain reader sees."""
        listed = self.store.versions(self.prefix)
        return [each for each in listed if each.marker or not each.latest]

    def left_over_of(self, prefix: str) -> list[Version]:
        """The same below a prefix within the repository."""
        return [each for each in self.left_over() if each.key.startswith(self.prefix + prefix)]

    def snapshot_ids(self) -> set[str]:
        """As restic lists them."""
        listed = commands.snapshots(self.site.restic(Act.READ), self.here())
        return {each.id for each in listed}

    def locks(self) -> list[str]:
        return [each.key for each in self.store.list(self.prefix + "locks/")]

    def is_clean(self) -> bool:
        """restic reads everything and finds nothing wrong, and no lock is in the way."""
        extent = CheckExtent(everything=True)
        report = commands.check(self.site.restic(Act.READ), self.here(), extent)
        return report.ok and not self.locks()


def vault(runtime: Runtime, tenant: Tenant, region: str = A) -> Vault:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        found = session.execute(
            select(Repository.id).join(Region).where(Region.name == region, Repository.counts())
        ).scalar_one()
    return Vault(runtime, repositories.site(runtime, tenant.id, found))


def vaults(runtime: Runtime, tenant: Tenant) -> list[Vault]:
    return [vault(runtime, tenant, name) for name in (A, B)]


def snapshots_of(held: Vault, point: Point) -> Sequence[Snapshot]:
    """The rows of the point's snapshots in this repository."""
    with held.runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        return followers.snapshots_of(session, point.id, held.site.row.id)


def restored(held: Vault, point: Point, to: Path) -> list[str]:
    """The digests of a point's sources as this region gives them back, one a source."""
    digests = []
    to.mkdir(exist_ok=True)
    for snapshot in snapshots_of(held, point):
        target = to / snapshot.restic_id[:8]
        order = RestoreOrder(snapshot.restic_id, target)
        commands.restore(held.site.restic(Act.READ), held.here(), order)
        digests.append(digest(target))
        shutil.rmtree(target)
    return sorted(digests)


def digest(folder: Path) -> str:
    """Of all paths below and what is in the files."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path.relative_to(folder)).encode("utf-8", "surrogateescape") + b"\0")
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def removals(runtime: Runtime, tenant: Tenant, *states: object) -> list[Removal]:
    rows = rows_of(runtime, tenant, Removal)
    return [row for row in rows if row.state in states] if states else rows


def set_policy(
    runtime: Runtime, tenant: Tenant, *, last: int = 1, floor: int = 1, **more: object
) -> None:
    """From now on: so many manual points, and no others; other words are the policy's own."""
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        now = planning.current_policy(session, tenant.id)
        body = {**now.body, "retention": {"last": last}, "floor": floor, **more}
        policy.from_json(body)
        session.add(
            Policy(
                id=new_id(),
                tenant_id=tenant.id,
                version=now.version + 1,
                body=body,
                zone=now.zone,
                cites="a test",
                made_at=runtime.now(),
            )
        )


@contextmanager
def in_front_of(runtime: Runtime, region: str) -> Iterator[FaultProxy]:
    """A proxy through which everybody reaches the region while the block runs."""
    with runtime.database.session(Role.OPERATOR) as session:
        endpoint = session.execute(
            select(Region.endpoint).where(Region.name == region)
        ).scalar_one()
    with FaultProxy(endpoint) as proxy:
        _move(runtime, region, proxy.endpoint)
        try:
            yield proxy
        finally:
            _move(runtime, region, endpoint)


def _move(runtime: Runtime, region: str, endpoint: str) -> None:
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(Region).where(Region.name == region).values(endpoint=endpoint))
