"""Bar 5: a rehearsed restore against the plain one it contains, wall time from asking to the end.

A database: `restic dump | pg_restore` into a throw-away cluster of the same kind, started and ended
too, with the options that pg_restore needs to load a dump without its owners. A folder: `restic
restore` into an empty one, removed afterwards. Both sides read from the first region without a
cache. The drill adds its row, credentials of its own, the comparison of every row or path, and
the record.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import select

from backup import repositories
from backup.making import DUMP_NAME, PROCESSORS_OF_LARGE
from backup.models import PointSource, Snapshot
from backup.restic import commands
from backup.restic.calls import Repository as ResticRepository
from backup.restic.calls import Surroundings
from backup.restic.flags import RestoreOrder
from backup.sources import manifest
from backup.sources.manifest import Manifest
from restore import fetching, scratch
from restore.models import Drill
from restore.rehearsed import drills
from restore.scratch import Budget, Scratch
from restore.states import DrillState
from strongroom.db import Role
from strongroom.storage import Act
from tenants.models import Tenant
from tests.bench import data
from tests.bench.memory import served
from tests.bench.pairs import Compared, compare
from tests.bench.stand import BENCH, ONE_REGION, PATIENCE, Stand

FILE_BYTES = 256 * 1024
SHORTEST = 0.05  # seconds: a shorter restore is on record as none
ROW_BYTES = 190  # of the tables below, about, as a dump writes them
TABLES = """
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, email text, note text);
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers,
    amount numeric(12, 3), placed timestamptz, words text);
CREATE TABLE lines (id bigint PRIMARY KEY, ordered integer REFERENCES orders, what text,
    quantity integer, price numeric(12, 3));
CREATE TABLE letters (id integer PRIMARY KEY, body text);
INSERT INTO customers SELECT n, 'name ' || n, md5(n::text) || '@example.com',
    repeat(md5(n::text), 3) FROM generate_series(1, {n} / 10) n;
INSERT INTO orders SELECT n, 1 + n % ({n} / 10), n * 1.125, now(), md5(n::text) || md5((-n)::text)
    FROM generate_series(1, {n} / 2) n;
INSERT INTO lines SELECT n, 1 + n % ({n} / 2), md5(n::text), n % 7, n * 0.5
    FROM generate_series(1, {n}) n;
INSERT INTO letters SELECT n, (SELECT string_agg(md5((n * k)::text), '')
    FROM generate_series(1, 60) k) FROM generate_series(1, {n} / 40) n;
CREATE INDEX ON orders (customer); CREATE INDEX ON orders (placed); CREATE INDEX ON lines (ordered)
"""


@dataclass
class Runs:
    """Both sides of one source."""

    stand: Stand
    tenant: Tenant
    point: UUID
    contained: list[float] = field(default_factory=list)  # times the restore in the drill itself

    def ours(self) -> float:
        """As a worker does it, from the row being there to its end."""
        platform, snapshot = self.stand.platform, self.stand.newest(self.tenant, region=0)
        of, now = (self.tenant.id, self.point), platform.now()
        with platform.database.session(Role.OPERATOR, tenant=self.tenant.id) as session:
            row = drills.add(session, of, snapshot.repository_id, by="bench", actor=BENCH, at=now)
            row.nudged_at = now  # it is ours: no worker is to be rung for
        began = time.monotonic()
        drills.carry_out(platform, self.tenant.id, row.id)
        seconds = time.monotonic() - began
        with platform.database.session(Role.OPERATOR, tenant=self.tenant.id) as session:
            ended = session.get_one(Drill, row.id)
        if ended.state is not DrillState.PASSED or ended.restore_seconds is None:
            raise RuntimeError(f"The drill is {ended.state}: {ended.failure}")
        self.contained.append(seconds / max(ended.restore_seconds, SHORTEST))
        return seconds

    def folder_by_hand(self) -> float:
        target = self.stand.folder / "restored"
        began = time.monotonic()
        repository, here, snapshot = self._opened()
        target.mkdir()
        commands.restore(repository, here, RestoreOrder(snapshot.restic_id, target / "data"))
        shutil.rmtree(target)
        return time.monotonic() - began

    def database_by_hand(self) -> float:
        expected = self._manifest()
        began = time.monotonic()
        with scratch.cluster(fetching.place(self.stand.platform), Budget(), expected) as cluster:
            self._pipe(cluster)
        return time.monotonic() - began

    def _pipe(self, cluster: Scratch) -> None:
        """pg_restore with its own settings: table by table, each in a transaction of its own."""
        repository, here, snapshot = self._opened()
        reading, writing = os.pipe()

        def fetch() -> None:
            with os.fdopen(writing, "wb") as pipe:
                commands.dump(
                    repository, here, snapshot=snapshot.restic_id, path=DUMP_NAME, to=pipe
                )

        with ThreadPoolExecutor(1) as pool:
            fetched = pool.submit(fetch)
            try:
                scratch.load(cluster, reading, piecemeal=True)
            finally:
                os.close(reading)
            fetched.result()

    def _opened(self) -> tuple[ResticRepository, Surroundings, Snapshot]:
        found = self.stand.newest(self.tenant, region=0)
        site = repositories.site(self.stand.platform, found.tenant_id, found.repository_id)
        here = repositories.surroundings(self.stand.platform, site.row.id, seconds=PATIENCE)
        here = replace(here, processors=PROCESSORS_OF_LARGE)
        return replace(site.restic(Act.READ), cache=None), here, found

    def _manifest(self) -> Manifest:
        with self.stand.platform.database.session(Role.WORKER, tenant=self.tenant.id) as session:
            body = session.execute(
                select(PointSource.manifest).where(PointSource.point_id == self.point)
            ).scalar_one()
        return manifest.from_json(json.dumps(body))


@dataclass(frozen=True)
class Measured:
    """Both kinds of source."""

    database: Compared
    folder: Compared
    contained: tuple[float, float]  # medians: the drill to the restore in it, database and folder
    bytes: tuple[int, int]


def measure(stand: Stand, *, pairs: int, size: int) -> Measured:
    database, contained, dumped = _of_database(stand, pairs=pairs, size=size)
    folder = stand.folder / "letters"
    data.fill(folder, files=size // FILE_BYTES, size=FILE_BYTES, seed="drill")
    tenant = stand.add_tenant("drill-folder", plan=ONE_REGION)
    stand.add_folder(tenant, folder)
    runs = _stored(stand, tenant)
    runs.folder_by_hand(), runs.ours()
    compared = compare(runs.ours, runs.folder_by_hand, pairs=pairs)
    stand.empty(f"t/{tenant.id}/")
    shutil.rmtree(folder)
    contained_too = statistics.median(runs.contained)
    return Measured(database, compared, (contained, contained_too), (dumped, size))


def _of_database(stand: Stand, *, pairs: int, size: int) -> tuple[Compared, float, int]:
    with served(stand, "drill") as (cluster, tenant):
        with cluster.connect("drill") as line:
            line.execute("SET ROLE drill")
            line.execute(TABLES.replace("{n}", str(size // ROW_BYTES)).encode())
        runs = _stored(stand, tenant)
        runs.database_by_hand(), runs.ours()
        compared = compare(runs.ours, runs.database_by_hand, pairs=pairs)
        dumped = stand.newest(tenant, region=0).bytes
        stand.empty(f"t/{tenant.id}/")
    return compared, statistics.median(runs.contained), dumped


def _stored(stand: Stand, tenant: Tenant) -> Runs:
    run = stand.request(tenant)
    stand.await_settled(tenant, run)
    return Runs(stand, tenant, run)
