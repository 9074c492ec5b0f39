"""Steps in which storage goes wrong, and what the platform does about it by itself or when told."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from backup import repositories
from backup.models import Healing, Proof, Repository
from backup.states import HealingState, Level, ProofState
from restore.states import DrillState
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Store
from tenants.models import Tenant
from web import following
from web.commands import drills
from web.demo.stage import PATIENCE, Demo
from web.demo.steps import Seen, require
from web.output import Screen, size


def rehearse(demo: Demo) -> Seen:
    """A drill of each tenant from the second region: restored, compared, thrown away."""
    region = demo.running.stack.regions[1].name
    asked = {
        slug: drills.ask(demo.platform, tenant, demo.points[slug], region=region)
        for slug, tenant in demo.tenants.items()
    }
    said = []
    for slug, rows in asked.items():
        names = {row.id: name for row, name in rows}
        [row] = following.drilled(
            demo.platform, demo.tenants[slug], names, screen=_quiet(), seconds=PATIENCE
        )
        why = (row.failure or {}).get("message", row.report)
        require(row.state is DrillState.PASSED, f"The drill of {slug} is {row.state}: {why}")
        said.append(f"{slug} {row.restore_seconds:.1f} s")
    return Seen(
        f"from {region} into throw-away places, each row and file compared: {', '.join(said)}",
        bytes=sum(point.bytes for point in demo.points.values()),
    )


def heal(demo: Demo) -> Seen:
    """A byte of a pack flips where it lies, with nothing beneath it to fall back on."""
    tenant = next(iter(demo.tenants.values()))
    row, region = _repository(demo.platform, tenant, 0)
    store = _root(demo.platform, region)
    pack = max(store.list(f"{row.prefix}data/"), key=lambda each: each.size)
    data = bytearray(store.get(pack.key))
    data[len(data) // 2] ^= 1
    store.put(pack.key, bytes(data))
    old = [each for each in store.versions(pack.key) if not each.latest]
    store.delete_versions((each.key, each.version_id) for each in old)

    found = _prove(demo, tenant, region)
    require(found is ProofState.FAILED, f"The damage was not found: the proof is {found}.")
    healing = following.wait(
        lambda: _healed(demo.platform, tenant, row.id), seconds=PATIENCE, what="the mending"
    )
    require(
        healing.state is HealingState.HEALED,
        f"The damage was not mended: {healing.state}, {healing.report or healing.failure}",
    )
    found = _prove(demo, tenant, region)
    require(found is ProofState.PASSED, f"After the mending the proof is {found}.")
    return Seen(
        f"a byte of a pack of {size(pack.size)} was flipped in {region.name}: found by reading, "
        f"mended from {_other(demo)}, every pack reads back again",
        bytes=pack.size,
    )


def _prove(demo: Demo, tenant: Tenant, region: Region) -> ProofState:
    [asked] = following.prove(
        demo.platform, tenant, demo.points[tenant.slug], level=Level.DATA, region=region.name
    )
    following.proofs(demo.platform, tenant, [asked], seconds=PATIENCE)
    with demo.platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return session.get_one(Proof, asked).state


def _healed(platform: Runtime, tenant: Tenant, repository: UUID) -> Healing | None:
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return session.execute(
            select(Healing).where(
                Healing.repository_id == repository, Healing.ended_at.is_not(None)
            )
        ).scalar_one_or_none()


def _repository(platform: Runtime, tenant: Tenant, place: int) -> tuple[Repository, Region]:
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        found: Sequence[tuple[Repository, Region]] = repositories.of_tenant(session, tenant.id)
        return found[place]


def _root(platform: Runtime, region: Region) -> Store:
    return Store(region.address(), platform.settings.regions[region.name])


def _other(demo: Demo) -> str:
    return demo.running.stack.regions[1].name


def _quiet() -> Screen:
    return Screen(as_json=True, quiet=True)
