"""Snapshots and regions that somebody deleted behind our back are noticed, and made good."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from backup import census, tasks
from backup.models import Copy, Point
from backup.states import CopyState
from restore.states import Destination
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, B, Vault, digest, snapshots_of, vault
from tests.cast import add_folder, back_up
from tests.restore.asking import give_back, report

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def copy_of(held: Vault, point: Point) -> Copy:
    with held.runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        rows = session.query(Copy)
        return rows.filter_by(point_id=point.id, repository_id=held.site.row.id).one()


def wipe(held: Vault, *below: str) -> None:
    """What an intruder with the region's root credentials can do."""
    for part in below:
        for found in list(held.store.list(held.prefix + part)):
            held.store.delete(found.key)


def test_a_row_without_its_object_is_lost_and_one_that_is_seen_again_is_back() -> None:
    gone, back, fine = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    rows = [(gone, "a", None), (back, "b", LONG_AGO), (fine, "c", None)]
    assert census.compare(rows, {"b", "c"}) == ([gone], [back])


def test_what_is_known_to_be_lost_is_not_lost_again() -> None:
    assert census.compare([(uuid.uuid4(), "a", LONG_AGO)], set()) == ([], [])


def test_a_vanished_snapshot_is_no_parent_and_comes_back_from_the_other_region(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    first = back_up(runtime, acme)
    wipe(vault(runtime, acme, A), "snapshots/")

    second = back_up(runtime, acme)

    assert copy_of(vault(runtime, acme, A), first).state is CopyState.WAITING
    assert [each.lost_at for each in snapshots_of(vault(runtime, acme, A), second)] == [None]
    tasks.copy.run(str(acme.id), str(copy_of(vault(runtime, acme, A), first).id))
    assert copy_of(vault(runtime, acme, A), first).state is CopyState.STORED
    [snapshot] = snapshots_of(vault(runtime, acme, A), first)
    assert snapshot.restic_id in vault(runtime, acme, A).snapshot_ids()


def test_a_wiped_region_stops_neither_backups_nor_restores(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    wipe(vault(runtime, acme, A), "")

    point = back_up(runtime, acme)

    assert str(point.outcome) == "complete"
    assert copy_of(vault(runtime, acme, B), point).state is CopyState.STORED
    assert copy_of(vault(runtime, acme, A), point).state is CopyState.WAITING
    seen = report(give_back(runtime, point, source, Destination.ASIDE))
    assert seen["region"] == B
    assert digest(Path(str(seen["where"]))) == digest(tmp_path / "files")


def test_a_restore_goes_on_from_the_next_region_when_one_cannot_give_it(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    wipe(vault(runtime, acme, A), "data/", "index/")

    seen = report(give_back(runtime, point, source, Destination.ASIDE))

    assert seen["region"] == B
    assert seen["passed_over"] == ["region-a: restic-failed"]
    assert digest(Path(str(seen["where"]))) == digest(tmp_path / "files")
