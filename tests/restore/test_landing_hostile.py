"""A tenant's own snapshot may hold anything restic can store: none of it lands outside."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from backup.models import Point, Source
from restore.states import Destination
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.restore.asking import beside, face, faces, give_back, report, stored

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
LONG = "n" * 250


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "passwd").write_text("root")
    return folder


@pytest.fixture
def hostile(runtime: Runtime, acme: Tenant, tmp_path: Path, outside: Path) -> tuple[Source, Point]:
    """A point of a folder full of traps; the folder is an honest one again afterwards."""
    folder = tmp_path / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    (folder / "absolute").symlink_to(outside)
    (folder / "upwards").symlink_to("../../outside/passwd")
    (folder / "letters" / "sideways").symlink_to("../../office-2")
    (folder / "inside").symlink_to("letters/0.txt")
    os.mknod(folder / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    os.mkfifo(folder / "pipe")
    (folder / "root-shell").write_text("#!/bin/sh")
    (folder / "root-shell").chmod(0o6755)
    os.link(folder / "root-shell", folder / "another-name")
    for name in (LONG, "-rf", "new\nline", "..."):
        (folder / name).write_text("odd")
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(folder / "socket"))
    point = stored(runtime, acme)
    shutil.rmtree(folder)
    cast.fill(folder)
    return source, point


@pytest.mark.parametrize("to", [Destination.ASIDE, Destination.IN_PLACE])
def test_what_leads_out_or_has_power_does_not_land(
    runtime: Runtime, tmp_path: Path, outside: Path, hostile: tuple[Source, Point], to: Destination
) -> None:
    source, point = hostile
    before = faces(outside)

    row = give_back(runtime, point, source, to)

    landed = Path(report(row)["where"])
    kinds = {name: stat.S_IFMT(seen[0]) for name, seen in faces(landed).items()}
    assert set(kinds.values()) <= {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
    assert [name for name, kind in kinds.items() if kind == stat.S_IFLNK] == ["inside"]
    assert face(landed / "root-shell")[0] & 0o7777 == 0o755
    assert {LONG, "-rf", "new\nline", "..."} <= set(kinds)
    assert faces(outside) == before
    assert len(beside(tmp_path / "srv" / "office")) == 1


def test_the_report_says_what_was_left_out_and_why(
    runtime: Runtime, hostile: tuple[Source, Point]
) -> None:
    source, point = hostile

    left_out = set(report(give_back(runtime, point, source, Destination.ASIDE))["left_out"])

    assert left_out >= {
        "absolute: link-leads-out",
        "upwards: link-leads-out",
        "letters/sideways: link-leads-out",
        "disk: device",
        "pipe: pipe",
        "another-name: set-id-bits-removed",  # the same file as root-shell
    }


def test_a_link_in_the_way_of_a_chosen_path_is_not_followed(
    runtime: Runtime, tmp_path: Path, outside: Path, hostile: tuple[Source, Point]
) -> None:
    source, point = hostile
    folder, before = tmp_path / "srv" / "office", faces(outside)
    shutil.rmtree(folder / "letters")
    (folder / "letters").symlink_to(outside)

    give_back(runtime, point, source, paths=("/letters/0.txt",))

    assert faces(outside) == before
    assert (folder / "letters" / "0.txt").read_text().startswith("ledger 0")
    assert not (folder / "letters").is_symlink()
