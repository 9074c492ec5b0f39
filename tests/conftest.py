"""What every test can have. The words for what the cast does are in `tests/cast.py`.

    stack         the real components, once a process: PostgreSQL, Valkey, two regions (SeaweedFS);
                  no dispatcher, no workers, no web
    template      name of a database with schema, regions and shipped plans; never touch it
    database_urls a fresh database from the template: SQLAlchemy URL by role
    runtime       a Runtime on such a database: keys and work folder of its own, a FakeClock
    clock         that clock: `clock.forward(days=1)`, `clock.stop_at(moment)`
    acme, bolt    two tenants in it
    new_database  makes a tenant's own PostgreSQL database: `new_database(script) -> SourceDatabase`
    empty_database name of a database that has roles and nothing else
    superuser     a connection to the control cluster that may do everything

A test that only needs rows costs a database (some 40 ms); regions are shared, prefixes are not.
Everything is gone afterwards, and listens on loopback only.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from strongroom import runtime as runtimes
from strongroom import schema, settings
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.settings import Settings
from strongroom.stack import ports, quarters
from strongroom.stack.embedded import Embedded
from strongroom.stack.postgres import DATABASE, make_database, make_role
from tenants.models import Tenant
from tests import made_once
from tests.cast import ACME, BOLT, ORDERS, FakeClock, SourceDatabase, add_tenant
from tests.memory import in_memory
from web import logs, parts
from web.models import METADATA
from web.stack import register

TEMPLATE = "template_of_tests"
# Test processes start their stacks at the same moment: each chooses ports from a part of its own.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SPAN = (ports.HIGHEST - ports.LOWEST) // _PROCESSES
ports.LOWEST += _SPAN * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
ports.HIGHEST = ports.LOWEST + _SPAN
# Nothing here has to survive a power cut.
HASTY = ("fsync = off", "full_page_writes = off", "synchronous_commit = off")
# Nor are its passwords worth four thousand rounds at each of a test's dozen connections.
HASTY += ("scram_iterations = 1",)
_numbers = itertools.count(1)
# A shell's background jobs ignore Ctrl-C, and what they start does so too.
signal.signal(signal.SIGINT, signal.default_int_handler)
made_once.share()
# What a slow machine does is not wrong; and what `make test` tries is the same each time, so that
# it is a change that fails and not a throw of the dice. `make test-long` goes on to search.
hypothesis.settings.register_profile(
    "calm", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "same", hypothesis.settings.get_profile("calm"), derandomize=True, database=None
)
hypothesis.settings.load_profile("calm")
# As in production; the library's own way takes half a second to draw a traceback.
logs.configure(logging.DEBUG)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") == "not long":
        hypothesis.settings.load_profile("same")


@pytest.fixture(scope="session")
def stack() -> Iterator[Embedded]:
    parent = Path(tempfile.mkdtemp(prefix="strongroom-tests-"))
    home = parent / "home"
    try:
        with in_memory() as memory, Embedded(home, regions=2) as running:
            with _connected(running) as line:
                for setting in HASTY:
                    line.execute(f"ALTER SYSTEM SET {setting}".encode())
                line.execute("SELECT pg_reload_conf()")
                _digest_again(running)
                if memory is not None:
                    _keep_in(line, memory, running)
            yield running
    finally:
        quarters.clear(home / "postgres")
        shutil.rmtree(parent)


@pytest.fixture(scope="session")
def template(stack: Embedded) -> str:
    known = _known(stack)
    with _connected(stack) as line:
        make_database(line, TEMPLATE, owner=Role.MIGRATOR, users=Role)
    urls = _urls(known, TEMPLATE)
    schema.upgrade(urls[Role.MIGRATOR], METADATA)
    register(replace(known, databases=urls), stack)
    return TEMPLATE


@pytest.fixture
def database_urls(stack: Embedded, template: str) -> Iterator[Mapping[Role, str]]:
    with _database(stack, template) as name:
        yield _urls(_known(stack), name)


@pytest.fixture
def empty_database(stack: Embedded) -> Iterator[Mapping[Role, str]]:
    with _database(stack, "template0") as name:
        yield _urls(_known(stack), name)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def empty_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where restores keep the cluster that they copy: initdb costs more than a restore does."""
    folder = tmp_path_factory.mktemp("empty-cluster")
    yield folder
    quarters.clear(folder / "cluster")


