"""The home: whose it is, whether a stack runs in it, and what stands in the way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.stack import files, home, processes
from tests.platform import stack_cast


def test_a_new_home_is_private(tmp_path: Path) -> None:
    made = home.prepare(tmp_path / "deep" / "home")

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700


def test_a_home_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o755)

    made = home.prepare(tmp_path / "home")

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o755


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = home.prepare(tmp_path)

    assert made.secret("valkey") == home.prepare(tmp_path).secret("valkey")
    assert len(made.secret("valkey")) == 48
    assert stat.S_IMODE((tmp_path / "secrets" / "valkey").stat().st_mode) == 0o600


def test_a_second_up_is_told_the_number_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LOCK_PATIENCE", 0.1)
    made = home.prepare(tmp_path)

    with (
        made.locked(),
        pytest.raises(home.HomeBusy, match=f"process {os.getpid()} already"),
        home.prepare(tmp_path).locked(),
    ):
        pass


def test_the_lock_is_free_again_after_use(tmp_path: Path) -> None:
    made = home.prepare(tmp_path)

    for _ in range(2):
        with made.locked():
            pass


def test_a_file_in_place_of_the_home_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")

    for path in (tmp_path / "home", tmp_path / "home" / "below"):
        with pytest.raises(home.HomeNotAFolder, match="not a folder"):
            home.prepare(path)
    with pytest.raises(home.HomeNotAFolder, match="not a folder"):
        home.find_stack(tmp_path / "home")


def test_a_nearly_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(files.DiskFull, match="disk is full"):
        home.prepare(tmp_path / "home", least_free=2**62)


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where we may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_file_that_finds_no_room_is_not_there_in_part(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        files.write(disk / "stack.json", b"before")

        with pytest.raises(files.DiskFull, match="Make room"):
            files.write(disk / "stack.json", bytes(200_000))

        assert (disk / "stack.json").read_bytes() == b"before"
        assert [path.name for path in disk.iterdir()] == ["stack.json"]


def test_a_running_stack_is_found(tmp_path: Path) -> None:
    made = home.prepare(tmp_path)

    made.publish({"broker": "redis://"})

    assert home.find_stack(tmp_path)["broker"] == "redis://"
    assert stat.S_IMODE(made.stack.stat().st_mode) == 0o600


def test_a_stack_whose_process_is_gone_is_not_running(tmp_path: Path) -> None:
    made = home.prepare(tmp_path)
    made.publish({})
    left = json.loads(made.stack.read_text())
    left["process"]["started"] -= 1  # the number lives on, as another process
    made.stack.write_text(json.dumps(left))

    with pytest.raises(home.NotRunning, match="strongroom up"):
        home.find_stack(tmp_path)


def test_a_withdrawn_stack_is_not_running(tmp_path: Path) -> None:
    made = home.prepare(tmp_path)
    made.publish({})

    made.withdraw()

    with pytest.raises(home.NotRunning, match="none is running"):
        home.find_stack(tmp_path)


def test_a_home_that_never_was_is_told_from_one_at_rest(tmp_path: Path) -> None:
    with pytest.raises(home.HomeMissing, match="no such folder"):
        home.find_stack(tmp_path / "nowhere")


@pytest.mark.parametrize("use", [home.prepare, home.find_stack])
def test_a_home_of_somebody_else_is_said_to_be(use: Callable[[Path], object]) -> None:
    with stack_cast.new_home() as path:
        home.prepare(path)

        with (
            stack_cast.acting_as_nobody(),
            pytest.raises(home.HomeUnreadable, match=r"keep this account \(uid 65534\) out"),
        ):
            use(path)


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    me = processes.myself()

    assert processes.is_alive(me)
    assert not processes.is_alive(processes.Identity(me.pid, me.started + 1))
