"""A worker that was stopped past its lease and woken commits nothing and damages nothing."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from backup import mending, removal
from backup.models import Point, Repository, Snapshot
from backup.states import HealingState, RemovalState, RunState
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup import harming
from tests.backup.vaults import Vault, digest, removals, restored, set_policy, vault, vaults
from tests.cast import add_folder, back_up, carry_out, fill, queue, rows_of, run_of
from tests.workers import Doing, reap, until, working

LEASE = 8.0  # seconds; a worker that gets no processor for so long has lost it, and rightly


def test_a_woken_worker_cannot_record_what_another_has_made_meanwhile(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)
    doing = Doing("run", acme, run_id, at=("backup.runs:_record", "before"), lease=LEASE)
    with working(runtime, doing) as worker:
        worker.hear("reached")
        worker.stop()
        assert until(lambda: [row.id for row in reap(runtime)] == [run_id])
        held = vault(runtime, acme)
        assert until(lambda: lease_is_over(held))  # the stopped worker's, on the repository
        made: list[Point | None] = []
        assert until(lambda: made.append(carry_out(runtime, acme, run_id)) or made[-1] is not None)
        worker.wake()
        worker.go_on()
        worker.hear("nothing")

    point = made[-1]
    assert point is not None
    assert len(rows_of(runtime, acme, Point)) == 1
    assert len(rows_of(runtime, acme, Snapshot)) == 2  # one a region
    assert run_of(runtime, acme, run_id).state is RunState.STORED
    for each in vaults(runtime, acme):
        assert len(each.snapshot_ids()) == 1
        assert each.is_clean()
        assert restored(each, point, tmp_path / "back") == [digest(tmp_path / "files")]


def test_a_run_that_nobody_took_over_is_not_failed_by_the_worker_that_wakes(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)
    doing = Doing("run", acme, run_id, at=("backup.making:make", "before"), lease=LEASE)
    with working(runtime, doing) as worker:
        worker.hear("reached")
        worker.stop()
        assert until(lambda: bool(reap(runtime)))
        worker.wake()
        worker.go_on()
        worker.hear("nothing")

    assert run_of(runtime, acme, run_id).state is RunState.QUEUED
    assert carry_out(runtime, acme, run_id) is not None


@pytest.mark.long
def test_a_host_stopped_before_its_prune_is_waited_for_and_prunes_nothing_when_it_wakes(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="second")
    kept = back_up(runtime, acme)
    set_policy(runtime, acme)
    removal.review(runtime, acme.id)
    held = vault(runtime, acme)
    place = ("backup.restic.commands:prune", "before")
    with working(runtime, Doing("remove", acme, held.site.row.id, at=place, lease=LEASE)) as worker:
        worker.hear("reached")
        worker.stop()
        assert until(lambda: lease_is_over(held))
        it_is_not_taken_over(held)
        credentials_end(held)
        assert removal.apply(runtime, acme.id, held.site.row.id) == 1
        worker.wake()
        worker.go_on()
        worker.hear("done")

    assert held.left_over() == []
    assert held.is_clean()
    assert restored(held, kept, tmp_path / "back") == [digest(tmp_path / "files")]
    fill(tmp_path / "files", words="third")
    assert back_up(runtime, acme).number == 3


def lease_is_over(held: Vault) -> bool:
    row = held.row
    return row.lease_until is not None and row.lease_until < datetime.now(UTC)


def it_is_not_taken_over(held: Vault) -> None:
    """Its rights to delete live on: for 15 minutes from when it got them."""
    tenant = held.site.row.tenant_id
    before = held.row
    assert before.credentials_until is not None
    assert before.credentials_until > datetime.now(UTC) + timedelta(minutes=10)
    assert removal.apply(held.runtime, tenant, held.site.row.id) == 0
    assert held.row.fence == before.fence
    assert held.row.owner == before.owner


def credentials_end(held: Vault) -> None:
    """As after those 15 minutes; the real ones go on, which makes it harder."""
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        session.execute(
            update(Repository)
            .where(Repository.id == held.site.row.id)
            .values(credentials_until=datetime.now(UTC) - timedelta(seconds=1))
        )


def test_the_removals_of_a_stopped_host_say_that_they_wait(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="second")
    back_up(runtime, acme)
    set_policy(runtime, acme)
    removal.review(runtime, acme.id)
    held = vault(runtime, acme)
    place = ("backup.restic.commands:forget", "before")
    with working(runtime, Doing("remove", acme, held.site.row.id, at=place, lease=LEASE)) as worker:
        worker.hear("reached")
        worker.stop()
        removal.apply(runtime, acme.id, held.site.row.id)

    waiting = [row for row in removals(runtime, acme) if row.repository_id == held.site.row.id]
    assert {(row.state, (row.blocked or {})["code"]) for row in waiting} == {
        (RemovalState.PLANNED, "repository-busy")
    }


def test_a_host_stopped_in_mid_prune_removes_nothing_that_its_successor_needs(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """Pruned, but not swept: the successor ends it, and stores what the woken one would sweep."""
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    was = digest(tmp_path / "files")
    fill(tmp_path / "files", words="second")
    back_up(runtime, acme)
    set_policy(runtime, acme)
    removal.review(runtime, acme.id)
    held = vault(runtime, acme)
    place = ("backup.acts:sweep", "before")
    with working(runtime, Doing("remove", acme, held.site.row.id, at=place, lease=LEASE)) as worker:
        worker.hear("reached")
        worker.stop()
        assert until(lambda: lease_is_over(held))
        credentials_end(held)
        assert removal.apply(runtime, acme.id, held.site.row.id) == 1
        shutil.rmtree(tmp_path / "files")
        fill(tmp_path / "files")  # as at first: its packs are stored again
        third = back_up(runtime, acme)
        worker.wake()
        worker.go_on()
        worker.hear("done")

    assert held.is_clean()
    assert restored(held, third, tmp_path / "back") == [was]


@pytest.mark.long
def test_a_host_stopped_in_mid_heal_damages_nothing_when_it_wakes(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    harming.in_data(held, rot=True)
    row = harming.want(held, damaged=harming.damaged_packs(held))
    place = ("backup.restic.repairs:repair_packs", "before")
    with working(runtime, Doing("heal", acme, row.id, at=place, lease=LEASE)) as worker:
        worker.hear("reached")
        worker.stop()
        assert until(lambda: lease_is_over(held))
        assert until(lambda: [each.id for each in reap(runtime)] == [row.id])
        assert mending.heal(runtime, acme.id, row.id) is None  # its rights to delete live on
        credentials_end(held)
        assert mending.heal(runtime, acme.id, row.id) is not None
        worker.wake()
        worker.go_on()
        worker.hear("nothing")

    assert harming.last(held).state is HealingState.HEALED
    harming.is_as_it_was(held, acme)
    assert restored(held, point, tmp_path / "back") == [digest(tmp_path / "files")]
