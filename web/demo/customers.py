"""Where the demo's tenants live: a database server and folders of their own, outside the home."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from strongroom.stack import ports, quarters
from strongroom.stack.cluster import Cluster, Options
from strongroom.stack.home import Home, prepare

NAME = "customers"


def folder_of(home: Path) -> Path:
    """Beside the home: what lies inside it is no source."""
    return home.with_name(f"{home.name}-customers")


@dataclass(frozen=True)
class Login:
    """One tenant's own user of the customers' server."""

    role: str
    password: str
    dsn: str  # without the password


class Customers:
    """The customers' database server, as a component beside the stack; and their folders."""

    name = NAME

    def __init__(self, home: Path) -> None:
        self.path = folder_of(home)
        self._home: Home = prepare(self.path)
        self._cluster: Cluster | None = None

    def start(self) -> None:
        (port,) = ports.reserve(self._home.ports, ports.Need(NAME, fixed=True))
        options = Options(tcp_port=port, settings={"max_wal_size": "512MB"})
        self._cluster = Cluster(
            quarters.settle(self.path / "postgres"),
            password=self._home.secret("postgres"),
            log=self._home.logs / "postgres",
            options=options,
        )
        self._cluster.create()
        self._cluster.start()

    def stop(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()

    def alive(self) -> bool:
        return self._cluster is not None and self._cluster.alive()

    def files(self, name: str) -> Path:
        """A tenant's folder, made if it is not there."""
        path = self.path / "files" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def make_database(self, name: str) -> Login:
        """A database with an owner of its own, who may make databases: for restores aside."""
        password = self._home.secret(f"role-{name}")
        with self._server().connect() as connection:
            words = {"role": sql.Identifier(name), "password": sql.Literal(password)}
            connection.execute(
                sql.SQL("CREATE ROLE {role} LOGIN CREATEDB PASSWORD {password}").format(**words)
            )
            connection.execute(sql.SQL("CREATE DATABASE {role} OWNER {role}").format(**words))
        port = self._server().options.tcp_port
        return Login(name, password, f"postgresql://{name}@127.0.0.1:{port}/{name}")

    @contextmanager
    def connect(self, login: Login, database: str | None = None) -> Iterator[Connection[Any]]:
        """As the tenant itself."""
        with psycopg.connect(
            login.dsn, password=login.password, dbname=database or login.role, autocommit=True
        ) as connection:
            yield connection

    def _server(self) -> Cluster:
        assert self._cluster is not None, "start it first"
        return self._cluster


def clear(home: Path) -> None:
    """Remove everything of an earlier demo beside this home."""
    path = folder_of(home)
    if path.exists():
        quarters.clear(path / "postgres")
        shutil.rmtree(path)
