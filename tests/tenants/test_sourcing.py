"""What a tenant may name: what an operator added, and nothing of another tenant."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backup import places
from backup.models import AllowedPlace, PointSource, Source
from backup.states import Outcome
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound, Refused
from strongroom.runtime import Runtime
from tenants import sourcing
from tenants.models import Tenant
from tenants.sourcing import NewSource
from tests import cast
from tests.cast import ADA, SourceDatabase, rows_of


def test_what_an_operator_adds_is_on_the_allow_list(
    runtime: Runtime, acme: Tenant, tmp_path: Path, new_database: Callable[..., SourceDatabase]
) -> None:
    database = new_database()
    cast.add_folder(runtime, acme, tmp_path / "srv")
    cast.add_database(runtime, acme, database)

    listed = {row.value for row in rows_of(runtime, acme, AllowedPlace)}
    assert str(tmp_path / "srv") in listed
    assert any(value.startswith("127.0.0.1") for value in listed)


def test_a_folder_that_became_a_link_elsewhere_is_not_read(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, bolt, tmp_path / "bolt")
    cast.add_folder(runtime, acme, tmp_path / "acme")
    shutil.rmtree(tmp_path / "acme")
    (tmp_path / "acme").symlink_to(tmp_path / "bolt")

    with pytest.raises(Refused, match="moved or replaced by a link"):
        sourcing.check(runtime, acme, "files")
    cast.carry_out(runtime, acme, cast.queue(runtime, acme))
    [part] = rows_of(runtime, acme, PointSource)
    assert (part.outcome, part.failure["code"]) == (Outcome.FAILED, "folder-not-allowed")


def test_a_folder_that_came_to_hold_the_platforms_own_is_not_read(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "srv")
    for own in ({"keys": tmp_path / "srv" / "keys"}, {"work": tmp_path / "srv" / "work"}):
        moved = replace(runtime, settings=replace(runtime.settings, **own))

        with pytest.raises(Refused, match="overlaps with the platform's own"):
            sourcing.check(moved, acme, "files")


def test_neither_keys_nor_work_may_be_added_where_there_is_no_home(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    for folder in (runtime.settings.keys, runtime.settings.work, tmp_path):
        folder.mkdir(exist_ok=True)
        with pytest.raises(Refused, match="overlaps with the platform's own"):
            cast.add_folder(runtime, acme, folder)


def test_two_tenants_may_not_share_a_folder_in_either_direction(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "srv" / "acme")

    for folder in (tmp_path / "srv", tmp_path / "srv" / "acme" / "letters"):
        with pytest.raises(Refused, match="another tenant"):
            cast.add_folder(runtime, bolt, folder)
    cast.fill(tmp_path / "srv" / "acme-old")
    cast.add_folder(runtime, bolt, tmp_path / "srv" / "acme-old")


def test_a_folder_of_a_removed_source_is_still_nobody_elses(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "srv")
    sourcing.remove(runtime, acme, "files", by=ADA)

    with pytest.raises(Refused, match="another tenant"):
        cast.add_folder(runtime, bolt, tmp_path / "srv")


def test_a_removed_source_is_backed_up_no_more_and_its_name_stays_taken(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "srv")
    sourcing.remove(runtime, acme, "files", by=ADA)

    with pytest.raises(NotFound, match="Sources: none"):
        sourcing.check(runtime, acme, "files")
    with pytest.raises(BadValue, match="has, or had"):
        cast.add_folder(runtime, acme, tmp_path / "srv")


def test_another_tenants_source_is_not_found(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, bolt, tmp_path / "srv")

    with pytest.raises(NotFound, match="Sources: none"):
        sourcing.check(runtime, acme, "files")


def test_a_password_rests_sealed_and_is_bound_to_its_source(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    database = new_database()
    row = cast.add_database(runtime, acme, database)

    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        _, access = places.reach(runtime, session, session.get_one(Source, row.id))
    assert access.password == database.password.encode()
    assert database.password not in str(row.options)


@pytest.mark.parametrize("name", ["", "Erp", "a/b", "-a", "a" * 64, "a b", "فاتورة", "a\n"])
def test_a_name_that_makes_no_sense_is_refused(
    runtime: Runtime, acme: Tenant, tmp_path: Path, name: str
) -> None:
    new = NewSource("directory", name, {"path": str(tmp_path)})

    with pytest.raises(BadValue, match="is no name of a source"):
        sourcing.add(runtime, acme, new, by=ADA)
