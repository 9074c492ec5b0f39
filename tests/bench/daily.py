"""Bar 1: a daily cycle of an unchanged tenant of 1 MB against the same steps by a shell script.

Ours is the whole way: a queued run, its doorbell, the worker's task with backup, copy, catalogue,
proof and retention, and the listing that a page shows. A point is there in both regions after it,
and the oldest one has gone, on both sides. Counted are the worker, all it starts, and the listing;
what the services beside it used is printed, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tenants.models import Tenant
from tests.bench import data
from tests.bench.pairs import Compared, compare
from tests.bench.plain import Plain
from tests.bench.stand import KEPT, KIB, Stand
from tests.bench.usage import cpu
from web import readings

FILES, FILE_BYTES = 200, 5 * KIB
TENANTS = 4
WARM = 5  # cycles before the first that counts: retention takes a point in each by then
BESIDE = ("dispatcher", "postgres", "valkey-server", "weed", "weed'")


@dataclass(frozen=True)
class Daily:
    """What it came to."""

    compared: Compared  # seconds of CPU for one cycle
    beside_ours: Mapping[str, float]  # the same of the services, for one cycle
    beside_plain: Mapping[str, float]
    listing: float  # seconds of CPU of ours that the listing took, of one cycle
    key: Mapping[str, int]  # what restic's calibration chose for the script's key


@dataclass
class Cycles:
    """Both sides, warm."""

    stand: Stand
    tenants: list[Tenant]
    plain: Plain
    source: Path  # of the plain side
    ours_each: int  # cycles of each tenant in one round
    plain_each: int  # cycles in one round
    beside: dict[str, dict[str, float]] = field(default_factory=dict)
    listed: list[float] = field(default_factory=list)

    def ours(self) -> float:
        before, listed, cycles = cpu(self.stand.roots()), 0.0, self.ours_each * len(self.tenants)
        for _ in range(self.ours_each):
            self.stand.back_up(self.tenants)
            began = time.process_time()
            for tenant in self.tenants:
                assert len(readings.points(self.stand.platform, tenant)) == KEPT
            listed += time.process_time() - began
        self.listed.append(listed / cycles)
        return self._used(before, "ours", cycles=cycles)["worker"] + listed / cycles

    def by_script(self) -> float:
        before = cpu(self.stand.roots())
        used = sum(self.plain.day(self.source).cpu for _ in range(self.plain_each))
        self._used(before, "plain", cycles=self.plain_each)
        return used / self.plain_each

    def _used(self, before: Mapping[str, float], side: str, *, cycles: int) -> dict[str, float]:
        after = cpu(self.stand.roots())
        used = {name: (after[name] - before[name]) / cycles for name in before if name in after}
        of_side = self.beside.setdefault(side, dict.fromkeys(BESIDE, 0.0))
        for name in BESIDE:
            of_side[name] += used.get(name, 0.0)
        return used


def measure(stand: Stand, *, rounds: int, cycles: int) -> Daily:
    """`cycles` of ours and two of the script's in each round."""
    both = _made(stand, cycles)
    for _ in range(WARM):
        stand.back_up(both.tenants)
        both.plain.day(both.source)
    both.ours()  # the listing too is warm then
    both.beside.clear()
    both.listed.clear()
    compared = compare(both.ours, both.by_script, pairs=rounds)
    _require_restorable(both)
    key = both.plain.key()
    both.plain.clear()
    ours, plain = (_mean(both.beside[side], rounds) for side in ("ours", "plain"))
    return Daily(compared, ours, plain, statistics.median(both.listed), key)


def _made(stand: Stand, cycles: int) -> Cycles:
    tenants = []
    for number in range(TENANTS):
        folder = stand.folder / f"daily-{number}"
        data.fill(folder, files=FILES, size=FILE_BYTES, seed=f"daily-{number}")
        tenant = stand.add_tenant(f"daily-{number}")
        stand.add_folder(tenant, folder)
        tenants.append(tenant)
    plain = Plain(stand.folder / "plain-daily", stand.regions, "bench/daily/")
    plain.make()
    source = stand.folder / "daily-0"
    return Cycles(stand, tenants, plain, source, max(1, cycles // TENANTS), 2)


def _require_restorable(both: Cycles) -> None:
    """The newest point of each side, out of the second region, is what was there."""
    wanted = data.digest(both.source)
    there = both.stand.folder / "restored-daily"
    both.plain.restore(there / "plain")
    both.stand.restore(both.tenants[0], there / "ours", region=1)
    for side in ("plain", "ours"):
        if data.digest(there / side) != wanted:
            raise RuntimeError(f"The daily cycle, {side}: what came back is not what was there.")


def _mean(used: Mapping[str, float], rounds: int) -> dict[str, float]:
    return {name: seconds / rounds for name, seconds in used.items()}
