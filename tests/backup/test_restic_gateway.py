"""A copy whose source is read through us, because each side has credentials of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from backup.keyfile import MachinePassword
from backup.restic import commands, errors
from backup.restic.calls import Repository
from backup.restic.flags import CheckExtent, FolderBackup
from strongroom.errors import Refused
from tests.backup.restic_stage import FolderStore, Stage, new_repository, stage


@pytest.fixture
def ready(tmp_path: Path) -> Stage:
    return stage(tmp_path)


class Denying(FolderStore):
    """Gives no packs."""

    def get(self, key: str) -> bytes:
        if key.startswith("data/"):
            raise Refused("no right to read packs")
        return super().get(key)


class Damaging(FolderStore):
    """Gives packs with one byte changed."""

    def get(self, key: str) -> bytes:
        found = bytearray(super().get(key))
        if key.startswith("data/"):
            found[len(found) // 3] ^= 1
        return bytes(found)


def saved(ready: Stage) -> str:
    for number in range(30):
        ready.write(f"deep/{number}", os.urandom(300_000))
    wanted = FolderBackup(folder=ready.source, host="acme")
    report = commands.backup_folder(ready.repository, ready.here, wanted)
    assert report.snapshot
    return report.snapshot


def test_a_copy_through_us_is_whole_and_keeps_the_original_id(ready: Stage) -> None:
    snapshot = saved(ready)
    other, _ = new_repository(ready.folder / "b", MachinePassword.make())
    unreachable = replace(ready.repository, address="/nowhere/at/all", cache=None)
    [copied] = commands.copy(unreachable, other, ready.here, [snapshot], through=ready.store)
    assert copied.snapshot.original == snapshot
    assert copied.snapshot.bytes == 9_000_000
    assert commands.check(other, ready.here, CheckExtent(everything=True)).ok


def test_a_copy_through_a_store_that_denies_fails_with_its_reason(ready: Stage) -> None:
    snapshot = saved(ready)
    other, _ = new_repository(ready.folder / "b", MachinePassword.make())
    denying = Denying(ready.store.root)
    with pytest.raises(errors.ResticError) as caught:
        commands.copy(uncached(ready), other, ready.here, [snapshot], through=denying)
    assert isinstance(caught.value.__cause__, Refused)
    assert commands.snapshots(other, ready.here) == ()


def test_damage_on_the_way_does_not_travel(ready: Stage) -> None:
    snapshot = saved(ready)
    other, _ = new_repository(ready.folder / "b", MachinePassword.make())
    damaging = Damaging(ready.store.root)
    with pytest.raises(errors.ResticError):
        commands.copy(uncached(ready), other, ready.here, [snapshot], through=damaging)
    assert commands.snapshots(other, ready.here) == ()


def uncached(ready: Stage) -> Repository:
    return replace(ready.repository, cache=None)
