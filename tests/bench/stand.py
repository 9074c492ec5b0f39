"""The real platform, run as `strongroom up` runs it, with tenants made for measuring."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, TypeVar
from uuid import UUID

from sqlalchemy import distinct, func, select

from backup import repositories
from backup.models import BackupRun, Copy, Proof, Removal, Repository, Snapshot
from backup.planning import Order
from backup.restic import commands
from backup.restic.calls import Repository as ResticRepository
from backup.restic.calls import Surroundings
from backup.restic.flags import RestoreOrder
from backup.states import CopyState, ProofState, RemovalState, RunState, Trigger
from strongroom.actors import Actor, ActorKind
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.stack import certificates, files, quarters
from strongroom.stack import home as homes
from strongroom.stack.embedded import region_names
from strongroom.stack.seaweed import Seaweed, Secrets
from strongroom.storage import Act, Store
from tenants import onboarding, plans, sourcing
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tenants.sourcing import NewSource
from tests.bench import usage
from web import following, stack
from web.session import connect

BENCH = Actor(ActorKind.OPERATOR, "bench")
ONE_REGION = "bench-one-region"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
OVER = (RunState.STORED, RunState.FAILED, RunState.QUARANTINED)
T = TypeVar("T")

PATIENCE = 600.0
KEPT = 3  # points that the plan starter keeps of those that somebody asked for
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Stand:
    """A running platform, and a folder for what tenants have."""

    folder: Path
    running: stack.Running
    platform: Runtime

    @property
    def regions(self) -> list[Seaweed]:
        return [each for each in self.running.stack.regions if isinstance(each, Seaweed)]

    def roots(self) -> dict[str, int]:
        """The first process of each component, by name."""
        found: dict[str, int] = {}
        for process in usage.processes().values():
            if process.parent == os.getpid():
                found[_name(process.argv, taken=found)] = process.pid
        return found

    def workers(self) -> list[int]:
        """The processes that carry out backups: the pool below the one that hands out."""
        root = self.roots()["worker"]
        return [each.pid for each in usage.processes().values() if each.parent == root]

    def add_tenant(self, slug: str, *, plan: str = "starter") -> Tenant:
        new = NewTenant(slug, slug, plan, "Asia/Dubai", "AE", "en")
        return onboarding.add(self.platform, new, by=BENCH)

    def add_folder(self, tenant: Tenant, folder: Path) -> None:
        new = NewSource("directory", "files", {"path": str(folder)})
        sourcing.add(self.platform, tenant, new, by=BENCH)

    def request(self, tenant: Tenant) -> UUID:
        """A run, as `strongroom backup` asks for one."""
        order = Order(Trigger.MANUAL, BENCH, self.platform.now())
        return following.request(self.platform, tenant, order)

    def back_up(self, tenants: Sequence[Tenant]) -> None:
        """One run each, side by side; returns when all that follows them is done too."""
        wanted = {self.request(tenant): tenant for tenant in tenants}
        for run, tenant in wanted.items():
            self.await_settled(tenant, run)

    def await_stored(self, tenant: Tenant, run: UUID) -> BackupRun:
        """The run once it is over; anything but a stored point is an error."""

        def over() -> BackupRun | None:
            with self.platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
                row = session.get_one(BackupRun, run)
            return row if row.state in OVER else None

        row = wait(over, f"the run of {tenant.slug}")
        if row.state is not RunState.STORED:
            raise RuntimeError(f"The run of {tenant.slug} is {row.state}: {row.failure}")
        return row

    def await_settled(self, tenant: Tenant, run: UUID) -> BackupRun:
        """As `await_stored`, and then until no copy, proof or removal is left to do."""
        row = self.await_stored(tenant, run)
        wait(lambda: self._is_settled(tenant) or None, f"what follows the run of {tenant.slug}")
        return row

    def _is_settled(self, tenant: Tenant) -> bool:
        with self.platform.database.session(Role.WORKER, tenant=tenant.id) as session:
            points = session.execute(
                select(func.count(distinct(Copy.point_id))).where(Copy.state != CopyState.REMOVED)
            ).scalar_one()
        return points <= KEPT and self._left(tenant) == 0

    def _left(self, tenant: Tenant) -> int:
        kinds = (
            (Copy, (CopyState.WAITING, CopyState.COPYING)),
            (Proof, (ProofState.WAITING, ProofState.PROVING)),
            (Removal, (RemovalState.PLANNED, RemovalState.FORGOTTEN)),
        )
        with self.platform.database.session(Role.WORKER, tenant=tenant.id) as session:
            return sum(
                session.execute(
                    select(func.count()).select_from(kind).where(kind.state.in_(states))
                ).scalar_one()
                for kind, states in kinds
            )

    def newest(self, tenant: Tenant, *, region: int) -> Snapshot:
        """The tenant's last snapshot in one region."""
        where = self.regions[region].name
        with self.platform.database.session(Role.WORKER, tenant=tenant.id) as session:
            return session.execute(
                select(Snapshot)
                .join(Repository, Repository.id == Snapshot.repository_id)
                .join(Region, Region.id == Repository.region_id)
                .where(Region.name == where, Snapshot.forgotten_at.is_(None))
                .order_by(Snapshot.taken_at.desc())
                .limit(1)
            ).scalar_one()

    def restore(self, tenant: Tenant, target: Path, *, region: int) -> None:
        """The files of the tenant's newest point out of one region, by restic."""
        found = self.newest(tenant, region=region)
        target.mkdir(parents=True)
        commands.restore(*self._opened(found), RestoreOrder(found.restic_id, target))

    def dump(self, tenant: Tenant, path: str, to: IO[bytes], *, region: int) -> None:
        """One file of the tenant's newest point out of one region."""
        found = self.newest(tenant, region=region)
        commands.dump(*self._opened(found), snapshot=found.restic_id, path=path, to=to)

    def _opened(self, found: Snapshot) -> tuple[ResticRepository, Surroundings]:
        site = repositories.site(self.platform, found.tenant_id, found.repository_id)
        here = repositories.surroundings(self.platform, site.row.id, seconds=PATIENCE)
        return site.restic(Act.READ), here

    def root_store(self, region: Seaweed) -> Store:
        return Store(region.region, region.root)

    def empty(self, prefix: str) -> None:
        """Remove all below the prefix in every region, and give the disk space back."""
        for region in self.regions:
            store = self.root_store(region)
            store.delete_versions((each.key, each.version_id) for each in store.versions(prefix))
            _compact(region)


