"""Rehearsed restores on real regions: what passes is as it was, and what is not as it was fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import update

from backup.models import Finding, Healing, Point, PointSource, Rota, Snapshot
from backup.states import Level
from restore import room
from restore.rehearsed import rehearsing
from restore.states import DrillState
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import A, B, digest, in_front_of, vault
from tests.cast import FakeClock, SourceDatabase, back_up, rows_of
from tests.faults import Refuse
from tests.restore import drilling
from tests.restore.asking import faces, stored
from tests.restore.drilling import carry_out, drill, failed, left, passed, waits

New = Callable[..., SourceDatabase]


@pytest.fixture
def both(runtime: Runtime, acme: Tenant, tmp_path: Path, new_database: New) -> Point:
    """A point with a folder and a database, in both regions."""
    cast.add_folder(runtime, acme, tmp_path / "files")
    cast.add_database(runtime, acme, new_database())
    return back_up(runtime, acme)


@pytest.mark.parametrize("region", [A, B])
def test_it_passes_dates_the_copy_and_says_what_was_compared(
    runtime: Runtime, acme: Tenant, both: Point, region: str, clock: FakeClock
) -> None:
    at = clock.forward(days=3)

    row = drill(runtime, acme, both, region)

    files, orders = passed(row)
    assert files["compared"] == {"paths": 5, "files": 4, "bytes": files["bytes"]}
    assert (orders["compared"]["tables"], orders["compared"]["rows"]) == (2, 520)
    assert row.seconds is not None
    assert row.restore_seconds is not None
    assert row.seconds >= row.restore_seconds > 0
    assert all(0 < each["restore_seconds"] < each["seconds"] for each in (files, orders))
    dates = [each.verified_at for each in drilling.snapshots(vault(runtime, acme, region), both)]
    assert all(date is not None and date >= at for date in dates)
    other = B if region == A else A
    dates = [each.verified_at for each in drilling.snapshots(vault(runtime, acme, other), both)]
    assert all(date is not None and date < at for date in dates)
    [rota] = rows_of(runtime, acme, Rota, Rota.level == Level.DRILL)
    assert rota.passed_at == row.ended_at
    assert rota.due_at == row.ended_at + timedelta(days=90)


def test_it_is_carried_out_once_however_often_the_bell_rings(
    runtime: Runtime, acme: Tenant, both: Point
) -> None:
    row = drill(runtime, acme, both)
    assert carry_out(runtime, row).ended_at == row.ended_at


# What may never pass.


def cut(content: bytes) -> bytes:
    """The end of the dump is missing: rows of the last table, keys and all."""
    return content[: len(content) - len(content) // 3]


def test_a_dump_that_was_cut_fails_and_the_failure_names_the_table(
    runtime: Runtime, acme: Tenant, new_database: New
) -> None:
    cast.add_database(runtime, acme, new_database())
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    drilling.rewrite_dump(held, point, cut)
    assert held.is_clean()  # every checksum is right

    said = failed(drill(runtime, acme, point))

    assert said.startswith("dump-will-not-load: Point 1 does not come back from region-a")
    assert "table public.orders: rows, expected 500, found 0" in said


def test_a_dump_without_some_rows_fails_and_the_failure_names_the_table(
    runtime: Runtime, acme: Tenant, new_database: New
) -> None:
    """The archive is whole and loads; it is of the database with rows missing."""
    database = new_database()
    cast.add_database(runtime, acme, database)
    point = back_up(runtime, acme)
    database.run("DELETE FROM orders WHERE id > 490")
    shorter = back_up(runtime, acme)
    held = vault(runtime, acme)
    [old], [new] = drilling.snapshots(held, point), drilling.snapshots(held, shorter)
    drilling.name(held, old, new.restic_id)

    row = drill(runtime, acme, point)

    assert "orders: table public.orders: rows, expected 500, found 490" in failed(row)
    assert [each.verified_at for each in drilling.snapshots(held, point)] == [None]
    [finding] = rows_of(runtime, acme, Finding, Finding.settled_at.is_(None))
    assert (finding.code, finding.freezes, finding.point_id) == ("drill-differs", True, point.id)
    assert rows_of(runtime, acme, Healing) == []  # what is stored is whole: nothing to mend
    [rota] = rows_of(runtime, acme, Rota, Rota.level == Level.DRILL)
    assert rota.passed_at is None
    assert rota.due_at == row.ended_at + timedelta(days=1)


def test_the_same_rows_with_another_content_fail(
    runtime: Runtime, acme: Tenant, new_database: New
) -> None:
    database = new_database()
    cast.add_database(runtime, acme, database)
    point = back_up(runtime, acme)
    database.run("UPDATE customers SET name = 'x' WHERE id = 7")
    changed = back_up(runtime, acme)
    held = vault(runtime, acme)
    [old], [new] = drilling.snapshots(held, point), drilling.snapshots(held, changed)
    drilling.name(held, old, new.restic_id)

    assert "table public.customers: content" in failed(drill(runtime, acme, point))


def test_a_manifest_that_is_missing_fails(
    runtime: Runtime, acme: Tenant, new_database: New
) -> None:
    cast.add_database(runtime, acme, new_database())
    point = back_up(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(PointSource).values(manifest=None))

    assert failed(drill(runtime, acme, point)).startswith("manifest-missing")


def test_an_old_copy_of_a_folder_fails_and_the_paths_are_named(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    cast.add_folder(runtime, acme, folder)
    old = back_up(runtime, acme)
    (folder / "letters" / "0.txt").write_text("another letter")
    (folder / "letters" / "1.txt").unlink()
    (folder / "new.txt").write_text("new")
    point = back_up(runtime, acme)
    held = vault(runtime, acme, B)
    [is_], [was] = drilling.snapshots(held, point), drilling.snapshots(held, old)
    drilling.name(held, is_, was.restic_id)

    row = drill(runtime, acme, point, B)

    failed(row)
    assert row.report is not None
    told = "\n".join(row.report["sources"][0]["differences"])
    assert "/letters/0.txt: differs, expected file of 14 bytes" in told
    assert "/letters/1.txt: unexpected" in told
    assert "/new.txt: missing" in told
    assert row.report["sources"][0]["differing"] == 3
    [healthy] = drilling.snapshots(vault(runtime, acme, A), point)
    assert healthy.verified_at is not None


def older_behind_newer(runtime: Runtime, tenant: Tenant, folder: Path, *, words: str) -> Point:
    """A point whose snapshot is that of the point before, when the files had other words."""
    cast.add_folder(runtime, tenant, folder)
    old = back_up(runtime, tenant)
    cast.fill(folder, words=words)
    point = back_up(runtime, tenant)
    held = vault(runtime, tenant)
    [is_], [was] = drilling.snapshots(held, point), drilling.snapshots(held, old)
    drilling.name(held, is_, was.restic_id)
    return point


def test_a_file_of_the_same_size_from_another_moment_fails(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    point = older_behind_newer(runtime, acme, tmp_path / "files", words="LEDGER")

    failed(drill(runtime, acme, point))


@pytest.fixture
def nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """restic says that all went well, and writes nothing."""
    real = rehearsing.commands.restore

    def pretend(repository: Any, here: Any, order: Any) -> Any:
        return real(repository, here, replace(order, dry_run=True))

    monkeypatch.setattr(rehearsing.commands, "restore", pretend)


@pytest.mark.usefixtures("nothing_comes")
def test_an_empty_restore_fails(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    cast.add_folder(runtime, acme, tmp_path / "files")
    assert "missing" in failed(drill(runtime, acme, back_up(runtime, acme)))


@pytest.mark.usefixtures("nothing_comes")
def test_nothing_restored_beside_nothing_recorded_fails(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    drilling.forget_catalogue(runtime, acme)

    assert failed(drill(runtime, acme, point)).startswith("catalogue-missing")
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(Snapshot).values(files=0))  # and nothing to be expected
    assert failed(drill(runtime, acme, point)).startswith("nothing-there")


@pytest.mark.parametrize(
    "what",
    [
        "flip",
        "pack gone",
        pytest.param("snapshot gone", marks=pytest.mark.long),
        pytest.param("all gone", marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_read_fails_asks_for_healing_and_takes_all_dates_away(
    runtime: Runtime, acme: Tenant, tmp_path: Path, what: str
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "files")
    earlier = back_up(runtime, acme)
    cast.fill(tmp_path / "files", words="later")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    drilling.harm(held, what)

    failed(drill(runtime, acme, point))

    dates = [each.verified_at for p in (earlier, point) for each in drilling.snapshots(held, p)]
    assert dates == [None, None]
    assert [each.repository_id for each in rows_of(runtime, acme, Healing)] == [held.site.row.id]
    assert rows_of(runtime, acme, Finding, Finding.code == "drill-differs") == []


def test_a_stumble_is_no_damage(
    runtime: Runtime, acme: Tenant, both: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = rehearsing.commands.restore, list[int]()

    def once(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise rehearsing.commands.errors.failed("restore", 1, "connection reset by peer")
        return real(*given, **more)

    monkeypatch.setattr(rehearsing.commands, "restore", once)
    passed(drill(runtime, acme, both))
    assert len(calls) == 2


# What says nothing about the backup.


def test_a_region_that_is_away_is_waited_for(runtime: Runtime, acme: Tenant, both: Point) -> None:
    with in_front_of(runtime, A) as proxy:
        proxy.fault = Refuse()
        row = drill(runtime, acme, both)

    assert waits(row) == "region-away"
    assert rows_of(runtime, acme, Healing) == []
    assert None not in [s.verified_at for s in drilling.snapshots(vault(runtime, acme), both)]
    passed(carry_out(runtime, row))


def test_a_disk_without_room_is_waited_for_and_said(
    runtime: Runtime, acme: Tenant, both: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SPARE", 1 << 60)
    row = drill(runtime, acme, both)
    assert waits(row) == "no-room"
    assert row.failure is not None
    assert "Make room" in row.failure["message"]
    monkeypatch.undo()
    passed(carry_out(runtime, row))


def test_a_repository_that_was_written_to_meanwhile_gives_no_verdict(
    runtime: Runtime, acme: Tenant, both: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruned_under_it(*_: Any, **__: Any) -> Any:
        drilling.take_and_give_back(runtime, acme)
        raise rehearsing.commands.errors.failed("restore", 1, "pack is not there")

    monkeypatch.setattr(rehearsing.commands, "restore", pruned_under_it)
    assert waits(drill(runtime, acme, both)) == "repository-busy"
    assert rows_of(runtime, acme, Healing) == []


def test_a_lease_that_is_lost_leaves_nothing_and_says_nothing(
    runtime: Runtime, acme: Tenant, both: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = drilling.ask(runtime, acme, both)
    real = rehearsing.scratch.load

    def lost(*given: Any, **more: Any) -> Any:
        more["stop"].set()
        drilling.overtake(runtime, row)
        return real(*given, **more)

    monkeypatch.setattr(rehearsing.scratch, "load", lost)
    monkeypatch.setattr("restore.fetching.scratch.load", lost)
    ended = carry_out(runtime, row)
    assert ended.state is DrillState.RUNNING
    assert ended.report is None
    assert left(runtime) == []


def test_a_point_that_went_meanwhile_is_replaced_by_the_newest(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "files")
    old = back_up(runtime, acme)
    row = drilling.ask(runtime, acme, old)
    cast.fill(tmp_path / "files", words="later")
    new = back_up(runtime, acme)
    drilling.remove_copy(runtime, old)

    ended = carry_out(runtime, row)

    passed(ended)
    assert ended.point_id == new.id


@pytest.mark.long
def test_what_an_older_point_showed_is_settled_by_a_newer_one(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    failed(drill(runtime, acme, older_behind_newer(runtime, acme, folder, words="later")))
    cast.fill(folder, words="mended")

    passed(drill(runtime, acme, back_up(runtime, acme)))

    still = rows_of(runtime, acme, Finding, Finding.settled_at.is_(None))
    assert "drill-differs" not in {each.code for each in still}


# What it may never touch.


def test_it_opens_no_connection_to_the_source_and_writes_nothing_elsewhere(
    runtime: Runtime,
    acme: Tenant,
    tmp_path: Path,
    new_database: New,
    superuser: psycopg.Connection[Any],
) -> None:
    folder, database = tmp_path / "files", new_database()
    cast.add_folder(runtime, acme, folder)
    cast.add_database(runtime, acme, database)
    point = stored(runtime, acme)
    before, outside = faces(folder), digest_but(tmp_path, "work")
    superuser.execute("SELECT pg_stat_force_next_flush()")
    sessions = sessions_of(superuser, database)

    passed(drill(runtime, acme, point))

    assert sessions_of(superuser, database) == sessions
    assert faces(folder) == before
    assert digest_but(tmp_path, "work") == outside


def test_it_does_not_need_the_source_at_all(
    runtime: Runtime, acme: Tenant, tmp_path: Path, new_database: New
) -> None:
    folder, database = tmp_path / "files", new_database()
    cast.add_folder(runtime, acme, folder)
    cast.add_database(runtime, acme, database)
    point = stored(runtime, acme)
    folder.rename(tmp_path / "gone")
    database.run("DROP TABLE orders, customers")

    passed(drill(runtime, acme, point))

    assert not folder.exists()
    assert database.rows("SELECT count(*) FROM pg_class WHERE relname = 'orders'") == [(0,)]


def sessions_of(server: psycopg.Connection[Any], database: SourceDatabase) -> Any:
    """How many connections its server has ever seen for it, and what was done there."""
    query = "SELECT sessions, xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
    return server.execute(query, (database.name,)).fetchone()


def digest_but(folder: Path, name: str) -> list[str]:
    return [digest(each) for each in sorted(folder.iterdir()) if each.name != name]
