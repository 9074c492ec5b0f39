"""kill -9 at any stage: the work goes on at once, nothing is lost, nothing is uploaded twice."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from backup import copies, removal, runs
from backup.models import Copy, Point
from backup.states import CopyState, RemovalState
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import (
    A,
    B,
    digest,
    in_front_of,
    removals,
    restored,
    set_policy,
    vault,
    vaults,
)
from tests.cast import add_folder, back_up, carry_out, fill, queue, rows_of
from tests.faults import Delay
from tests.workers import Doing, killed, reap

MEGABYTE = 1 << 20


@pytest.mark.long
def test_killed_before_the_source_is_read(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)

    killed(runtime, Doing("run", acme, run_id, at=("backup.making:make", "before")))

    the_retry_makes_the_point(runtime, acme, run_id, tmp_path / "files")


def test_killed_after_restic_and_before_the_snapshot_is_recorded(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)

    killed(runtime, Doing("run", acme, run_id, at=("backup.making:make", "after")))

    the_retry_makes_the_point(runtime, acme, run_id, tmp_path / "files")
    assert len(vault(runtime, acme).snapshot_ids()) == 1


def test_killed_after_a_source_is_recorded_and_before_the_point_is(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)

    killed(runtime, Doing("run", acme, run_id, at=("backup.runs:_finish", "before")))

    the_retry_makes_the_point(runtime, acme, run_id, tmp_path / "files")
    assert len(vault(runtime, acme).snapshot_ids()) == 1


def test_killed_while_the_repository_is_made(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)

    killed(
        runtime, Doing("run", acme, run_id, at=("backup.restic.creation:_write_config", "before"))
    )

    the_retry_makes_the_point(runtime, acme, run_id, tmp_path / "files")


@pytest.mark.long
def test_killed_in_the_middle_of_the_upload_what_was_uploaded_is_used_again(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    fill(tmp_path / "files")
    for number in range(5):
        (tmp_path / "files" / f"{number}.bin").write_bytes(os.urandom(8 * MEGABYTE))
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)
    held = vault(runtime, acme)
    slow = Doing("run", acme, run_id, upload_kib=12 * 1024)

    killed(runtime, slow, when=lambda: held.stored() > 16 * MEGABYTE)

    uploaded = held.stored()
    point = the_retry_makes_the_point(runtime, acme, run_id, tmp_path / "files")
    assert point.added_bytes < 41 * MEGABYTE - uploaded
    assert held.stored() < 42 * MEGABYTE


def the_retry_makes_the_point(
    runtime: Runtime, tenant: Tenant, run_id: uuid.UUID, folder: Path
) -> Point:
    assert [row.id for row in reap(runtime)] == [run_id]
    point = carry_out(runtime, tenant, run_id)
    assert point is not None
    assert [row.id for row in rows_of(runtime, tenant, Point)] == [run_id]
    for held in vaults(runtime, tenant):
        assert held.is_clean()
        assert restored(held, point, folder.parent / "back") == [digest(folder)]
    return point


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("backup.restic.commands:copy", "before"), marks=pytest.mark.long),
        ("backup.restic.commands:copy", "after"),
        pytest.param(("backup.founding:make", "after"), marks=pytest.mark.long),
    ],
    ids=["before restic", "after restic", "once the repository is made"],
)
def test_killed_during_the_copy_the_point_is_there_and_the_copy_follows(
    runtime: Runtime, acme: Tenant, tmp_path: Path, at: tuple[str, str]
) -> None:
    point = only_in_the_first_region(runtime, acme, tmp_path / "files")
    [waiting] = rows_of(runtime, acme, Copy, Copy.state == CopyState.WAITING)

    killed(runtime, Doing("copy", acme, waiting.id, at=at))

    the_copy_follows(runtime, acme, point, tmp_path / "files")


@pytest.mark.long
def test_killed_in_the_middle_of_the_copys_upload(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    fill(tmp_path / "files")
    for number in range(4):
        (tmp_path / "files" / f"{number}.bin").write_bytes(os.urandom(8 * MEGABYTE))
    point = only_in_the_first_region(runtime, acme, tmp_path / "files")
    [waiting] = rows_of(runtime, acme, Copy, Copy.state == CopyState.WAITING)
    held = vault(runtime, acme, B)
    slow = Doing("copy", acme, waiting.id, upload_kib=12 * 1024)

    killed(runtime, slow, when=lambda: held.stored() > 16 * MEGABYTE)

    assert restored(vault(runtime, acme), point, tmp_path / "a") == [digest(tmp_path / "files")]
    the_copy_follows(runtime, acme, point, tmp_path / "files")
    assert held.stored() < 34 * MEGABYTE


def only_in_the_first_region(runtime: Runtime, tenant: Tenant, folder: Path) -> Point:
    add_folder(runtime, tenant, folder)
    point = runs.make(runtime, tenant.id, queue(runtime, tenant))
    assert point is not None
    return point


def the_copy_follows(runtime: Runtime, tenant: Tenant, point: Point, folder: Path) -> None:
    [lost] = reap(runtime)
    assert copies.bring(runtime, tenant.id, lost.id) is not None
    for held in vaults(runtime, tenant):
        assert held.is_clean()
        assert len(held.snapshot_ids()) == 1
        assert restored(held, point, folder.parent / "back") == [digest(folder)]


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("backup.restic.commands:forget", "before"), marks=pytest.mark.long),
        pytest.param(("backup.restic.commands:forget", "after"), marks=pytest.mark.long),
        pytest.param(("backup.restic.commands:prune", "before"), marks=pytest.mark.long),
        pytest.param(("backup.restic.commands:prune", "after"), marks=pytest.mark.long),
        pytest.param(
            ("strongroom.storage:Store.delete_versions", "before"), marks=pytest.mark.long
        ),
        ("strongroom.storage:Store.delete_versions", "after"),
    ],
    ids=[
        "before forget",
        "after forget",
        "before prune",
        "after prune",
        "before sweep",
        "in sweep",
    ],
)
def test_killed_during_a_removal_only_what_was_to_go_goes(
    runtime: Runtime, acme: Tenant, tmp_path: Path, at: tuple[str, str]
) -> None:
    kept = one_of_two_to_go(runtime, acme, tmp_path)
    held = vault(runtime, acme)

    killed(runtime, Doing("remove", acme, held.site.row.id, at=at))

    the_removal_goes_on(runtime, acme, kept, tmp_path)


@pytest.mark.parametrize("objects", [1, pytest.param(3, marks=pytest.mark.long)])
def test_killed_in_the_middle_of_the_prune(
    runtime: Runtime, acme: Tenant, tmp_path: Path, objects: int
) -> None:
    kept = one_of_two_to_go(runtime, acme, tmp_path)
    held = vault(runtime, acme)

    def pruning() -> bool:
        gone = [each for each in held.left_over() if "/index/" in each.key or "/data/" in each.key]
        return len(gone) >= objects

    with in_front_of(runtime, A) as proxy:  # so slow that its deletes come one by one
        proxy.fault = Delay(0.15)
        killed(runtime, Doing("remove", acme, held.site.row.id), when=pruning)

    the_removal_goes_on(runtime, acme, kept, tmp_path)


def one_of_two_to_go(runtime: Runtime, tenant: Tenant, tmp_path: Path) -> Point:
    """Two points that share one file; gives the one that stays."""
    fill(tmp_path / "files", words="first")
    (tmp_path / "files" / "same.bin").write_bytes(os.urandom(MEGABYTE))
    add_folder(runtime, tenant, tmp_path / "files")
    back_up(runtime, tenant)
    fill(tmp_path / "files", words="second")
    kept = back_up(runtime, tenant)
    set_policy(runtime, tenant)
    assert removal.review(runtime, tenant.id) == 2
    return kept


def the_removal_goes_on(runtime: Runtime, tenant: Tenant, kept: Point, tmp_path: Path) -> None:
    for held in vaults(runtime, tenant):
        removal.apply(runtime, tenant.id, held.site.row.id)
    assert {row.state for row in removals(runtime, tenant)} == {RemovalState.GONE}
    for held in vaults(runtime, tenant):
        assert held.left_over() == []
        assert held.is_clean()
        assert restored(held, kept, tmp_path / "back") == [digest(tmp_path / "files")]
    fill(tmp_path / "files", words="third")
    assert back_up(runtime, tenant).number == 3
