"""Bar: reading every pack of a repository back by our scrub, against `restic check --read-data`.

Both read the same repository in the first region with the tenant's low-cost key, one right after
the other. Compared are seconds of wall time and of client CPU: of ours this process, notes in the
database included; of restic the child. Both read the same packs, so that the ratio of seconds is
that of bytes a second.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from backup import repositories, scrub
from backup.repositories import Site
from backup.restic import commands
from backup.restic.flags import CheckExtent
from strongroom.storage import Act
from tests.bench import data, usage
from tests.bench.pairs import Compared, Pair, compare
from tests.bench.stand import MIB, ONE_REGION, PATIENCE, Stand

FILE_BYTES = 4 * MIB


@dataclass
class Sides:
    """Both ways to read one repository."""

    site: Site
    packs: dict[str, int]
    ours_cpu: list[float] = field(default_factory=list)
    plain_cpu: list[float] = field(default_factory=list)

    def ours(self) -> float:
        with _timed(resource.RUSAGE_SELF, self.ours_cpu) as watch:
            found = scrub.read(self.site, self.packs)
        if found.damaged or found.vanished or found.bytes != sum(self.packs.values()):
            raise RuntimeError(f"The scrub did not read everything: {found.packs} packs.")
        return watch.wall

    def plain(self) -> float:
        here = repositories.surroundings(self.site.runtime, self.site.row.id, seconds=PATIENCE)
        here = replace(here, processors=os.cpu_count() or 1)
        opened = self.site.restic(Act.READ)
        with _timed(resource.RUSAGE_CHILDREN, self.plain_cpu) as watch:
            report = commands.check(opened, here, CheckExtent(everything=True))
        if not report.ok:
            raise RuntimeError(f"restic found damage: {report.messages}")
        return watch.wall


@dataclass(frozen=True)
class Scrubbed:
    """What came of it."""

    wall: Compared
    cpu: Compared
    bytes: int
    packs: int
    memory: int  # bytes by which the peak of this process grew while it scrubbed


def measure(stand: Stand, *, pairs: int, size: int) -> Scrubbed:
    folder = stand.folder / "scrubbed"
    data.fill(folder, files=size // FILE_BYTES, size=FILE_BYTES, seed="scrubbed")
    tenant = stand.add_tenant("scrubbed", plan=ONE_REGION)
    stand.add_folder(tenant, folder)
    stand.await_settled(tenant, stand.request(tenant))
    row = stand.newest(tenant, region=0)
    site = repositories.site(stand.platform, tenant.id, row.repository_id)
    listed = list(site.store(Act.READ).list(site.prefix + "data/"))
    sides = Sides(site, {each.key.rpartition("/")[2]: each.size for each in listed})
    sides.plain()
    grown = _growth(sides.ours)
    sides.ours_cpu.clear(), sides.plain_cpu.clear()
    wall = compare(sides.ours, sides.plain, pairs=pairs)
    used = zip(sides.ours_cpu, sides.plain_cpu, wall.pairs, strict=True)
    cpu = Compared(tuple(Pair(ours, plain, pair.foreign) for ours, plain, pair in used))
    shutil.rmtree(folder)
    stand.empty(f"t/{tenant.id}/")
    return Scrubbed(wall, cpu, sum(sides.packs.values()), len(sides.packs), grown)


def _growth(act: Callable[[], object]) -> int:
    before = usage.memory(os.getpid(), usage.NOW)
    usage.forget_peak(os.getpid())
    act()
    return usage.memory(os.getpid()) - before


class _timed:
    """Wall time of a block, and the CPU of a process or its children added to a list."""

    def __init__(self, whose: int, cpu: list[float]) -> None:
        self._whose, self._cpu, self.wall = whose, cpu, 0.0

    def __enter__(self) -> Self:
        self._used, self._began = _cpu(self._whose), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.monotonic() - self._began
        self._cpu.append(_cpu(self._whose) - self._used)


def _cpu(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime
