"""kill -9 at any step of a recovery: run again it ends the same, and nothing starts in between."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.models import Point, Snapshot
from backup.states import Outcome
from strongroom import tombstones
from strongroom.ids import new_id
from tests.backup.vaults import digest, restored, vaults
from tests.cast import ACME, add_folder, add_tenant, back_up, fill, rows_of
from tests.end_to_end.losses import Company, company, given, upkeep
from tests.end_to_end.test_recovery import tenants_of
from tests.web.command_line import run

ROOT = Path(__file__).parents[2]
STEPS = [
    pytest.param("strongroom.control_restores:restore", marks=pytest.mark.long),
    pytest.param("web.recovering:_purge", marks=pytest.mark.long),
    pytest.param("strongroom.rescue:rewrap", marks=pytest.mark.long),
    "backup.adopting:_finish",
    pytest.param("backup.calming:calm", marks=pytest.mark.long),
    pytest.param("strongroom.control_restores:finish", marks=pytest.mark.long),
]
DIE = """
import importlib, os, signal, sys
name, words = sys.argv[1], sys.argv[2:]
module, _, function = name.partition(":")
there = importlib.import_module(module)
real = getattr(there, function)
def dying(*given, **more):
    real(*given, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(there, function, dying)
from web.cli import main
main(words)
"""


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Company, list[Path]]]:
    """With one point in the dump, one since, and a destroyed tenant; and the shares."""
    place = tmp_path_factory.mktemp("killed")
    with company(place / "company") as made:
        with made.platform("home") as before:
            acme = add_tenant(before, ACME)
            add_folder(before, acme, place / "files")
            back_up(before, acme)
            shares = made.ceremony(before)
            upkeep(before)
            fill(place / "files", files=5, words="since")
            back_up(before, acme)
            tombstones.bury(before, new_id(), at=before.now())
        made.lose("home")
        yield made, shares


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_a_step_it_goes_on_and_ends_the_same(
    lost: tuple[Company, list[Path]], tmp_path: Path, step: str
) -> None:
    made, shares = lost
    name = step.replace(":", "-")
    words = [*made.words(name), *given(shares[:3]), "--json"]
    killed = subprocess.run(
        [sys.executable, "-c", DIE, step, *map(str, words)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]
    refused = run("up", "--home", made.place / name, "--json")
    assert (refused.code, refused.error["code"]) == (4, "recovery-unfinished")

    said = run(*words)

    assert said.code == 0, said
    assert said.document["points_known"] == 2
    with made.platform(name) as after:
        acme = tenants_of(after)["acme"]
        points = rows_of(after, acme, Point)
        assert [(p.number, p.outcome) for p in points] == [
            (1, Outcome.COMPLETE),
            (2, Outcome.COMPLETE),
        ]
        assert len(rows_of(after, acme, Snapshot)) == 4
        files = made.place.parent / "files"
        for held in vaults(after, acme):
            assert restored(held, points[-1], tmp_path / "back") == [digest(files)]
    made.lose(name)


def test_a_home_with_a_platform_in_it_is_not_touched(lost: tuple[Company, list[Path]]) -> None:
    made, shares = lost
    with made.platform("living") as living:
        add_tenant(living, ACME)
    before = (made.place / "living" / "secrets" / "record-key").read_bytes()

    said = made.recover("living", *given(shares[:3]))

    assert (said.code, said.error["code"]) == (4, "database-not-empty")
    assert (made.place / "living" / "secrets" / "record-key").read_bytes() == before
    with made.platform("living") as living:
        assert set(tenants_of(living)) == {"acme"}
