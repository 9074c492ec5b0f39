"""A tenant who owns the folder above the live one puts links in the way while we restore."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backup.models import Point, Source
from restore.states import Destination
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.restore.asking import ask, carry_out, faces, failure, stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "srv" / "office"


@pytest.fixture
def kept(runtime: Runtime, acme: Tenant, folder: Path) -> tuple[Source, Point]:
    source = cast.add_folder(runtime, acme, folder)
    return source, stored(runtime, acme)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    cast.fill(tmp_path / "victim", words="another's")
    (tmp_path / "victim" / "data").mkdir()
    return tmp_path / "victim"


@contextmanager
def swapping(parent: Path, victim: Path) -> Iterator[threading.Event]:
    """Each staging folder is moved away as soon as it is seen, and a link takes its place."""
    over, done = threading.Event(), threading.Event()

    def swap() -> None:
        while not over.is_set():
            for place in parent.glob(".strongroom-restore-*"):
                with suppress(OSError):
                    if not place.is_symlink():
                        place.rename(parent / "away")
                        place.symlink_to(victim)
                        done.set()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("to", [Destination.ASIDE, Destination.IN_PLACE])
def test_nothing_is_written_through_a_link_that_took_the_place_of_staging(
    runtime: Runtime, kept: tuple[Source, Point], folder: Path, victim: Path, to: Destination
) -> None:
    source, point = kept
    before, live = faces(victim), faces(folder)

    with swapping(folder.parent, victim) as done:
        row = carry_out(runtime, ask(runtime, point, source, to))

    assert done.is_set(), (row.failure, row.report)
    assert failure(row) == "unsafe-target"
    assert (faces(victim), faces(folder)) == (before, live)
    assert list((folder.parent / "away").rglob("*.txt")) == []


@pytest.mark.parametrize("to", [Destination.ASIDE, Destination.IN_PLACE])
@pytest.mark.parametrize("dry_run", [False, True], ids=["for real", "dry run"])
def test_a_live_folder_that_became_a_link_is_not_restored_into(
    runtime: Runtime,
    kept: tuple[Source, Point],
    folder: Path,
    victim: Path,
    to: Destination,
    dry_run: bool,
) -> None:
    source, point = kept
    folder.rename(folder.with_name("office.real"))
    folder.symlink_to(victim)
    before = faces(victim)

    row = carry_out(runtime, ask(runtime, point, source, to, dry_run=dry_run))

    assert failure(row) == "folder-not-allowed"
    assert faces(victim) == before
    assert folder.is_symlink()
    assert {each.name for each in folder.parent.iterdir()} == {"office", "office.real"}


def test_a_folder_to_restore_into_that_is_reached_by_a_link_is_refused(
    runtime: Runtime, kept: tuple[Source, Point], victim: Path
) -> None:
    source, point = kept
    before = faces(victim)
    way = victim.with_name("way")
    way.symlink_to(victim)

    row = carry_out(runtime, ask(runtime, point, source, way / "new"))

    assert failure(row) == "unsafe-target"
    assert faces(victim) == before
