"""A database of its own on the stand's cluster, so that no dispatcher takes its rows for real ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from strongroom import schema
from strongroom.db import Database, Role
from strongroom.runtime import Runtime
from strongroom.stack.postgres import make_database
from tests.bench.stand import Stand
from web.models import METADATA
from web.stack import register


@dataclass
class Apart:
    """The database, and how long filling it took."""

    stand: Stand
    name: str
    platform: Runtime
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[what] = round(time.monotonic() - began, 1)

    @contextmanager
    def filling(self, tables: Sequence[str]) -> Iterator[Session]:
        """As superuser: no checks of keys row by row, and indexes are built when all is there."""
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: superuser(self.stand, self.name)
        )
        with engine.connect() as line, Session(line) as session:
            session.execute(text("set session_replication_role = replica"))
            session.execute(text("set maintenance_work_mem = '512MB'"))
            made = session.execute(
                text(
                    "select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as made "
                    "from pg_index left join pg_constraint c on c.conindid = indexrelid "
                    "where indrelid = any(cast(:tables as regclass[])) and c.oid is null"
                ),
                {"tables": list(tables)},
            ).all()
            for row in made:
                session.execute(text(f"drop index {row.name}"))
            yield session
            for row in made:
                session.execute(text(row.made))
            session.commit()
        engine.dispose()

    def settled(self, tables: Sequence[str]) -> tuple[dict[str, int], dict[str, float]]:
        """Rows, and megabytes with indexes, of tables that are ready to be asked."""
        rows, sizes = {}, {}
        with superuser(self.stand, self.name) as line:
            line.execute(b"vacuum analyze")
            for table in tables:
                (count,) = _one(line, f"select count(*) from {table}")
                (size,) = _one(line, f"select pg_total_relation_size('{table}')")
                rows[table], sizes[table] = int(count), round(int(size) / 1e6, 1)
        return rows, sizes


@contextmanager
def apart(stand: Stand, name: str) -> Iterator[Apart]:
    known = stand.platform.settings
    with superuser(stand) as line:
        make_database(line, name, owner=Role.MIGRATOR, users=Role)
    urls = {
        role: make_url(url).set(database=name).render_as_string(hide_password=False)
        for role, url in known.databases.items()
    }
    schema.upgrade(urls[Role.MIGRATOR], METADATA)
    register(replace(known, databases=urls), stand.running.stack)
    platform = replace(stand.platform, database=Database(urls))
    try:
        yield Apart(stand, name, platform)
    finally:
        platform.database.close()
        with superuser(stand) as line:
            line.execute(f"drop database {name} with (force)".encode())


def superuser(stand: Stand, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    cluster = stand.running.stack.postgres.cluster
    assert cluster is not None
    return cluster.connect(database)


def _one(line: psycopg.Connection[tuple[object, ...]], query: str) -> tuple[int, ...]:
    row = line.execute(query.encode()).fetchone()
    assert row is not None
    return tuple(int(str(each)) for each in row)
