"""Bar 3: the most memory of a worker process while a dump of 2 GiB streams through, restic's own
aside; and while the point is proven, copied to the second region and proven there.

Read from the kernel (VmHWM) of each process of the pool, set back between the two parts.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backup.making import DUMP_NAME
from strongroom.stack import home as homes
from strongroom.stack import ports, quarters
from strongroom.stack.cluster import Cluster, Options
from tenants import sourcing
from tenants.models import Tenant
from tenants.sourcing import NewSource
from tests.bench import usage
from tests.bench.stand import BENCH, KIB, Stand

ROW_BYTES = 32 * KIB  # twice that in a dump: it writes bytes as hexadecimal digits


@dataclass(frozen=True)
class Memory:
    """Bytes, of the process of the pool that used most."""

    idle: int  # before, warm
    dump: int  # the most, from queued to stored
    after: int  # the most, with proof, copy and the copy's proof
    dumped: int  # size of the dump


def measure(stand: Stand, *, size: int) -> Memory:
    with served(stand, "shop") as (cluster, tenant):
        _fill(cluster, size)
        workers = stand.workers()
        idle = max(usage.memory(pid, usage.NOW) for pid in workers)
        _forget_peaks(workers)
        run = stand.request(tenant)
        stand.await_stored(tenant, run)
        dump = _peak(stand, workers)
        _forget_peaks(workers)
        stand.await_settled(tenant, run)
        after = _peak(stand, workers)
        stored = stand.newest(tenant, region=1)
        _require_same(stand, cluster, tenant)
        stand.empty(f"t/{tenant.id}/")
    return Memory(idle, dump, after, stored.bytes)


def _forget_peaks(workers: list[int]) -> None:
    for pid in workers:
        usage.forget_peak(pid)


def _peak(stand: Stand, workers: list[int]) -> int:
    if stand.workers() != workers:
        raise RuntimeError("A process of the pool was replaced while it was measured.")
    return max(usage.memory(pid) for pid in workers)


@contextmanager
def served(stand: Stand, name: str) -> Iterator[tuple[Cluster, Tenant]]:
    """A server with an empty database, which a tenant and a role of that name have."""
    place = stand.folder / "server"
    home = homes.prepare(place)
    (port,) = ports.reserve(home.ports, ports.Need("bench", fixed=True))
    cluster = Cluster(
        quarters.settle(place / "postgres"),
        password=secrets.token_hex(16),
        log=home.logs / "postgres",
        options=Options(tcp_port=port, durable=False),
    )
    cluster.create()
    cluster.start()
    try:
        password = secrets.token_hex(16)
        with cluster.connect() as line:
            line.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
            line.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
        tenant = stand.add_tenant(name)
        options = {"dsn": f"postgresql://{name}@127.0.0.1:{port}/{name}"}
        new = NewSource("postgres", name, options, password.encode())
        sourcing.add(stand.platform, tenant, new, by=BENCH)
        yield cluster, tenant
    finally:
        cluster.stop()
        quarters.clear(place / "postgres")
        shutil.rmtree(place, ignore_errors=True)


def _fill(cluster: Cluster, size: int) -> None:
    """A table whose dump has `size` bytes, half of them news to any compression."""
    with cluster.connect("shop") as line:
        line.execute("CREATE UNLOGGED TABLE scans (id integer PRIMARY KEY, image bytea)")
        line.execute("ALTER TABLE scans ALTER image SET STORAGE EXTERNAL")
        line.execute("ALTER TABLE scans OWNER TO shop")
        with line.cursor().copy("COPY scans FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "bytea"])
            for number in range(size // (2 * ROW_BYTES)):
                copy.write_row((number, os.urandom(ROW_BYTES)))
        line.execute("ANALYZE scans")


def _require_same(stand: Stand, cluster: Cluster, tenant: Tenant) -> None:
    """The rows of the dump in the second region are those of the database."""
    found, wanted = hashlib.sha256(), hashlib.sha256()
    path = stand.folder / "back.dump"
    with path.open("wb") as file:
        stand.dump(tenant, DUMP_NAME, file, region=1)
    program = [str(quarters.bin_folder() / "pg_restore"), "--data-only", "-f", "-", str(path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        inside = False
        for row in child.stdout:
            if inside and row.startswith(b"\\."):
                break
            if inside:
                found.update(row)
            inside = inside or row.startswith(b"COPY public.scans")
        for _ in child.stdout:
            pass
    with cluster.connect("shop") as line, line.cursor().copy("COPY scans TO STDOUT") as copy:
        for piece in copy:
            wanted.update(piece)
    path.unlink()
    if found.digest() != wanted.digest():
        raise RuntimeError("The dump: what came back is not what was there.")
