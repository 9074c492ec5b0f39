"""Beside the bars: how many unchanged small tenants a queue of them lets through a second."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tenants.models import Tenant
from tests.bench import data
from tests.bench.stand import KIB, Stand
from tests.bench.usage import Load, cpu


@dataclass(frozen=True)
class Throughput:
    """Tenants a second, with two processes in the pool."""

    tenants: int
    first: float  # the first backup of each: repositories made, data copied and read back twice
    unchanged: float  # the next one
    cpu: float  # seconds of the worker for one unchanged tenant
    foreign: float  # processors that others kept busy during the second


def measure(stand: Stand, *, count: int) -> Throughput:
    tenants = []
    for number in range(count):
        folder = stand.folder / f"queue-{number}"
        data.fill(folder, files=20, size=50 * KIB, seed=f"queue-{number}")
        tenant = stand.add_tenant(f"queue-{number}")
        stand.add_folder(tenant, folder)
        tenants.append(tenant)
    first = _rate(stand, tenants)
    load, before = Load(), cpu(stand.roots())["worker"]
    unchanged = _rate(stand, tenants)
    used = (cpu(stand.roots())["worker"] - before) / count
    return Throughput(count, first, unchanged, used, load.foreign())


def _rate(stand: Stand, tenants: list[Tenant]) -> float:
    """From the first run in the queue until nothing is left to do for any."""
    began = time.monotonic()
    stand.back_up(tenants)
    return len(tenants) / (time.monotonic() - began)
