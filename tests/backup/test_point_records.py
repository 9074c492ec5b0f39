"""What a point's record says, who can read it, and when it goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backup import point_records, tasks
from backup.models import Point
from backup.point_records import PointRecordClosed
from strongroom.runtime import Runtime
from tenants import records
from tenants.models import Tenant
from tests.backup.vaults import A, B, set_policy, vault, vaults
from tests.cast import FakeClock, SourceDatabase, add_database, add_folder, back_up, fill, rows_of


def test_each_region_has_it_with_the_manifest_and_nothing_in_the_clear(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    add_database(runtime, acme, new_database())
    point = back_up(runtime, acme)
    for held in vaults(runtime, acme):
        [part] = point_records.read(held.site, point.id)["parts"]
        assert part["manifest"]["tables"]
        data = held.store.get(point_records.key_of(acme.id, point.id))
        assert b"customers" not in data


def test_moved_or_changed_it_does_not_open(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    one = back_up(runtime, acme)
    fill(tmp_path / "files", files=5)
    two = back_up(runtime, acme)
    held = vault(runtime, acme)
    good = held.store.get(point_records.key_of(acme.id, one.id))
    for bad in (good[:-1], good[:5], held.store.get(point_records.key_of(acme.id, two.id))):
        held.store.put(point_records.key_of(acme.id, one.id), bad)
        with pytest.raises(PointRecordClosed):
            point_records.read(held.site, one.id)


@pytest.mark.long
def test_it_goes_with_its_copy_versions_and_all(
    runtime: Runtime, acme: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme)
    first = back_up(runtime, acme)
    for number in range(2):
        fill(tmp_path / "files", files=4 + number)
        last = back_up(runtime, acme)
    tasks.review(runtime, acme.id)
    records.refresh(runtime, acme.id)
    assert len(rows_of(runtime, acme, Point)) == 3
    for region in (A, B):
        held = vault(runtime, acme, region)
        assert list(held.store.versions(point_records.key_of(acme.id, first.id))) == []
        assert last.id in point_records.listed(held.site)
