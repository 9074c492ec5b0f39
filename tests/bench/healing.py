"""What is read from the object store to heal one damaged pack, as a share of the repository.

Both regions are reached through proxies that count what they answer. Once an earlier version lies
beneath the damaged pack; once nothing does, and the other region has to give what was lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy import update

from backup import healing, mending, repositories
from backup.repositories import Site
from backup.states import HealingState
from strongroom.db import Role
from strongroom.regions import Region
from tenants.models import Tenant
from tests.bench import data
from tests.bench.stand import BENCH, MIB, Stand
from tests.faults import FaultProxy

FILE = 8 * MIB


@dataclass(frozen=True)
class Healed:
    """Bytes and seconds of one healing."""

    stored: int  # all packs of the repository
    pack: int  # the damaged one
    read: tuple[int, ...]  # by region, the damaged one first
    seconds: float

    @property
    def share(self) -> float:
        return sum(self.read) / self.stored

    def to_json(self) -> dict[str, float]:
        there, *others = self.read
        return {
            "share_read": self.share,
            "MB_from_the_damaged_region": there / 1e6,
            "MB_from_the_other": sum(others) / 1e6,
            "seconds": self.seconds,
        }


def measure(stand: Stand, *, size: int, rot: bool) -> Healed:
    tenant = stand.add_tenant("heal-rot" if rot else "heal-beneath")
    folder = stand.folder / tenant.slug
    data.fill(folder, files=size // FILE, size=FILE, seed=tenant.slug)
    stand.add_folder(tenant, folder)
    stand.back_up([tenant])
    site = _site(stand, tenant)
    store = stand.root_store(stand.regions[0])
    packs = sorted(store.list(site.prefix + "data/"), key=lambda each: each.size)
    content = store.get(packs[-1].key)
    store.put(packs[-1].key, bytes([content[0] ^ 1]) + content[1:])
    if rot:
        old = [each for each in store.versions(packs[-1].key) if not each.latest]
        store.delete_versions((each.key, each.version_id) for each in old)
    read, seconds = _heal(stand, site, damaged=packs[-1].key.rpartition("/")[2])
    stand.empty(f"t/{tenant.id}/")
    return Healed(sum(each.size for each in packs), packs[-1].size, read, seconds)


def _heal(stand: Stand, site: Site, *, damaged: str) -> tuple[tuple[int, ...], float]:
    platform, tenant, now = stand.platform, site.row.tenant_id, stand.platform.now()
    with _counted(stand) as proxies:
        with platform.database.session(Role.WORKER, tenant=tenant) as session:
            seen = {"damaged": [damaged]}
            row = healing.want(session, tenant, site.row.id, seen=seen, by=BENCH, now=now)
            row.nudged_at = now  # carried out here, so that what follows it is not counted
        began = time.monotonic()
        done = mending.heal(platform, tenant, row.id)
        found = tuple(proxy.answered for proxy in proxies)
        seconds = time.monotonic() - began
        if done is None or done.state is not HealingState.HEALED:
            raise RuntimeError(f"The pack was not healed: {done and done.report}")
    return found, seconds


@contextmanager
def _counted(stand: Stand) -> Iterator[list[FaultProxy]]:
    """Everybody reaches the regions through proxies while the block runs."""
    with ExitStack() as stack:
        proxies = []
        for region in stand.regions:
            proxy = stack.enter_context(FaultProxy(region.region.endpoint))
            _move(stand, region.name, proxy.endpoint)
            stack.callback(_move, stand, region.name, region.region.endpoint)
            proxies.append(proxy)
        yield proxies


def _move(stand: Stand, region: str, endpoint: str) -> None:
    with stand.platform.database.session(Role.OPERATOR) as session:
        session.execute(update(Region).where(Region.name == region).values(endpoint=endpoint))


def _site(stand: Stand, tenant: Tenant) -> Site:
    with stand.platform.database.session(Role.WORKER, tenant=tenant.id) as session:
        [(row, _), *_] = repositories.of_tenant(session, tenant.id)
    return repositories.site(stand.platform, tenant.id, row.id)
