"""How the tests of rehearsed restores ask for one, carry it out and look at what it left."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from backup import leases
from backup.catalogue import CatalogueVersion
from backup.making import DUMP_NAME
from backup.models import Copy, Point, Snapshot
from backup.restic import commands, streams
from backup.restic.flags import Stream
from backup.states import CopyState
from restore.models import Drill
from restore.rehearsed import drills
from restore.states import DrillState
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.storage import Act
from tenants.models import Tenant
from tests.backup.vaults import A, Vault, snapshots_of, vault
from tests.cast import ADA
from tests.platform.stack_cast import processes_of


def ask(runtime: Runtime, tenant: Tenant, point: Point, region: str = A) -> Drill:
    repository = vault(runtime, tenant, region).site.row.id
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return drills.add(
            session, (tenant.id, point.id), repository, by=str(ADA), actor=ADA, at=runtime.now()
        )


def carry_out(runtime: Runtime, row: Drill) -> Drill:
    drills.carry_out(runtime, row.tenant_id, row.id)
    return current(runtime, row)


def current(runtime: Runtime, row: Drill) -> Drill:
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        return session.get_one(Drill, row.id)


def drill(runtime: Runtime, tenant: Tenant, point: Point, region: str = A) -> Drill:
    """Asked for and carried out; what it used is gone."""
    row = carry_out(runtime, ask(runtime, tenant, point, region))
    assert left(runtime) == []
    return row


def passed(row: Drill) -> list[dict[str, Any]]:
    """What it says of each source."""
    assert row.state is DrillState.PASSED, row.failure
    assert row.report is not None
    return list(row.report["sources"])


def failed(row: Drill) -> str:
    """The message, with the code before it."""
    assert row.state is DrillState.FAILED, row.failure
    assert row.failure is not None
    return f"{row.failure['code']}: {row.failure['message']}"


def waits(row: Drill) -> str:
    """The code of what it waits for."""
    assert row.state is DrillState.WAITING, row.failure
    assert row.failure is not None
    return str(row.failure["code"])


def left(runtime: Runtime) -> list[str]:
    """Folders, locks and processes that a drill might leave."""
    places = [runtime.folder("clusters"), runtime.folder("drills")]
    found = [path.name for place in places for path in place.iterdir()]
    return found + [str(each) for place in places for each in processes_of(place)]


def snapshots(held: Vault, point: Point) -> Sequence[Snapshot]:
    """The rows as they stand now."""
    return snapshots_of(held, point)


def rewrite_dump(held: Vault, point: Point, change: Callable[[bytes], bytes]) -> None:
    """The point's dump there becomes another one, with which restic finds nothing wrong."""
    [snapshot] = snapshots_of(held, point)
    reading, writing = os.pipe()
    content: list[bytes] = []

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content[0])

    whole = held.runtime.folder("rewritten") / "dump"
    with whole.open("wb") as file:
        opened = held.site.restic(Act.READ)
        commands.dump(opened, held.here(), snapshot=snapshot.restic_id, path=DUMP_NAME, to=file)
    content.append(change(whole.read_bytes()))
    thread = threading.Thread(target=feed)
    thread.start()
    wanted = Stream(host="forged", filename=DUMP_NAME)
    report = streams.backup_stream(
        held.site.restic(Act.BACKUP), held.here(), wanted, source=reading, verdict=lambda: True
    )
    thread.join()
    assert report.snapshot is not None
    name(held, snapshot, report.snapshot)


def name(held: Vault, snapshot: Snapshot, restic_id: str) -> None:
    """The row names another snapshot of its repository."""
    with held.runtime.database.session(Role.WORKER, tenant=snapshot.tenant_id) as session:
        for other in session.query(Snapshot).filter_by(restic_id=restic_id):
            other.restic_id = "0" * 64  # an id stands once in a repository
        session.flush()
        session.get_one(Snapshot, snapshot.id).restic_id = restic_id


def forget_catalogue(runtime: Runtime, tenant: Tenant) -> None:
    """As if every path had gone before the first point."""
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        session.query(CatalogueVersion).update({"since": 0, "until": 0})


def harm(held: Vault, what: str) -> None:
    """By an intruder with full rights."""
    keep = {"flip": "data/", "pack gone": "data/", "snapshot gone": "snapshots/", "all gone": ""}
    for each in list(held.store.list(held.prefix + keep[what])):
        if what == "flip":
            data = bytearray(held.store.get(each.key))
            data[len(data) // 2] ^= 0xFF
            held.store.put(each.key, bytes(data))
        else:
            held.store.delete(each.key)


def take_and_give_back(runtime: Runtime, tenant: Tenant, region: str = A) -> None:
    """Somebody else holds the repository for a moment."""
    with leases.leased(runtime, tenant.id, vault(runtime, tenant, region).site.row.id):
        pass


def overtake(runtime: Runtime, row: Drill) -> None:
    """Another worker has it now."""
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        session.get_one(Drill, row.id).fence += 1


def remove_copy(runtime: Runtime, point: Point) -> None:
    with runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        session.query(Copy).filter_by(point_id=point.id).update({"state": CopyState.REMOVED})
