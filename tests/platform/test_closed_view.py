"""A child with a closed view opens what it was given, and nothing that a name leads to beside."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from strongroom import closed_view, program
from strongroom.closed_view import CannotClose, View
from strongroom.program import Command, Finished, Limits

pytestmark = pytest.mark.skipif(not closed_view.version(), reason="this kernel has no Landlock")
PATH = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    return tmp_path / "mine"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.txt").write_text("another's")
    return tmp_path / "others" / "a.txt"


def run(view: View, *argv: str, **more: object) -> Finished:
    command = Command(argv, environment=PATH, view=view, **more)  # type: ignore[arg-type]
    return program.run(command, timeout=120)


def test_it_reads_what_lies_below_its_places_and_nothing_else(mine: Path, secret: Path) -> None:
    view = View(read=(mine,))
    assert run(view, "cat", str(mine / "a.txt")).stdout == "mine"
    for way in (str(secret), str(mine / ".." / "others" / "a.txt")):
        refused = run(view, "cat", way)
        assert (refused.code, refused.stdout) == (1, ""), refused
    assert run(view, "ls", str(secret.parent)).code != 0


def test_a_link_inside_leads_nowhere(mine: Path, secret: Path) -> None:
    (mine / "link").symlink_to(secret)
    (mine / "folder").symlink_to(secret.parent)
    for way in ("link", "folder/a.txt"):
        assert run(View(read=(mine,)), "cat", str(mine / way)).code == 1


def test_a_place_by_descriptor_stays_that_folder_when_its_name_leads_elsewhere(
    mine: Path, secret: Path
) -> None:
    descriptor = os.open(mine, os.O_RDONLY | os.O_DIRECTORY)
    try:
        mine.rename(mine.with_name("moved"))
        mine.symlink_to(secret.parent)
        view = View(read=(descriptor,))
        assert run(view, "cat", str(mine / "a.txt")).code == 1
        moved = str(mine.with_name("moved") / "a.txt")
        assert run(view, "cat", moved).stdout == "mine"
    finally:
        os.close(descriptor)


def test_what_may_be_read_may_not_be_changed_and_what_may_be_written_may(
    mine: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    view = View(read=(mine,), write=(tmp_path / "out",))
    target = str(mine / "a.txt")
    for argv in (
        ("cp", "/dev/null", target),
        ("rm", target),
        ("touch", str(mine / "b.txt")),
        ("ln", "-s", "x", str(mine / "l")),
    ):
        assert run(view, *argv).code != 0, argv
    assert (mine / "a.txt").read_text() == "mine"
    assert run(view, "cp", target, str(tmp_path / "out" / "b.txt")).code == 0
    assert (tmp_path / "out" / "b.txt").read_text() == "mine"


def test_no_process_of_ours_shows_its_environment(mine: Path) -> None:
    assert run(View(), "cat", f"/proc/{os.getpid()}/environ").code == 1


def test_secrets_by_descriptor_and_limits_work_as_without(mine: Path) -> None:
    with program.secret_file(b"sesame") as file, program.secret_pipe(b"open") as pipe:
        ways = f"cat /proc/self/fd/{file} /dev/fd/{pipe}; ulimit -n"
        found = run(
            View(), "sh", "-c", ways, descriptors=[file, pipe], limits=Limits(open_files=77)
        )
    assert found.stdout == "sesameopen77"


def test_we_ourselves_and_later_children_see_as_before(mine: Path, secret: Path) -> None:
    assert run(View(read=(mine,)), "cat", str(secret)).code == 1
    assert secret.read_text() == "another's"
    command = Command(["cat", str(secret)], environment=PATH)
    assert program.run(command, timeout=120).stdout == "another's"
    assert "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()


def test_its_thread_ends_with_the_child(mine: Path) -> None:
    child = program.start(Command(["sleep", "60"], environment=PATH, view=View()))
    kept = [each for each in threading.enumerate() if each.name == "closed view"]
    child.end(grace=1)
    for thread in kept:
        thread.join(60)
    assert kept
    assert not any(thread.is_alive() for thread in kept)


def test_a_place_that_is_not_there_is_said_and_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(CannotClose) as raised:
        run(View(read=(tmp_path / "none",)), "touch", str(tmp_path / "ran"))
    assert str(tmp_path / "none") in raised.value.message
    assert not (tmp_path / "ran").exists()
