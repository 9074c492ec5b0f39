"""Steps in which storage goes wrong, and what the platform does about it by itself or when told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backup import repositories
from backup.models import Healing, Proof, Repository
from backup.states import HealingState, Level, ProofState
from restore.states import DrillState
from strongroom import program
from strongroom.db import Role
from strongroom.program import Command
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Store
from tenants.models import Tenant
from web import following
from web import stack as stacks
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


def wipe(demo: Demo) -> Seen:
    """Somebody with the root key deletes all that tenants have in a bucket; one command undoes it."""
    region = demo.running.stack.regions[1].name
    gone = {tenant.slug: _wiped(demo, tenant) for tenant in demo.tenants.values()}
    began = time.monotonic()
    told = _strongroom(demo.home, "region", "undelete", region, "--wait")["tenants"]
    seconds = time.monotonic() - began
    anew = 0
    for each in told:
        require(each["clean"] and each["proven"], f"{each['tenant']} is not proven: {each}")
        lacking = gone[each["tenant"]] - _keys(demo, demo.tenants[each["tenant"]])
        lost = sorted(key for key in lacking if "/index/" not in key)  # a worker may have had it
        require(not lost, f"{len(lost)} objects did not come back: {', '.join(lost[:3])}")
        anew += len(lacking)
    count = sum(map(len, gone.values()))
    return Seen(
        f"all {count} objects of {len(told)} tenants in {region} were deleted with the root key: "
        f"`region undelete` brought back {'each' if not anew else f'all but {anew} indexes'} in "
        f"{seconds:.1f} s, and every snapshot is proven again"
    )


def _wiped(demo: Demo, tenant: Tenant) -> set[str]:
    """Deletes every object of the tenant, what opens its backups included; gives their keys."""
    keys = _keys(demo, tenant)
    _row, region = _repository(demo.platform, tenant, 1)
    store = _root(demo.platform, region)
    for key in keys:
        store.delete(key)
    return keys


def _keys(demo: Demo, tenant: Tenant) -> set[str]:
    """All that lies in the second region for this tenant, but for locks, which come and go."""
    _row, region = _repository(demo.platform, tenant, 1)
    listed = _root(demo.platform, region).list(f"t/{tenant.id}/")
    return {each.key for each in listed if "/locks/" not in each.key}


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


def _strongroom(home: Path, *words: str) -> Any:
    """The command as an operator gives it; its JSON."""
    command = Command(
        [sys.executable, "-m", "web.cli", *words, "--home", str(home), "--json"],
        environment={"PATH": stacks.PATH, "LANG": "C.UTF-8"},
        folder=Path("/"),
    )
    lines: list[str] = []
    finished = program.run(command, timeout=PATIENCE, on_line=lines.append)
    require(finished.code == 0, f"`strongroom {' '.join(words)}` failed: {finished.stderr}")
    return json.loads("\n".join(lines))


def _quiet() -> Screen:
    return Screen(as_json=True, quiet=True)
