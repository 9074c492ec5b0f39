"""`strongroom drill` and `verify --level drill`: what they say, and with which exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import A, B, in_front_of, vault
from tests.faults import Refuse
from tests.restore import drilling
from tests.web.command_line import Desk, sit_down


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


@pytest.fixture
def folder(acme: Tenant, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Backed up once."""
    made = tmp_path_factory.mktemp("srv") / "files"
    cast.add_folder(runtime, acme, made)
    cast.back_up(runtime, acme)
    return made


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "words", [("drill", "acme", "--wait"), ("verify", "acme", "--level=drill")]
)
def test_all_regions_are_rehearsed_and_points_tell_the_date(
    desk: Desk, words: tuple[str, ...]
) -> None:
    with desk.working():
        said = desk(*words, "--json")

    assert said.code == 0, said
    assert [(each["region"], each["state"]) for each in said.document] == [
        (A, "passed"),
        (B, "passed"),
    ]
    assert all(each["seconds"] >= each["restore_seconds"] for each in said.document)
    assert "region-a: running" in said.err or "region-a: passed" in said.err
    [point] = desk.json("points", "acme")
    assert all(copy["restored_at"] is not None for copy in point["copies"])
    assert said.document[0]["ended_at"][:10] in desk("points", "acme").out


def test_what_differs_is_said_path_by_path_and_exit_is_1(
    desk: Desk, runtime: Runtime, acme: Tenant, folder: Path
) -> None:
    (folder / "letters" / "0.txt").write_text("another")
    point = cast.back_up(runtime, acme)
    held = vault(runtime, acme, B)
    [now] = drilling.snapshots(held, point)
    [old] = [each for each in held.rows() if each.id != now.id]
    drilling.name(held, now, old.restic_id)

    with desk.working():
        said = desk("drill", "acme", "--region", B, "--wait")

    assert said.code == 1
    assert "/letters/0.txt: differs, expected file of 7 bytes" in " ".join(said.out.split())
    assert desk("status").code == 3


@pytest.mark.usefixtures("folder")
def test_what_could_not_be_done_now_is_exit_3(desk: Desk, runtime: Runtime) -> None:
    with in_front_of(runtime, A) as proxy, desk.working():
        proxy.fault = Refuse()
        said = desk("drill", "acme", "--region", A, "--wait", "--json")

    assert said.code == 3
    assert said.document[0]["failure"]["code"] == "region-away"


@pytest.mark.usefixtures("folder")
def test_without_wait_it_is_queued_and_an_unknown_region_is_refused(desk: Desk) -> None:
    [row] = desk.json("drill", "acme", "--region", A)
    assert row["state"] == "waiting"
    assert desk.refused("drill", "acme", "--region", "nowhere") == (2, "no-copy")
