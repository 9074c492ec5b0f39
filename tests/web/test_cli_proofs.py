"""`verify` and `points` by command: what was found, in words and in JSON, with its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backup.models import Finding
from backup.states import Level
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.backup.proving import harm
from tests.backup.vaults import B, vault
from tests.cast import SourceDatabase, add_database, add_folder, back_up, rows_of
from tests.web.command_line import Desk, sit_down


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


def test_verify_reads_everything_and_says_what_it_found(
    desk: Desk, acme: Tenant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Damage done right after the backup's own proof: what was read lately is read again."""
    add_folder(desk.runtime, acme, tmp_path_factory.mktemp("srv") / "files")
    back_up(desk.runtime, acme)
    held = vault(desk.runtime, acme, B)
    harm(held, "flip a byte of data")
    with desk.working():
        good = desk("verify", "acme", "--region", "region-a")
        bad = desk("verify", "acme", "--json")
        shallow = desk("verify", "acme", "--level", "structure", "--region", "region-a")

    assert (good.code, bad.code, shallow.code) == (0, 1, 0)
    assert "packs read, all whole" in good.out
    found = {each["region"]: each for each in bad.document}
    assert [found[name]["state"] for name in ("region-a", "region-b")] == ["passed", "failed"]
    assert len(found["region-b"]["found"]["damaged"]) == 1
    assert found["region-b"]["found"]["packs_read"] == len(held.packs())
    assert {each["level"] for each in bad.document} == {str(Level.DATA)}


def test_verify_of_a_region_that_has_no_copy_is_refused(
    desk: Desk, acme: Tenant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    add_folder(desk.runtime, acme, tmp_path_factory.mktemp("srv") / "files")
    back_up(desk.runtime, acme)

    assert desk.refused("verify", "acme", "--region", "region-z") == (2, "no-copy")
    assert desk.refused("verify", "acme", "--point", "7") == (2, "unknown-point")


def test_a_point_that_looks_wrong_is_marked_until_somebody_accepts_it(
    desk: Desk, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    source = new_database()
    add_database(desk.runtime, acme, source)
    back_up(desk.runtime, acme)
    source.run("TRUNCATE orders")
    back_up(desk.runtime, acme)

    marks = {each["number"]: each["marked"] for each in desk.json("points", "acme")}
    assert marks == {1: [], 2: ["anomaly-table-empty"]}
    assert "anomaly-table-empty" in desk("points", "acme").out
    assert desk("status").code == 3

    [seen] = rows_of(desk.runtime, acme, Finding)
    desk.json("finding", "accept", str(seen.id), "--note", "the orders were archived")
    assert [each["marked"] for each in desk.json("points", "acme")] == [[], []]
