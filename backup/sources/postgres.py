"""A PostgreSQL database, or one schema of it, as a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import psycopg

from backup.sources import connection, fingerprint
from backup.sources.connection import Access, Login, MayNotRead, NoSuchSchema, Unreachable
from backup.sources.options import optional_text_of, reject_unknown, text_of
from strongroom.errors import BadValue
from strongroom.hosts import checked_port, parse_host

KIND = "postgres"
CHECK_SECONDS = 20.0
NAME_BYTES = 63  # PostgreSQL cuts longer names silently
PARAMETERS: Mapping[str, frozenset[str] | None] = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "sslrootcert": frozenset({"system"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "channel_binding": frozenset({"disable", "prefer", "require"}),
    "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby"}),
}
# Tables, sequences and schemas the user may not read; pg_dump would stop at the first of them.
CLOSED = """
SELECT n.nspname || '.' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname <> 'information_schema'
  AND n.nspname NOT LIKE 'pg\\_%%' AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
    WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
    ELSE has_table_privilege(c.oid, 'SELECT') END)
ORDER BY 1 LIMIT 4
"""


@dataclass(frozen=True)
class Postgres:
    """A database on a server, or one schema of it."""

    host: str
    port: int
    user: str
    database: str
    parameters: tuple[tuple[str, str], ...] = ()  # of the URL, known ones only
    schema: str | None = None  # None: the whole database

    @property
    def kind(self) -> str:
        return KIND

    def options(self) -> dict[str, str | list[str]]:
        """What is stored of it, and what `parse` reads."""
        stored: dict[str, str | list[str]] = {"dsn": self.url()}
        return stored if self.schema is None else stored | {"schema": self.schema}

    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = f"{quote(self.user, safe='')}@{host}:{self.port}/{quote(self.database, safe='')}"
        return f"postgresql://{place}" + (f"?{urlencode(self.parameters)}" * bool(self.parameters))

    def login(self, access: Access) -> Login:
        return Login(self.host, self.port, self.user, self.database, self.parameters, access)


@dataclass(frozen=True)
class PostgresFound:
    """What the look at adding time found."""

    server_version: int  # as PostgreSQL numbers it: 180006 is 18.6
    database_bytes: int


def parse(options: Mapping[str, object]) -> Postgres:
    """`dsn` (a URL without password) and `schema`. Connects to nothing, and never quotes the URL:
    what a typing slip moves into the wrong place may be a password."""
    reject_unknown(options, known=("dsn", "schema"), kind=KIND)
    dsn = text_of(options, "dsn")
    schema = optional_text_of(options, "schema")
    if schema is not None:
        checked_name(schema, what="--schema")
    if any(ord(sign) < 33 or ord(sign) == 127 for sign in dsn):
        raise BadValue("--dsn holds a blank or a control character. Write it as %20 and so on.")
    try:
        parts = urlsplit(dsn)
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError:
        raise _no_url() from None
    if password is not None:
        raise BadValue(
            "--dsn holds a password, which would end up in logs and process lists. Leave it out "
            "and give it with --password-file or on standard input.",
            code="password-in-dsn",
        )
    if parts.scheme not in ("postgres", "postgresql") or parts.fragment or not (host and user):
        raise _no_url()
    return Postgres(
        host=parse_host(unquote(host)),
        port=checked_port(5432 if port is None else port),
        user=checked_name(unquote(user), what="the user in --dsn"),
        database=checked_name(unquote(parts.path.removeprefix("/")), what="the database in --dsn"),
        parameters=_parameters(parts.query),
        schema=schema,
    )


def check(source: Postgres, access: Access) -> PostgresFound:
    """Sign in and look. Raises what is wrong, in words that never hold the password."""
    login = source.login(access)
    try:
        with connection.talk(login, seconds=CHECK_SECONDS + connection.PATIENCE_SECONDS) as line:
            line.execute(f"SET statement_timeout = '{CHECK_SECONDS:.0f}s'".encode())
            return _look(line, source)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unreachable(
            f"The connection to {source.host} port {source.port} broke while looking at "
            f"{source.database!r}. Try again.",
            host=source.host,
        ) from error
    except psycopg.Error as error:
        raise connection.odd(login, error) from error


def checked_name(name: str, *, what: str) -> str:
    """A name PostgreSQL can hold whole."""
    if not name or "\0" in name or len(name.encode()) > NAME_BYTES:
        raise BadValue(f"{what} is {name!r}. A name has 1 to {NAME_BYTES} bytes, and no zero byte.")
    return name


def _look(line: psycopg.Connection, source: Postgres) -> PostgresFound:
    schema = {"schema": source.schema}
    named = "SELECT 1 FROM pg_namespace WHERE nspname = %(schema)s"
    if source.schema is not None and not fingerprint.rows(line, named, schema):
        raise NoSuchSchema(
            f"Database {source.database!r} has no schema {source.schema!r}. Check --schema; "
            "capital letters count.",
            schema=source.schema,
        )
    closed = [fingerprint.text(name) for (name,) in fingerprint.rows(line, CLOSED, schema)]
    if closed:
        more = " and more" if len(closed) > 3 else ""
        raise MayNotRead(
            f"{source.user!r} may not read {', '.join(closed[:3])}{more}. "
            f"GRANT pg_read_all_data TO {source.user}, or SELECT on what is missing.",
            tables=closed[:3],
        )
    (size,) = fingerprint.only(line, "SELECT pg_database_size(current_database())")
    return PostgresFound(line.info.server_version, int(size))


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _no_url() from None
    for name, value in pairs:
        allowed = PARAMETERS.get(name)
        if allowed is None:
            known = ", ".join(PARAMETERS)
            raise BadValue(
                f"--dsn has a parameter that is not known here. Known: {known}. "
                "A password goes into --password-file."
            )
        if value not in allowed:
            raise BadValue(f"{name} in --dsn is one of {', '.join(sorted(allowed))}.")
    return tuple(sorted(dict(pairs).items()))


def _no_url() -> BadValue:
    return BadValue(
        "--dsn is not understood. Write postgresql://USER@HOST:PORT/DATABASE?sslmode=require"
    )
