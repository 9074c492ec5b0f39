"""A folder that was opened name by name is that folder, whatever its path leads to afterwards."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from backup.restic import commands
from backup.restic.flags import FolderBackup
from backup.restic.outputs import Entry
from backup.sources import walk
from strongroom import closed_view
from tests.backup.restic_stage import Stage, stage
from tests.platform.stack_cast import until


@pytest.fixture
def ready(tmp_path: Path) -> Stage:
    return stage(tmp_path)


def test_no_link_on_the_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "file").touch()
    with walk.opened(tmp_path / "real" / "below") as descriptor:
        assert walk.by_descriptor(descriptor).readlink() == tmp_path / "real" / "below"
    for way in ("link", "link/below", "real/file"):
        with pytest.raises(NotADirectoryError):
            walk.open_folder(tmp_path / way)
    with pytest.raises(FileNotFoundError):
        walk.open_folder(tmp_path / "none")


def test_what_is_missing_is_made_closed_to_others_and_not_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    with walk.opened(tmp_path / "a" / "b", make=True):
        assert [(tmp_path / each).stat().st_mode & 0o777 for each in ("a", "a/b")] == [0o700] * 2
    with pytest.raises(NotADirectoryError):
        walk.open_folder(tmp_path / "link" / "b", make=True)
    assert not (tmp_path / "elsewhere").exists()


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none" / "below", Path("/")):
        try:
            os.close(walk.open_folder(folder))
        except FileNotFoundError:
            continue
    open_now = {os.path.realpath(each) for each in _descriptors()}
    assert not open_now & {str(tmp_path), str(tmp_path.parent)}


def _descriptors() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


def test_a_backup_reads_the_folder_that_was_opened_and_not_what_took_its_place(
    ready: Stage,
) -> None:
    for name in ("mine.txt", "cache/x", "deep/cache/x"):
        ready.write(name)
    (ready.folder / "others").mkdir()
    (ready.folder / "others" / "secret.txt").write_text("secret")
    with walk.opened(ready.source) as descriptor:
        ready.source.rename(ready.folder / "away")
        ready.source.symlink_to(ready.folder / "others")
        wanted = FolderBackup(
            ready.source, host="acme", excludes=("/cache",), descriptor=descriptor
        )
        snapshot = commands.backup_folder(ready.repository, ready.here, wanted).snapshot
    assert snapshot is not None
    found: list[Entry] = []
    commands.ls(ready.repository, ready.here, snapshot, found.append)
    assert {entry.path for entry in found} == {
        *("/mine.txt", "/deep", "/deep/cache", "/deep/cache/x")
    }


def test_by_path_or_by_descriptor_it_is_the_same_snapshot(ready: Stage) -> None:
    ready.write("a/b/c.txt")
    by_path = FolderBackup(ready.source, host="acme")
    assert commands.backup_folder(ready.repository, ready.here, by_path).snapshot is not None
    with walk.opened(ready.source) as descriptor:
        opened = FolderBackup(ready.source, host="acme", descriptor=descriptor)
        report = commands.backup_folder(ready.repository, ready.here, opened)
    assert (report.snapshot, report.complete, report.files) == (None, True, 1)


@pytest.mark.skipif(not closed_view.version(), reason="this kernel has no Landlock")
def test_a_folder_inside_that_becomes_a_link_while_it_is_read_leads_nowhere(ready: Stage) -> None:
    """restic opens what lies inside by name: it lists `sub` and then opens `sub/z.txt`."""
    for number in range(8):  # that keep both of its readers busy while we swap
        with ready.write(f"sub/a{number}").open("wb") as file:
            file.truncate(256 * 1024 * 1024)
    ready.write("sub/z.txt", "mine")
    others = ready.folder / "others"
    others.mkdir()
    (others / "z.txt").write_text("another's secret")
    swapped = threading.Event()

    def swap() -> None:
        if until(lambda: _opened_somewhere(ready.source / "sub")):
            (ready.source / "sub").rename(ready.folder / "away")
            (ready.source / "sub").symlink_to(others)
            swapped.set()

    swapper = threading.Thread(target=swap)
    swapper.start()
    with walk.opened(ready.source) as descriptor:
        wanted = FolderBackup(ready.source, host="acme", descriptor=descriptor)
        report = commands.backup_folder(ready.repository, ready.here, wanted)
    swapper.join()

    assert swapped.is_set()
    assert not report.complete
    assert any("open sub/z.txt: permission denied" in each for each in report.unread)
    assert report.snapshot is not None
    found: list[Entry] = []
    commands.ls(ready.repository, ready.here, report.snapshot, found.append)
    assert "/sub/z.txt" not in {entry.path for entry in found}


def _opened_somewhere(folder: Path) -> bool:
    """A file in it, by anybody."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is not ours to look into
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    if link.readlink().parent == folder:
                        return True
    return False
