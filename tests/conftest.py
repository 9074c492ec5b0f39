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
from typing import Any, ClassVar

import psycopg
import pytest
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from psycopg import sql

from strongroom import runtime as runtimes
from strongroom import schema, settings
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.settings import Settings
from strongroom.stack import ports, quarters
from strongroom.stack.embedded import Embedded
from strongroom.stack.postgres import DATABASE, make_database, make_role
from tenants.models import Tenant
from tests.cast import ACME, BOLT, ORDERS, FakeClock, SourceDatabase, add_tenant
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
_numbers = itertools.count(1)
# A shell's background jobs ignore Ctrl-C, and what they start does so too.
signal.signal(signal.SIGINT, signal.default_int_handler)


class _Compiled(BytecodeCache):
    """Each test makes an application of its own; none has to compile the templates again."""

    kept: ClassVar[dict[str, bytes]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": _Compiled()}
# As in production; the library's own way takes half a second to draw a traceback.
logs.configure(logging.DEBUG)


@pytest.fixture(scope="session")
def stack() -> Iterator[Embedded]:
    parent = Path(tempfile.mkdtemp(prefix="strongroom-tests-"))
    home = parent / "home"
    try:
        with Embedded(home, regions=2) as running:
            with _connected(running) as line:
                for setting in HASTY:
                    line.execute(f"ALTER SYSTEM SET {setting}".encode())
                line.execute("SELECT pg_reload_conf()")
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


@pytest.fixture
def runtime(
    stack: Embedded, database_urls: Mapping[Role, str], tmp_path: Path, clock: FakeClock
) -> Iterator[Runtime]:
    known = replace(
        _known(stack),
        databases=database_urls,
        keys=tmp_path / "keys",
        work=tmp_path / "work",
    )
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


@contextmanager
def _database(stack: Embedded, template: str) -> Iterator[str]:
    """A database that is a copy of the template, with the rights of the real one."""
    name = f"strongroom_{next(_numbers)}"
    with _connected(stack) as line:
        line.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(Role.MIGRATOR), sql.Identifier(template)
            )
        )
        make_database(line, name, owner=Role.MIGRATOR, users=Role)
        if template == TEMPLATE:  # what a migration grants on its database is not copied
            line.execute(
                sql.SQL("GRANT TEMPORARY ON DATABASE {} TO worker").format(sql.Identifier(name))
            )
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
