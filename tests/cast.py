"""Who plays in the tests, and what they do: Acme owns, Bolt is another tenant who must see nothing.

acme, bolt               tenants.onboarding.add: plan starter, two regions each
ADA, BEN                 operators
FakeClock                business time that a test sets; leases keep the database's clock
add_folder, add_database sources of a tenant, by the same service as the command line
queue                    a run that somebody asked for: its id
carry_out                that run in this process, as a worker would: point, copies, proofs
back_up                  both, and a point is expected
counts                   rows of every table
alive                    every part of the platform gives a sign of life
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import select, text

from backup import planning, runs, tasks
from backup.models import BackupRun, Point, Source
from backup.planning import Order
from backup.states import Trigger
from strongroom import heartbeats
from strongroom.actors import Actor, ActorKind
from strongroom.db import Base, Role
from strongroom.lifecycle import database_now
from strongroom.looks import KEYS, Look, name_of
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants import onboarding, sourcing
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tenants.sourcing import NewSource
from web.footing import PARTS
from web.models import METADATA

ADA = Actor(ActorKind.OPERATOR, "ada")
BEN = Actor(ActorKind.OPERATOR, "ben")
ACME = NewTenant("acme", "Acme Trading", "starter", "Asia/Dubai", "AE", "en")
BOLT = NewTenant("bolt", "بولت للنقل", "starter", "Africa/Cairo", "EG", "ar-EG")
PERSONAL = {
    mapper.local_table.name
    for mapper in Base.registry.mappers
    if mapper.class_.__module__ == "strongroom.people.models"
}
COUNTS = {  # one question a role: asked for table by table they were a tenth of all tests' time
    role: " UNION ALL ".join(
        f"SELECT '{table.name}', count(*) FROM {table.name}"
        for table in METADATA.sorted_tables
        if (table.name in PERSONAL) is (role is Role.PEOPLE)
    )
    for role in (Role.OPERATOR, Role.PEOPLE)
}
ORDERS = """
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (
    id integer PRIMARY KEY, customer integer REFERENCES customers, amount numeric(12, 3));
INSERT INTO customers SELECT n, 'عميل ' || n FROM generate_series(1, 20) n;
INSERT INTO orders SELECT n, 1 + n % 20, n * 1.125 FROM generate_series(1, 500) n;
"""


class FakeClock:
    """Real time until it is moved or stopped; removal refuses when it is off by over 5 minutes."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        return self._stopped or datetime.now(UTC) + self._ahead

    def forward(self, **by: float) -> datetime:
        """On by so much, given as timedelta's words; goes on from there, or stays stopped."""
        step = timedelta(**by)
        if self._stopped is not None:
            self._stopped += step
        else:
            self._ahead += step
        return self()

    def stop_at(self, moment: datetime) -> datetime:
        self._stopped = moment
        return moment


@dataclass(frozen=True)
class SourceDatabase:
    """A database of a tenant's own on the embedded server, with a role that owns it."""

    port: int
    name: str
    user: str
    password: str = field(repr=False)

    @property
    def dsn(self) -> str:
        """Without a password, as a source wants it."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.name}"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.dsn, password=self.password, autocommit=True)

    def run(self, script: str) -> None:
        with self.connect() as line:
            line.execute(script.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connect() as line:
            return line.execute(query.encode()).fetchall()


def add_tenant(runtime: Runtime, new: NewTenant) -> Tenant:
    return onboarding.add(runtime, new, by=ADA)


def add_folder(runtime: Runtime, tenant: Tenant, folder: Path, *, name: str = "files") -> Source:
    """The folder as a source; made with a few files in it if it is not there."""
    if not folder.exists():
        fill(folder)
    new = NewSource("directory", name, {"path": str(folder)})
    return sourcing.add(runtime, tenant, new, by=ADA)


def add_database(
    runtime: Runtime, tenant: Tenant, database: SourceDatabase, *, name: str = "orders"
) -> Source:
    new = NewSource("postgres", name, {"dsn": database.dsn}, database.password.encode())
    return sourcing.add(runtime, tenant, new, by=ADA)


def fill(folder: Path, *, files: int = 3, words: str = "ledger") -> None:
    """Some small files, the same for the same words; one with an Arabic name, one in a folder."""
    (folder / "letters").mkdir(parents=True, exist_ok=True)
    (folder / "فاتورة.txt").write_text(f"{words}\n", encoding="utf-8")
    for number in range(files):
        (folder / "letters" / f"{number}.txt").write_text(f"{words} {number}\n" * 50)


def queue(
    runtime: Runtime, tenant: Tenant, *, trigger: Trigger = Trigger.MANUAL, full: bool = False
) -> uuid.UUID:
    order = Order(trigger, ADA, runtime.now(), full=full)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return planning.request_run(session, tenant.id, order).id


def carry_out(runtime: Runtime, tenant: Tenant, run_id: uuid.UUID) -> Point | None:
    """As the task does it; None when the run made no point."""
    point = runs.make(runtime, tenant.id, run_id)
    if point is not None:
        tasks.follow(runtime, point)
    return point


def back_up(
    runtime: Runtime, tenant: Tenant, *, trigger: Trigger = Trigger.MANUAL, full: bool = False
) -> Point:
    run_id = queue(runtime, tenant, trigger=trigger, full=full)
    point = carry_out(runtime, tenant, run_id)
    assert point is not None, run_of(runtime, tenant, run_id).failure
    return point


def run_of(runtime: Runtime, tenant: Tenant, run_id: uuid.UUID) -> BackupRun:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return session.get_one(BackupRun, run_id)


def rows_of(runtime: Runtime, tenant: Tenant, kind: Any, *conditions: Any) -> list[Any]:
    """All rows of a model that the tenant has, oldest id first, as a worker sees them."""
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        found = session.query(kind).filter(*conditions).order_by(kind.id)
        return list(found)


def counts(runtime: Runtime) -> dict[str, int]:
    """Rows of every table."""
    found = {}
    for role, query in COUNTS.items():
        with runtime.database.session(role) as session:
            found |= dict(session.execute(text(query)).all())
    return found


def alive(runtime: Runtime) -> None:
    """Every part of the platform gives a sign of life, now, and finds what it looks at good."""
    with runtime.database.session(Role.OPERATOR) as session:
        heartbeats.beat(session, *(name for names in PARTS.values() for name in names))
        now = database_now(session)
        for what in (KEYS, *map(name_of, session.execute(select(Region)).scalars())):
            session.merge(Look(what=what, at=now, good_at=now, seconds=0.1))