@pytest.fixture
def runtime(
    stack: Embedded,
    database_urls: Mapping[Role, str],
    tmp_path: Path,
    clock: FakeClock,
    empty_cluster: Path,
) -> Iterator[Runtime]:
    known = replace(
        _known(stack),
        databases=database_urls,
        keys=tmp_path / "keys",
        work=tmp_path / "work",
    )
    known.work.mkdir(mode=0o700)
    (known.work / "cluster-template").symlink_to(empty_cluster)
    made = replace(parts.make_runtime(known), clock=clock)
    runtimes.use(made)
    try:
        yield made
    finally:
        runtimes.use(None)
        made.database.close()
        made.app.close()
        for pointer in list(made.settings.work.rglob(quarters.POINTER)):
            quarters.clear(pointer.parent)  # clusters of restores lie elsewhere when we are root


@pytest.fixture
def acme(runtime: Runtime) -> Tenant:
    return add_tenant(runtime, ACME)


@pytest.fixture
def bolt(runtime: Runtime) -> Tenant:
    return add_tenant(runtime, BOLT)


@pytest.fixture
def new_database(stack: Embedded) -> Iterator[Callable[..., SourceDatabase]]:
    made: list[SourceDatabase] = []

    def make(script: str = ORDERS) -> SourceDatabase:
        name = f"source_{next(_numbers)}"
        port = int(stack.postgres.published()["port"])
        database = SourceDatabase(port, name, name, secrets.token_hex(8))
        with _connected(stack) as line:
            make_role(line, name, database.password)
            make_database(line, name, owner=name, users=[name])
        made.append(database)
        database.run(script)
        return database

    yield make
    with _connected(stack) as line:
        for database in made:
            _drop(line, database.name)
            line.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(database.user)))


@pytest.fixture
def superuser(stack: Embedded) -> Iterator[psycopg.Connection[Any]]:
    with _connected(stack) as line:
        yield line


def _digest_again(stack: Embedded) -> None:
    """The same passwords, kept as the setting says that is read when a session begins."""
    with _connected(stack) as line:
        for role, url in _known(stack).databases.items():
            password = sql.Literal(make_url(url).password)
            name = sql.Identifier(role)
            line.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, password))


def _keep_in(line: psycopg.Connection[Any], folder: Path, stack: Embedded) -> None:
    """Have every database that is made from now on lie in this folder."""
    assert stack.postgres.cluster is not None
    account = stack.postgres.cluster.quarters.account
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    line.execute(sql.SQL("CREATE TABLESPACE memory LOCATION {}").format(str(folder)))
    for name in ("template0", "template1"):  # what is copied lies where its model lies
        line.execute(
            sql.SQL("ALTER DATABASE {} SET TABLESPACE memory").format(sql.Identifier(name))
        )


@contextmanager
def _database(stack: Embedded, template: str) -> Iterator[str]:
    """A database that is a copy of the template, with the rights of the real one."""
    name = f"strongroom_{next(_numbers)}"
    with _connected(stack) as line:
        line.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(Role.MIGRATOR), sql.Identifier(template)
            )
        )
        # What was granted on the model is not copied; in one go, what `make_database` does.
        rights = "REVOKE ALL ON DATABASE {} FROM PUBLIC; GRANT CONNECT ON DATABASE {} TO {}"
        if template == TEMPLATE:  # by a migration
            rights += "; GRANT TEMPORARY ON DATABASE {} TO worker"
        itself, users = sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, Role))
        line.execute(sql.SQL(rights).format(itself, itself, users, itself))
    try:
        yield name
    finally:
        with _connected(stack) as line:
            _drop(line, name)


def _drop(line: psycopg.Connection[Any], name: str) -> None:
    line.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _connected(stack: Embedded) -> psycopg.Connection[Any]:
    assert stack.postgres.cluster is not None
    return stack.postgres.cluster.connect()


def _known(stack: Embedded) -> Settings:
    return settings.from_stack(json.loads(stack.home.stack.read_text()))


def _urls(known: Settings, database: str) -> Mapping[Role, str]:
    return {
        role: url.removesuffix(f"/{DATABASE}") + f"/{database}"
        for role, url in known.databases.items()
    }
