"""What is in each point can be browsed, and a path that does not change costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import update

from backup import contents, runs
from backup.catalogue import CatalogueVersion
from backup.models import Point, PointSource, Snapshot, Source
from restore.browsing import folders
from restore.browsing.folders import Item, View
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import set_policy
from tests.cast import (
    SourceDatabase,
    add_database,
    add_folder,
    back_up,
    carry_out,
    fill,
    queue,
    rows_of,
)


def listed(runtime: Runtime, source: Source, point: Point, folder: str) -> dict[str, Item]:
    with runtime.database.session(Role.WORKER, tenant=source.tenant_id) as session:
        found = folders.browse(session, source.id, point.number, folder, View())
        return {item.path: item for item in found.items}


def test_a_points_folders_can_be_browsed(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")

    point = back_up(runtime, acme)

    assert listed(runtime, source, point, "/").keys() == {"/letters", "/فاتورة.txt"}
    found = listed(runtime, source, point, "/letters")["/letters/0.txt"]
    assert found.kind == "file"
    assert found.size == (tmp_path / "files/letters/0.txt").stat().st_size


def test_paths_that_do_not_change_add_no_rows(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    before = len(rows_of(runtime, acme, CatalogueVersion))
    back_up(runtime, acme)
    (tmp_path / "files" / "new.txt").write_text("new")

    back_up(runtime, acme)

    assert len(rows_of(runtime, acme, CatalogueVersion)) == before + 1
    changes = [part.changes for part in rows_of(runtime, acme, PointSource)]
    assert changes[1:] == [
        {"added": 0, "removed": 0, "changed": 0},
        {"added": 1, "removed": 0, "changed": 0},
    ]


def test_a_path_that_is_deleted_is_in_the_earlier_point_only(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    first = back_up(runtime, acme)
    (tmp_path / "files/letters/0.txt").unlink()

    second = back_up(runtime, acme)

    assert "/letters/0.txt" in listed(runtime, source, first, "/letters")
    assert "/letters/0.txt" not in listed(runtime, source, second, "/letters")


def test_a_table_is_listed_with_its_rows(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    database = new_database()
    source = add_database(runtime, acme, database)
    first = back_up(runtime, acme)
    database.run("DELETE FROM orders WHERE id > 100")

    second = back_up(runtime, acme)

    sizes = [
        listed(runtime, source, point, "/public")["/public/orders"].size
        for point in (first, second)
    ]
    assert sizes == [500, 100]
    assert listed(runtime, source, second, "/")["/public"].kind == "dir"
    assert rows_of(runtime, acme, PointSource)[1].changes == {
        "added": 0,
        "removed": 0,
        "changed": 1,
    }


def test_a_point_that_went_before_it_was_listed_holds_no_later_one_back(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    first = back_up(runtime, acme)
    fill(tmp_path / "files", words="second")
    back_up(runtime, acme)
    never_listed(runtime, acme, first)
    set_policy(runtime, acme)
    fill(tmp_path / "files", words="third")
    runs.make(runtime, acme.id, queue(runtime, acme))  # stored; not yet listed

    (tmp_path / "files" / "new.txt").write_text("new")
    last = carry_out(runtime, acme, queue(runtime, acme))
    contents.record(runtime, acme.id)

    assert last is not None
    assert "/new.txt" in listed(runtime, source, last, "/")


def never_listed(runtime: Runtime, tenant: Tenant, point: Point) -> None:
    """Its data are gone, and nobody ever wrote down what was in it."""
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        [part] = session.query(PointSource).filter_by(point_id=point.id)
        session.execute(
            update(Snapshot)
            .where((Snapshot.id == part.snapshot_id) | (Snapshot.origin_id == part.snapshot_id))
            .values(forgotten_at=runtime.now())
        )
        part.catalogued_at = None