@contextmanager
def standing() -> Iterator[Stand]:
    """The whole stack in a temporary folder; everything is gone afterwards."""
    parent = Path(tempfile.mkdtemp(prefix="strongroom-bench-"))
    home = parent / "home"
    try:
        _same_keys(home)
        with stack.running(stack.Wanted(home, concurrency=2)) as running:
            platform = connect(home)
            _add_plan(platform)
            (parent / "data").mkdir()
            yield Stand(parent / "data", running, platform)
            platform.database.close()
    finally:
        quarters.clear(home / "postgres")
        shutil.rmtree(parent, ignore_errors=True)


def _same_keys(home: Path) -> None:
    """Both regions with one set of root keys: plain restic knows no other way to copy."""
    homes.prepare(home)
    shared = json.dumps(asdict(Secrets(*(secrets.token_hex(16) for _ in fields(Secrets)))))
    for name in region_names(2):
        settings = home / "regions" / name / "settings"
        settings.mkdir(mode=0o700, parents=True)
        files.write(settings / "secrets.json", shared.encode())


def wait(look: Callable[[], T | None], what: str) -> T:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"{what} was not over after {PATIENCE:.0f} seconds.")


def _add_plan(platform: Runtime) -> None:
    """As starter, but in one region: for what is compared with a single `restic backup`."""
    (starter,) = [each for each in plans.read(plans.SHIPPED) if each.code == "starter"]
    ours = replace(starter, code=ONE_REGION, policy=replace(starter.policy, regions=1))
    with platform.database.session(Role.OPERATOR) as session:
        plans.apply(session, [ours], now=platform.now())


def _compact(region: Seaweed) -> None:
    line = http.client.HTTPSConnection(
        "127.0.0.1",
        region.ports.master,
        timeout=300,
        context=certificates.member(region.certificate),
    )
    line.request("GET", "/vol/vacuum?garbageThreshold=0.0001")
    answer = line.getresponse()
    answer.read()
    assert answer.status == 200, f"the region did not compact: {answer.status}"
    line.close()


def _name(argv: Sequence[str], *, taken: dict[str, int]) -> str:
    name = Path(argv[0].split()[0]).name
    if "serve" in argv:
        name = "worker-restore" if "restore" in argv else argv[list(argv).index("serve") + 1]
    while name in taken:
        name += "'"
    return name
