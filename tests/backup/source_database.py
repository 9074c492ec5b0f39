"""One PostgreSQL for the tests of a module, with databases of a small business in it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from backup.sources import dump
from backup.sources.connection import Access
from backup.sources.postgres import Postgres
from strongroom.stack import ports, quarters
from strongroom.stack.cluster import Cluster, Options

SUPERUSER = "ada"
PASSWORD = "chalk:on\\slate"  # what a password file has to escape
BUSINESS = """
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE TABLE customers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
    feels mood DEFAULT 'calm', loud text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE invoices (
    id serial PRIMARY KEY, customer integer NOT NULL REFERENCES customers ON DELETE CASCADE,
    amount numeric(12, 3) CHECK (amount >= 0), issued timestamptz DEFAULT '2026-01-05 10:00+02',
    rate double precision DEFAULT 0.1, scan bytea DEFAULT '\\x00ff');
CREATE TABLE audit (line text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END$$;
CREATE VIEW totals AS SELECT customer, sum(amount) AS amount FROM invoices GROUP BY customer;
INSERT INTO customers (name) SELECT 'عميل ' || n FROM generate_series(1, 20) n;
INSERT INTO invoices (customer, amount) SELECT 1 + n % 20, n FROM generate_series(1, 200) n;
CREATE TRIGGER noted AFTER INSERT OR DELETE ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION note();
"""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """A running server and how tests speak to it."""

    cluster: Cluster
    port: int
    programs: Path  # pg_dump and its siblings, for ourselves

    @property
    def access(self) -> Access:
        return Access(PASSWORD.encode(), "127.0.0.1")

    def source(
        self, database: str, *, schema: str | None = None, user: str = SUPERUSER
    ) -> Postgres:
        return Postgres("localhost", self.port, user, database, (), schema)

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return self.cluster.connect(database)

    def business(self, *, script: str = BUSINESS) -> str:
        """The name of a fresh database with the script run in it."""
        name = f"business_{next(_numbers)}"
        with self.connect("postgres") as line:
            line.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self.run(name, script)
        return name

    def run(self, database: str, script: str) -> None:
        with self.connect(database) as line:
            line.execute(script.encode())

    def rows(self, database: str, query: str) -> list[tuple[object, ...]]:
        with self.connect(database) as line:
            return line.execute(query.encode()).fetchall()

    def databases(self) -> set[str]:
        return {str(row[0]) for row in self.rows("postgres", "SELECT datname FROM pg_database")}


@contextmanager
def serving() -> Iterator[Server]:
    """A server on loopback that is gone, with its data, afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-sources-"))
    folder.chmod(0o711)  # the account without rights has to pass through
    (port,) = ports.choose(1)  # outside of what outgoing connections take
    options = Options(superuser=SUPERUSER, tcp_port=port, durable=False)
    cluster = Cluster(
        quarters.settle(folder / "server"),
        password=PASSWORD,
        log=folder / "server.log",
        options=options,
    )
    try:
        cluster.create()
        cluster.start()
        yield Server(cluster, port, quarters.bin_folder())
    finally:
        cluster.stop()
        quarters.clear(folder / "server")
        shutil.rmtree(folder)


def take_dump(server: Server, source: Postgres, to: Path) -> dump.Verdict:
    """Through a pipe, as in life, into a file."""
    reading, writing = os.pipe()

    def keep() -> None:
        with os.fdopen(reading, "rb") as stream, to.open("wb") as file:
            shutil.copyfileobj(stream, file)

    reader = threading.Thread(target=keep)
    reader.start()
    tools = dump.Tools(server.programs, timeout=60)
    verdict = dump.take(source, server.access, into=writing, tools=tools)
    reader.join()
    return verdict
