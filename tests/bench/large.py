"""Bar 2: a directory of 1 GiB from queued to stored, against `restic backup` into a repository
with the same settings.

A repository of its own each time, on both sides in the first region. The plain side's has a
low-cost key too, made by our own means, so that it saves the seconds that restic's own key takes:
what is compared is the rest. What follows a stored point (proof, catalogue) is waited for before
the next measurement, and all that was stored is deleted.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backup import making
from backup.founding import Within
from backup.keyfile import MachinePassword, Stamp
from backup.restic import creation
from tests.bench import data
from tests.bench.pairs import Compared, compare
from tests.bench.plain import Plain
from tests.bench.stand import MIB, ONE_REGION, Stand

FILE_BYTES = 4 * MIB


@dataclass
class Runs:
    """Both sides; the one folder moves from tenant to tenant, since no two may share one."""

    stand: Stand
    folder: Path
    wanted: str  # digest of what is there
    processors: int
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    checked: set[str] = field(default_factory=set)

    def ours(self) -> float:
        name = f"large-{next(self.numbers)}"
        place = self._move(name)
        tenant = self.stand.add_tenant(name, plan=ONE_REGION)
        self.stand.add_folder(tenant, place)
        row = self.stand.await_settled(tenant, self.stand.request(tenant))
        assert row.ended_at is not None
        if "ours" not in self.checked:
            self._require_same("ours", lambda to: self.stand.restore(tenant, to, region=0))
        self.stand.empty(f"t/{tenant.id}/")
        return (row.ended_at - row.asked_at).total_seconds()

    def by_hand(self) -> float:
        name = f"plain-{next(self.numbers)}"
        place = self._move(name)
        plain = Plain(
            self.stand.folder / f"{name}-made",
            self.stand.regions[:1],
            f"bench/{name}/",
            self.processors,
        )
        _make(self.stand, plain)
        used = plain.back_up(place)
        if "plain" not in self.checked:
            self._require_same("plain", plain.restore)
        plain.clear()
        self.stand.empty(plain.prefix)
        return used.wall

    def _move(self, name: str) -> Path:
        place = self.stand.folder / name / "data"
        place.parent.mkdir()
        self.folder.rename(place)
        self.folder = place
        return place

    def _require_same(self, side: str, restore: Callable[[Path], None]) -> None:
        there = self.stand.folder / f"restored-{side}"
        restore(there)
        if data.digest(there) != self.wanted:
            raise RuntimeError(f"1 GiB, {side}: what came back is not what was there.")
        shutil.rmtree(there)
        self.checked.add(side)


def measure(stand: Stand, *, pairs: int, size: int) -> tuple[Compared, int]:
    """Seconds of wall time; and the processors that both sides had."""
    folder = stand.folder / "large"
    data.fill(folder, files=size // FILE_BYTES, size=FILE_BYTES, seed="large")
    runs = Runs(stand, folder, data.digest(folder), making.PROCESSORS_OF_LARGE)
    runs.by_hand(), runs.ours()
    compared = compare(runs.ours, runs.by_hand, pairs=pairs)
    shutil.rmtree(runs.folder)
    return compared, runs.processors


def _make(stand: Stand, plain: Plain) -> None:
    """An empty repository with a low-cost key."""
    password = MachinePassword.make()
    plain.folder.mkdir()
    (plain.folder / "password").write_bytes(password.text)
    region = stand.regions[0]
    within = Within(stand.root_store(region), f"{plain.prefix}{region.region.name}/")
    creation.create(within, password, Stamp(created=datetime.now(UTC)))
