"""The embedded control database: one cluster, its roles, and the database they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from strongroom.db import Role
from strongroom.stack import ports, quarters
from strongroom.stack.cluster import Cluster, ClusterError, Options
from strongroom.stack.home import Home, find_stack

DATABASE = "strongroom"
ATTEMPTS = 3  # of starting on another port, should one be lost in between


class Postgres:
    """PostgreSQL of a home, as a component of its stack."""

    name = "postgres"

    def __init__(
        self, home: Home, *, account: str = quarters.DEFAULT_ACCOUNT, options: Options | None = None
    ) -> None:
        self._home = home
        self._account = account
        self._options = options or Options()
        self.cluster: Cluster | None = None

    def start(self) -> None:
        """Serve with roles and database in place; made at the first start."""
        cluster = self.cluster = self._served(ATTEMPTS)
        try:
            self._prepare(cluster)
        except BaseException:
            cluster.stop()
            raise

    def stop(self) -> None:
        if self.cluster is not None:
            self.cluster.stop()

    def alive(self) -> bool:
        return self.cluster is not None and self.cluster.alive()

    def url(self, role: str, database: str = DATABASE) -> str:
        """A libpq URL with the role's password; `postgres` is the superuser."""
        assert self.cluster is not None, "the server has to be started first"
        if role == self.cluster.options.superuser:
            return self.cluster.superuser_url(database)
        return self.cluster.url(role, self._home.secret(f"postgres-{role}"), database)

    def published(self) -> Mapping[str, str]:
        """What others may know of the server itself; no secret."""
        assert self.cluster is not None, "the server has to be started first"
        place = self.cluster.quarters
        return {
            "port": str(self.cluster.options.tcp_port),
            "socket": str(place.socket),
            "data": str(place.data),
            "programs": str(place.programs),
        }

    def _served(self, attempts: int) -> Cluster:
        """A running cluster, on another port if somebody was quicker to take the first."""
        cluster = self._cluster()
        cluster.create()
        try:
            cluster.start()
        except ClusterError:
            port = cluster.options.tcp_port
            if attempts <= 1 or port is None or ports.is_free(port):
                raise
            return self._served(attempts - 1)
        return cluster

    def _cluster(self) -> Cluster:
        (port,) = ports.reserve(self._home.ports, ports.Need(self.name))
        return Cluster(
            quarters.settle(self._home.path / "postgres", account=self._account),
            password=self._home.secret("postgres-superuser"),
            log=self._home.logs / "postgres.log",
            options=Options(
                superuser=self._options.superuser,
                tcp_port=port,
                settings=self._options.settings,
                durable=self._options.durable,
            ),
        )

    def _prepare(self, cluster: Cluster) -> None:
        with cluster.connect() as connection:
            passwords = {role: self._home.secret(f"postgres-{role}") for role in Role}
            for role, password in passwords.items():
                make_role(connection, role, password, bypass_rls=role is Role.DUMPER)
            make_database(connection, DATABASE, owner=Role.MIGRATOR, users=Role)
            _close_to_public(connection, "postgres")


def make_role(
    connection: psycopg.Connection[Any], role: str, password: str, *, bypass_rls: bool = False
) -> None:
    """A role that may log in and nothing else; one that is there gets these rights and password.

    The server only ever sees the verifier, so that the password can be in no log of its.
    """
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL(
            "{verb} ROLE {role} LOGIN NOSUPERUSER {bypass} NOCREATEDB NOCREATEROLE "
            "NOREPLICATION PASSWORD {verifier}"
        ).format(
            verb=sql.SQL("ALTER" if known else "CREATE"),
            bypass=sql.SQL("BYPASSRLS" if bypass_rls else "NOBYPASSRLS"),
            role=sql.Identifier(role),
            verifier=sql.Literal(verifier),
        )
    )


def make_database(
    connection: psycopg.Connection[Any], name: str, *, owner: str, users: Iterable[str]
) -> None:
    """A database that only these roles may enter; fine if it is there."""
    known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
    if not known:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
    _close_to_public(connection, name)
    for user in users:
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(name), sql.Identifier(user)
            )
        )


def superuser_url(home: Path) -> str:
    """For commands beside a running stack that set up databases, such as the demo.

    Raises what `find_stack` raises.
    """
    port = find_stack(home)["postgres"]["port"]
    secret = (home / "secrets" / "postgres-superuser").read_text()
    return f"postgresql://postgres:{secret}@127.0.0.1:{port}/postgres"


def _close_to_public(connection: psycopg.Connection[Any], database: str) -> None:
    connection.execute(
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
    )
