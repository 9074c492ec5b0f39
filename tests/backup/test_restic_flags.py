"""Golden flags: what restic is asked for, word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.restic import flags
from backup.restic.calls import Repository
from backup.restic.flags import CheckExtent, FolderBackup, PruneBounds, RestoreOrder, Stream
from strongroom.errors import BadValue

ID = "ab" * 32
TMP = Path("/srv/files")


def test_a_folder_backup_that_nobody_watches() -> None:
    wanted = FolderBackup(folder=TMP, host="s1", tags=("run:7",))
    assert flags.backup_folder(wanted, exclude_file=None, watched=False) == [
        *["backup", "--json", "--host=s1", "--tag=run:7", "--group-by=host"],
        *["--skip-if-unchanged", "--no-scan", "--quiet", "--", "."],
    ]


def test_a_folder_backup_with_every_option() -> None:
    wanted = FolderBackup(
        folder=TMP,
        host="s1",
        tags=("run:7", "weekly"),
        excludes=("*.tmp", "#odd"),
        force=True,
        skip_if_unchanged=False,
        staged=True,
        one_file_system=True,
    )
    assert flags.backup_folder(wanted, exclude_file=Path("/x"), watched=True) == [
        *["backup", "--json", "--host=s1", "--tag=run:7", "--tag=weekly", "--group-by=host"],
        *["--force", "--ignore-inode", "--ignore-ctime", "--one-file-system"],
        *["--exclude-file=/x", "--exclude=#odd", "--", "."],
    ]


def test_a_stream() -> None:
    wanted = Stream(filename="--erp.dump", host="s1", tags=("run:7",))
    assert flags.backup_stream(wanted, stream=11, ended=12, verdict=13) == [
        *["backup", "--json", "--host=s1", "--tag=run:7", "--group-by=host"],
        *["--stdin-filename=--erp.dump", "--stdin-from-command", "--"],
        *["/bin/sh", "-c", flags.GATE, "gate", "11", "12", "13"],
    ]


def test_copy_forget_and_prune() -> None:
    assert flags.copy([ID]) == ["copy", "--no-lock", "--", ID]
    assert flags.forget([ID]) == ["forget", "--json", "--", ID]
    assert flags.prune(PruneBounds()) == ["prune", "--max-unused=10%"]
    assert flags.prune(PruneBounds(max_unused="unlimited", max_repack="2G")) == [
        *["prune", "--max-unused=unlimited", "--max-repack-size=2G"]
    ]


def test_checks() -> None:
    plain = ["check", "--json", "--no-lock"]
    assert flags.check(CheckExtent()) == plain
    assert flags.check(CheckExtent(part=(3, 28))) == [*plain, "--read-data-subset=3/28"]
    assert flags.check(CheckExtent(everything=True)) == [*plain, "--read-data"]


def test_a_restore_of_chosen_paths() -> None:
    order = RestoreOrder(
        snapshot=ID,
        target=TMP,
        subfolder="/sub",
        include=("a[1].txt", "two\nlines"),
        overwrite=flags.Overwrite.IF_CHANGED,
        delete=True,
        dry_run=True,
    )
    assert flags.restore(order, include_file=Path("/x"), watched=False) == [
        *["restore", "--json", "--no-lock", "--target=/srv/files", "--overwrite=if-changed"],
        *["--delete", "--dry-run", "--include-file=/x", "--include=/two\nlines", "--quiet"],
        *["--", f"{ID}:/sub"],
    ]


def test_paths_are_quoted_so_that_they_match_themselves_only() -> None:
    order = RestoreOrder(snapshot=ID, target=TMP, include=("a*b", "c?", "[d]", "e\\f", "/g/"))
    assert flags.includes(order) == [r"/a\*b", r"/c\?", r"/\[d\]", r"/e\\f", "/g"]


def test_an_exclude_that_begins_with_a_slash_begins_at_the_folder() -> None:
    wanted = FolderBackup(folder=Path("/srv/a[1]"), host="s", excludes=("/cache", "!/b", "*.log"))
    assert flags.excludes(wanted) == [r"/srv/a\[1\]/cache", r"!/srv/a\[1\]/b", "*.log"]


def test_a_pattern_file_doubles_dollars_and_leaves_out_what_it_cannot_hold() -> None:
    assert flags.pattern_file(["$HOME", "# no", " no", "n\no", "yes"]) == "$$HOME\nyes\n"


@pytest.mark.parametrize("name", ["latest", "abcd1234", "--all", ID + "0", ID.upper()])
def test_only_full_ids_name_a_snapshot(name: str) -> None:
    with pytest.raises(BadValue):
        flags.forget([name])


@pytest.mark.parametrize("tag", ["a,b", "", "a b", "a\nb"])
def test_a_tag_is_one_plain_word(tag: str) -> None:
    with pytest.raises(BadValue):
        flags.backup_stream(Stream("f", "h", (tag,)), stream=3, ended=4, verdict=5)


@pytest.mark.parametrize(
    "address", ["sftp:host:/x", "rclone:remote:x", "rest:http://x/", "x", "--repo", "s3:x/y"]
)
def test_an_address_that_could_start_a_program_is_refused(address: str) -> None:
    with pytest.raises(BadValue):
        Repository(address=address, password=b"p")


@pytest.mark.parametrize("part", [(0, 5), (6, 5), (1, 257)])
def test_a_part_of_a_check_is_within_its_whole(part: tuple[int, int]) -> None:
    with pytest.raises(BadValue):
        CheckExtent(part=part)
