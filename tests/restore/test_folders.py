"""Restored files: inside the target only, wholly old or wholly new, whatever the tenant made."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from restore import folders
from restore.errors import NotSwapped, Unsafe
from restore.folders import Landed, Staging
from restore.tree import Why
from strongroom.errors import BadValue, NotFound

AT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
STAMP = "20260105_083000"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "srv" / "acme"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "a.txt").write_text("old a")
    (folder / "docs" / "b.txt").write_text("old b")
    (folder / "top.txt").write_text("old top")
    folder.chmod(0o750)
    return folder


def staged(live: Path, **contents: str) -> Staging:
    staging = folders.prepare(live, token="r1")
    for name, text in contents.items():
        path = staging.data / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return staging


def reading(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_in_place_exchanges_and_sets_the_old_aside(live: Path) -> None:
    old = reading(live)
    landed = folders.in_place(staged(live, new="n", docs__a="a"), at=AT)
    before = live.with_name(f"acme.before-{STAMP}")
    assert landed == Landed(live, before)
    assert reading(live) == {"new": "n", "docs/a": "a"}
    assert reading(before) == old
    assert stat.S_IMODE(live.stat().st_mode) == 0o750
    assert sorted(path.name for path in live.parent.iterdir()) == ["acme", before.name]


def test_aside_leaves_the_live_folder_alone_and_overwrites_nothing(live: Path) -> None:
    old = reading(live)
    landed = folders.aside(staged(live, new="n"), at=AT)
    assert reading(landed.path) == {"new": "n"}
    assert landed.path.name == f"acme.restored-{STAMP}"
    again = staged(live, new="other")
    with pytest.raises(NotSwapped, match="something by that name already"):
        folders.aside(again, at=AT)
    folders.discard(again)
    assert (reading(live), reading(landed.path)) == (old, {"new": "n"})


def test_a_folder_that_is_gone_comes_back(live: Path) -> None:
    (live / "docs").rename(live.parent / "moved")
    (live / "top.txt").unlink()
    live.rmdir()
    assert folders.in_place(staged(live, new="n"), at=AT).before is None
    assert reading(live) == {"new": "n"}


def test_chosen_paths_are_replaced_and_the_rest_stays(live: Path) -> None:
    inode = (live / "top.txt").stat().st_ino
    staging = staged(live, docs__a="ignored", docs__b="ignored", more__c="new c")
    (staging.data / "docs" / "a.txt").write_text("new a")
    folders.choose(staging, ["docs/a.txt", "more"])
    landed = folders.in_place(staging, at=AT)
    assert reading(live) == {
        "docs/a.txt": "new a",
        "docs/b.txt": "old b",
        "more/c": "new c",
        "top.txt": "old top",
    }
    assert (live / "top.txt").stat().st_ino == inode
    assert (live / "top.txt").stat().st_nlink == 1
    assert landed.before is not None
    assert reading(landed.before) == {"docs/a.txt": "old a"}


def test_what_was_written_during_a_chosen_restore_is_not_lost(live: Path) -> None:
    staging = staged(live, docs__a="x")
    folders.choose(staging, ["docs/a"])
    (live / "late.txt").write_text("late")
    landed = folders.in_place(staging, at=AT)
    assert landed.before is not None
    assert reading(landed.before) == {"late.txt": "late"}


@pytest.mark.parametrize("path", ["", "/etc", "..", "a/../b", "./a", "a//b", "a/", "a\0b"])
def test_a_chosen_path_that_is_not_plain_is_refused(live: Path, path: str) -> None:
    with pytest.raises(BadValue, match="no path inside"):
        folders.choose(staged(live, a="x"), [path])


def test_a_restore_that_brought_nothing_is_no_success(live: Path) -> None:
    with pytest.raises(NotFound, match="nothing at docs/none"):
        folders.choose(staged(live, docs__a="x"), ["docs/none"])


def test_a_chosen_path_never_goes_through_a_link_of_the_live_folder(live: Path) -> None:
    outside = live.parent / "outside"
    outside.mkdir()
    (live / "way").symlink_to(outside)
    staging = staged(live, way__evil="x")
    folders.choose(staging, ["way/evil"])
    folders.in_place(staging, at=AT)
    assert list(outside.iterdir()) == []
    assert (live / "way" / "evil").read_text() == "x"


LINKS_OUT = [
    "/etc/passwd",
    "..",
    "../../etc",
    "docs/../../x",
    "up/../../x",
    "self/../../x",
    "missing/../../x",
    "round",
    "//etc",
]
LINKS_IN = ["docs", "docs/a", "./docs/../top", "missing", "self/docs/a", "docs/deep/../a"]


@pytest.mark.parametrize("link", LINKS_OUT)
def test_a_link_that_leads_out_is_left_out_and_named(live: Path, link: str) -> None:
    staging = staged(live, docs__a="x", docs__deep__b="x", top="t")
    (staging.data / "self").symlink_to(".")
    (staging.data / "up").symlink_to("docs/..")
    (staging.data / "round").symlink_to("round")
    (staging.data / "link").symlink_to(link)
    vetted = folders.vet(staging, keep_known_links=False)
    assert ("link", Why.LINK_OUT) in [(each.path, each.why) for each in vetted.left_out]
    assert not (staging.data / "link").is_symlink()


@pytest.mark.parametrize("link", LINKS_IN)
def test_a_link_that_stays_inside_is_kept(live: Path, link: str) -> None:
    staging = staged(live, docs__a="x", docs__deep__b="x", top="t")
    (staging.data / "self").symlink_to(".")
    (staging.data / "link").symlink_to(link)
    assert folders.vet(staging, keep_known_links=False).left_out == ()
    assert (staging.data / "link").readlink() == Path(link)


def test_a_link_that_the_live_folder_has_already_may_stay(live: Path) -> None:
    (live / "log").symlink_to("/var/log")
    (live / "other").symlink_to("/etc")
    staging = staged(live, top="t")
    (staging.data / "log").symlink_to("/var/log")
    (staging.data / "other").symlink_to("/root")
    vetted = folders.vet(staging, keep_known_links=True)
    assert [each.path for each in vetted.left_out] == ["other"]


def names(staging: Staging) -> None:
    for name in [
        b"-rf",
        b"new\nline",
        b"\xff\xfe",
        b"a" * 255,
        "\u202egpj.exe".encode(),
        b"A",
        b"a",
    ]:
        with (staging.data / os.fsdecode(name)).open("wb"):
            pass


def fifo(staging: Staging) -> None:
    os.mkfifo(staging.data / "thing")


def unix_socket(staging: Staging) -> None:
    folder = os.open(staging.data, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(f"/proc/self/fd/{folder}/thing")
    os.close(folder)


def device(staging: Staging) -> None:
    os.mknod(staging.data / "thing", stat.S_IFBLK | 0o666, os.makedev(7, 0))


def set_user(staging: Staging) -> None:
    (staging.data / "thing").write_text("x")
    (staging.data / "thing").chmod(0o6755)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (fifo, Why.PIPE),
        (unix_socket, Why.SOCKET),
        pytest.param(device, Why.DEVICE, marks=as_root),
        (set_user, Why.SET_ID),
    ],
)
def test_special_files_do_not_land(live: Path, make: Callable[[Staging], None], why: Why) -> None:
    staging = staged(live, good="x")
    make(staging)
    vetted = folders.vet(staging, keep_known_links=False)
    assert [(each.path, each.why) for each in vetted.left_out] == [("thing", why)]
    landed = folders.in_place(staging, at=AT)
    left = landed.path / "thing"
    assert not left.exists() or left.stat().st_mode & 0o6000 == 0
    assert reading(landed.path)["good"] == "x"


def test_odd_names_land_as_they_are_and_print_harmlessly(live: Path) -> None:
    staging = staged(live)
    names(staging)
    (staging.data / "x\n\u202e\x1b[0m").symlink_to("/etc")
    vetted = folders.vet(staging, keep_known_links=False)
    assert [each.path for each in vetted.left_out] == ["x\\n\\u202e\\x1b[0m"]
    folders.in_place(staging, at=AT)
    assert len(list(live.iterdir())) == 7


def test_a_hard_link_from_outside_is_refused(live: Path) -> None:
    staging = staged(live, good="x")
    os.link(live / "top.txt", staging.data / "linked")
    with pytest.raises(Unsafe, match="linked is linked to from outside"):
        folders.vet(staging, keep_known_links=False)


def test_a_deep_tree_and_a_sparse_giant_land(live: Path) -> None:
    staging = staged(live)
    place = os.open(staging.data, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep-enough", dir_fd=place)
        below = os.open("deep-enough", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    with (staging.data / "giant").open("wb") as giant:
        giant.truncate(2**40)
    assert folders.vet(staging, keep_known_links=False).entries == 1501
    landed = folders.in_place(staging, at=AT)
    assert (landed.path / "giant").stat().st_blocks == 0
    folders.discard(folders.prepare(live, token="r2"))
    subprocess.run(["rm", "-rf", landed.path], check=True)


def test_a_target_with_a_link_on_its_way_is_refused(live: Path, tmp_path: Path) -> None:
    old = reading(live)
    (live.parent / "link").symlink_to(live)
    (tmp_path / "way").symlink_to(live.parent)
    for target in (live.parent / "link", tmp_path / "way" / "acme"):
        with pytest.raises(Unsafe, match="leads through a link"):
            folders.prepare(target, token="r1")
    assert reading(live) == old
    assert {path.name for path in live.parent.iterdir()} == {"acme", "link"}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "victim"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "precious").write_text("precious")
    return folder


def test_a_staging_folder_that_was_swapped_is_neither_followed_nor_removed(
    live: Path, victim: Path
) -> None:
    staging = staged(live, new="n")
    place = live.parent / staging.name
    place.rename(live.parent / "away")
    place.symlink_to(victim)
    with pytest.raises(Unsafe, match="somebody replaced it"):
        folders.discard(staging)
    with pytest.raises(Unsafe, match="somebody replaced it"):
        folders.recover(live, token="r1")
    assert place.is_symlink()
    assert reading(victim) == {"data/precious": "precious"}
    assert list((live.parent / "away").iterdir()) == []


def test_what_is_restored_goes_into_the_folder_that_was_made(live: Path, victim: Path) -> None:
    staging = folders.prepare(live, token="r1")
    place = live.parent / staging.name
    place.rename(live.parent / "away")
    place.symlink_to(victim)
    (staging.data / "new").write_text("n")
    assert reading(victim) == {"data/precious": "precious"}
    assert reading(live.parent / "away") == {"data/new": "n"}


@as_root
def test_a_staging_folder_of_another_is_not_taken_for_ours(live: Path) -> None:
    place = live.parent / ".strongroom-restore-r1"
    place.mkdir(mode=0o700)
    (place / "exchange.json").write_text("{}")
    os.chown(place, 1234, 1234)
    with pytest.raises(Unsafe, match="somebody replaced it"):
        folders.recover(live, token="r1")
    assert (place / "exchange.json").exists()


@pytest.mark.parametrize("name", ["../../victim/in", "/tmp/in", "..", ""])
def test_a_note_of_an_exchange_that_names_a_path_is_refused(
    live: Path, victim: Path, name: str
) -> None:
    place = live.parent / ".strongroom-restore-r1"
    place.mkdir(mode=0o700)
    (place / "data").mkdir()
    status = (place / "data").stat()
    note = {"live": [status.st_dev, status.st_ino], "before": name}
    (place / "exchange.json").write_text(json.dumps(note))
    with pytest.raises(Unsafe, match="not written by us"):
        folders.recover(live, token="r1")
    assert reading(victim) == {"data/precious": "precious"}
    assert (place / "data").is_dir()


def test_a_note_that_was_cut_off_is_of_no_exchange(live: Path) -> None:
    old = reading(live)
    staging = staged(live, new="n")
    (live.parent / staging.name / "exchange.json").write_text('{"live": [1')
    assert folders.recover(live, token="r1") is None
    assert reading(live) == old
    assert [path.name for path in live.parent.iterdir()] == ["acme"]


def test_a_live_folder_that_became_a_link_is_not_replaced(live: Path, victim: Path) -> None:
    staging = staged(live, new="n")
    live.rename(live.parent / "away")
    live.symlink_to(victim)
    with pytest.raises(Unsafe):
        folders.in_place(staging, at=AT)
    with pytest.raises(Unsafe):
        folders.aside(staging, at=AT)
    assert live.is_symlink()
    assert reading(victim) == {"data/precious": "precious"}


def test_parents_that_change_meanwhile_are_noticed(live: Path, tmp_path: Path) -> None:
    staging = staged(live, new="n")
    live.parent.rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / staging.name / "data").mkdir(parents=True)
    live.parent.symlink_to(elsewhere)
    with pytest.raises(Unsafe):
        folders.in_place(staging, at=AT)
    assert [path.name for path in elsewhere.iterdir()] == [staging.name]


@pytest.mark.parametrize("target", ["/", "/proc", "/dev", "/dev/null", "/nowhere/at/all"])
def test_a_target_that_cannot_be_exchanged_is_refused(target: str) -> None:
    with pytest.raises(Unsafe):
        folders.prepare(Path(target), token="r1")


CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from restore import folders

real = folders.{function}
def dying(*words):
    if {after}:
        real(*words)
    os.kill(os.getpid(), signal.SIGKILL)
folders.{function} = dying
staging = folders.prepare(Path(sys.argv[1]), token="r1")
(staging.data / "docs").mkdir()
(staging.data / "docs" / "a.txt").write_text("new")
if {chosen}:
    folders.choose(staging, ["docs/a.txt"])
folders.in_place(staging, at=datetime(2026, 1, 5, 8, 30, tzinfo=UTC))
"""
MOMENTS = [("_write_intent", False), ("_rename", False), ("_set_aside", False), ("_finish", False)]


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize(("function", "after"), MOMENTS)
def test_killed_at_any_moment_it_is_wholly_old_or_wholly_new(
    live: Path, function: str, *, after: bool, chosen: bool
) -> None:
    old = reading(live)
    new = old | {"docs/a.txt": "new"} if chosen else {"docs/a.txt": "new"}
    script = CHILD.format(function=function, after=after, chosen=chosen)
    done = subprocess.run(
        [sys.executable, "-c", script, str(live)],
        env={"PYTHONPATH": os.pathsep.join(["", *sys.path])},
        check=False,
    )
    assert done.returncode == -9
    exchanged = function in ("_set_aside", "_finish")
    assert reading(live) == (new if exchanged else old)
    landed = folders.recover(live, token="r1")
    assert reading(live) == (new if exchanged else old)
    before = live.with_name(f"acme.before-{STAMP}")
    assert landed == (Landed(live, before) if exchanged else None)
    assert {path.name for path in live.parent.iterdir()} == {"acme"} | (
        {before.name} if exchanged else set()
    )
    if exchanged:
        assert reading(before) == ({"docs/a.txt": "old a"} if chosen else old)
