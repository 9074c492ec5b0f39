"""From a proven scratch database into a live server: aside, or in place of what is there.

Data is always loaded beside the live thing first, compared with the manifest there, and only then
named. In place is one transaction of two renames, so that at every moment there is wholly the old
or wholly the new; the old is set aside as `<name>_before_<stamp>`, never dropped.

What comes back: all that the dump holds. What stays as it is now: who may do what (`grants.py`),
and of the live database its owner, comment, connection limit and settings. Event triggers,
publications, subscriptions, default privileges and tablespaces are not restored. A schema that is
restored aside keeps its old name in the bodies of functions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE

import psycopg
from psycopg import sql

from backup.sources import connection, fingerprint, manifest
from backup.sources.connection import Login, NoSuchDatabase, password_file
from backup.sources.fingerprint import Line
from backup.sources.manifest import Manifest
from restore import grants, scratch
from restore.errors import NotAsItWas, NotSwapped, Unsafe, WillNotLoad
from restore.scratch import Scratch
from strongroom import program
from strongroom.errors import BadValue, StrongroomError
from strongroom.program import Command, Finished

NAME_BYTES = 63  # PostgreSQL cuts what is longer
SWAP_ATTEMPTS = 5  # each waits 5 seconds for sessions to end, which is PostgreSQL's own patience
RIGHTS_SECONDS = 60.0  # to say what a user may do
STEP_SECONDS = 3600.0  # for a step that moves no rows, until we hang up
PAUSE = 0.05  # seconds between two rounds of ending sessions
OURS = "strongroom: being loaded\n"  # a comment that begins so tells our unfinished work
RIGHTS = """
SELECT r.rolsuper, r.rolsuper OR r.rolcreatedb,
  (SELECT pg_has_role(d.datdba, 'USAGE') FROM pg_database d WHERE d.datname = %(database)s)
FROM pg_roles r WHERE r.rolname = current_user
"""
SCHEMA_RIGHTS = """
SELECT has_database_privilege(current_database(), 'CREATE'),
  (SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace n WHERE n.nspname = %(schema)s)
"""
DATABASE = """
SELECT pg_get_userbyid(d.datdba), d.datconnlimit, d.datallowconn,
  shobj_description(d.oid, 'pg_database'),
  (SELECT coalesce(array_agg(unnested), '{}') FROM pg_db_role_setting s,
    unnest(s.setconfig) unnested WHERE s.setdatabase = d.oid AND s.setrole = 0),
  (SELECT coalesce(array_agg(ARRAY[r.rolname::text, a.privilege_type,
      CASE WHEN a.is_grantable THEN 'yes' END]), '{}')
    FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee)
FROM pg_database d WHERE d.datname = %s
"""
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()"


@dataclass(frozen=True)
class Begun:
    """What is being loaded beside the live thing, under a name that nobody uses yet."""

    name: str  # of the new database, or of the new schema in the live database
    schema: str | None  # None: a database; else the name the schema had in the dump


@dataclass(frozen=True)
class Landed(Begun):
    """What was loaded there, and proven."""

    found: Manifest


@dataclass(frozen=True)
class Swapped:
    """What an exchange left."""

    live: str  # the name that was asked for: now the restored data
    before: str | None  # where the old data is now; None when there was none


def stamped(name: str, what: str, at: datetime) -> str:
    """`erp_restored_20260105_083000`, the name cut so that it fits; `at` is aware."""
    if at.tzinfo is None:
        raise BadValue("The time of a restore has to name its zone.")
    tail = f"_{what}_{at:%Y%m%d_%H%M%S}"
    head = name.encode()[: NAME_BYTES - len(tail.encode())].decode(errors="ignore")
    return head + tail


def look(live: Login, *, schema: str | None = None, seconds: float = 3600.0) -> Manifest:
    """The manifest of what is live now; changes nothing."""
    with connection.talk(live, seconds=seconds + connection.PATIENCE_SECONDS) as line:
        line.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        line.read_only = True
        fingerprint.fix(line, statement_seconds=seconds)
        return fingerprint.take(line, schema=schema)


def check(live: Login, *, schema: str | None, in_place: bool) -> None:
    """Raises Unsafe when this user could not carry the restore through; says the remedy."""
    if schema is None:
        _check_server(live, in_place=in_place)
    else:
        _check_schema(live, schema, in_place=in_place)


def load(
    source: Scratch,
    live: Login,
    expected: Manifest,
    *,
    at: datetime,
    stop: threading.Event | None = None,
) -> Landed:
    """Copy the scratch database beside the live one, and prove it there.

    Whatever fails, what was begun is removed. Raises WillNotLoad or NotAsItWas, and Stopped.
    """
    whole = expected.schema is None
    name = stamped(expected.schema or live.database, "loading", at)
    landed = Landed(name, expected.schema, expected)
    with _said(live):
        if whole:
            _create_database(live, name, expected)
        else:
            _rename_in_scratch(source, landed)
    with _said(live), _undone(lambda: discard(live, landed)):
        target = live.to(name) if whole else live
        _pour(source, target, [] if whole else ["--single-transaction"], stop)
        found = look(target, schema=None if whole else name, seconds=source.budget.seconds)
        wanted = expected if whole else manifest.under(expected, name)
        if differences := manifest.compare(wanted, found):
            raise NotAsItWas.of(differences)
    return landed


def aside(live: Login, landed: Landed, *, at: datetime) -> str:
    """Give what was loaded its lasting name, `<name>_restored_<stamp>`, and say it."""
    name = stamped(landed.schema or live.database, "restored", at)
    with _said(live), _beside(live, landed) as line, line.transaction():
        line.execute(_rename(landed, landed.name, name))
        _uncomment(line, landed, name)
    return name


def in_place(live: Login, landed: Landed, *, at: datetime) -> Swapped:
    """Put what was loaded in the place of the live database or schema, in one transaction.

    Sessions of the old database are ended. Raises NotSwapped when they do not end: nothing has
    changed then, and it can be tried again.
    """
    with _said(live):
        if landed.schema is None:
            return _swap_databases(live, landed, stamped(live.database, "before", at))
        return _swap_schemas(live, landed, stamped(landed.schema, "before", at))


def discard(live: Login, landed: Begun) -> None:
    """Drop what was loaded, if it still bears our mark; anything else is never dropped."""
    with _beside(live, landed) as line:
        if not (_comment_of(line, landed) or "").startswith(OURS):
            return
        name = sql.Identifier(landed.name)
        if landed.schema is None:
            line.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        else:
            line.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))


def sweep(live: Login) -> list[str]:
    """Drop databases that a restore began beside this one and did not live to finish."""
    query = "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = %s"
    head, _, _ = stamped(live.database, "loading", datetime(2000, 1, 1, tzinfo=UTC)).rpartition(
        "_loading_"
    )
    with maintenance(live) as line:
        names = [str(row[0]) for row in line.execute(query, (OURS,))]
        left = [name for name in names if name.startswith(f"{head}_loading_")]
        for name in left:
            line.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
    return left


@contextmanager
def maintenance(live: Login, *, seconds: float = STEP_SECONDS) -> Iterator[Line]:
    """A connection to the server that keeps no tenant's database busy."""
    with ExitStack() as stack:
        for database in ("postgres", "template1", live.database):
            talk = connection.talk(live.to(database), seconds=seconds, autocommit=True)
            try:
                line = stack.enter_context(talk)
            except NoSuchDatabase:
                if database == live.database:
                    raise
                continue
            yield line
            return


def _check_server(live: Login, *, in_place: bool) -> None:
    with maintenance(live, seconds=RIGHTS_SECONDS) as line:
        superuser, creates, owns = fingerprint.only(line, RIGHTS, {"database": live.database})
    user, database = (sql.Identifier(each).as_string() for each in (live.user, live.database))
    if not creates:
        raise _lacks(live, "may not create databases", f"ALTER ROLE {user} CREATEDB")
    if in_place and not superuser and owns is False:
        remedy = f"ALTER DATABASE {database} OWNER TO {user}"
        raise _lacks(live, f"does not own {live.database!r}", remedy)


def _check_schema(live: Login, schema: str, *, in_place: bool) -> None:
    with connection.talk(live, seconds=RIGHTS_SECONDS) as line:
        creates, owns = fingerprint.only(line, SCHEMA_RIGHTS, {"schema": schema})
    user, database = (sql.Identifier(each).as_string() for each in (live.user, live.database))
    if not creates:
        remedy = f"GRANT CREATE ON DATABASE {database} TO {user}"
        raise _lacks(live, "may not create schemas", remedy)
    if in_place and owns is False:
        remedy = f"ALTER SCHEMA {sql.Identifier(schema).as_string()} OWNER TO {user}"
        raise _lacks(live, f"does not own the schema {schema!r}", remedy)


def _lacks(live: Login, what: str, remedy: str) -> Unsafe:
    return Unsafe(
        f"Wanted to restore as {live.user!r}, but this user {what}. As a superuser: {remedy}",
        code="restore-not-permitted",
        user=live.user,
    )


def _create_database(live: Login, name: str, expected: Manifest) -> None:
    words = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} ").format(
        sql.Identifier(name), sql.Literal(expected.locale.encoding)
    )
    with maintenance(live) as line:
        line.execute(words + scratch.locale_words(expected.locale))
        try:
            line.execute(_comment("DATABASE", name, OURS))
        except BaseException:
            line.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
            raise


def _rename_in_scratch(source: Scratch, landed: Landed) -> None:
    """The dump that goes on to the live server names the new schema, and bears our mark."""
    assert landed.schema is not None
    with connection.talk(source.login, seconds=STEP_SECONDS) as line:
        line.execute(_rename(landed, landed.schema, landed.name))
        comment = _comment_of(line, landed) or ""
        line.execute(_comment("SCHEMA", landed.name, OURS + comment))


def _pour(source: Scratch, target: Login, flags: list[str], stop: threading.Event | None) -> None:
    """pg_dump from the scratch cluster straight into pg_restore on the live server."""
    reading, writing = os.pipe()
    try:
        with (
            _giving(source, writing) as giver,
            password_file(target) as (surroundings, descriptors),
        ):
            os.close(writing)
            writing = -1
            words = [*scratch.flags()[:-1], *flags, "--dbname", target.conninfo()]
            command = Command(
                [str(source.programs / "pg_restore"), *words],
                environment=surroundings,
                folder=Path("/"),
                descriptors=descriptors,
            )
            taker = program.start(command, stdin=reading, stderr=PIPE)
            os.close(reading)
            reading = -1
            taken = taker.finish(timeout=source.budget.seconds, stop=stop)
            given = giver.finish(timeout=30)
    finally:
        for end in (reading, writing):
            if end >= 0:
                os.close(end)
    _whole(given, taken)


@contextmanager
def _giving(source: Scratch, into: int) -> Iterator[program.Running]:
    with password_file(source.login) as (surroundings, descriptors):
        for descriptor in descriptors:
            scratch.give(descriptor, source.account)
        words = ["--format=custom", "--compress=0", "--no-password", "--dbname"]
        command = Command(
            [str(source.programs / "pg_dump"), *words, source.login.conninfo()],
            environment=surroundings,
            folder=Path("/"),
            descriptors=descriptors,
            account=source.account,
            limits=scratch.AS_IS,
        )
        child = program.start(command, stdout=into, stderr=PIPE)
        try:
            yield child
        finally:
            child.end(grace=5)


def _whole(given: Finished, taken: Finished) -> None:
    for finished in (taken, given):
        if finished.code != 0:
            raise WillNotLoad(
                "The live server did not take the restored data; what was begun there has been "
                f"removed. {finished.name} said: {finished.stderr.strip() or 'nothing'}",
                said=finished.stderr,
            )


def _swap_databases(live: Login, landed: Landed, before: str) -> Swapped:
    with maintenance(live) as line:
        now = line.execute(DATABASE, (live.database,)).fetchone()
        if now is not None:
            with (
                connection.talk(live, seconds=STEP_SECONDS) as old,
                connection.talk(live.to(landed.name), seconds=STEP_SECONDS) as new,
            ):
                grants.give(new, grants.read(old))
        for _ in range(SWAP_ATTEMPTS):
            try:
                with _ending_sessions(live, [live.database, landed.name]), line.transaction():
                    if now is not None:
                        line.execute(_rename(landed, live.database, before))
                    line.execute(_rename(landed, landed.name, live.database))
                    _take_over(line, live.database, now)
            except psycopg.errors.ObjectInUse:
                continue
            return Swapped(live.database, None if now is None else before)
    raise NotSwapped(
        f"Wanted to put restored data in the place of {live.database!r}, but its sessions do not "
        f"end. Stop the programs that use it, or let {live.user!r} end them (pg_signal_backend). "
        "Nothing has changed.",
        database=live.database,
    )


def _take_over(line: Line, database: str, now: tuple[object, ...] | None) -> None:
    """What belongs to the name, not to the data: settings, limits, comment, rights, owner."""
    name = sql.Identifier(database)
    if now is None:
        line.execute(_comment("DATABASE", database, None))
        return
    owner, limit, allowed, comment, settings, rights = now
    line.execute(_comment("DATABASE", database, None if comment is None else str(comment)))
    words = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    line.execute(words.format(name, sql.Literal(limit)))
    if not allowed:
        line.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    assert isinstance(settings, list)
    for setting in settings:
        key, _, value = str(setting).partition("=")
        words = sql.SQL("ALTER DATABASE {} SET {} TO {}")
        line.execute(words.format(name, sql.Identifier(*key.split(".")), sql.Literal(value)))
    assert isinstance(rights, list)
    granted = tuple((who, what, bool(further)) for who, what, further in rights)
    grants.give(line, [grants.Grants("DATABASE", database, None, str(owner), granted)])


def _swap_schemas(live: Login, landed: Landed, before: str) -> Swapped:
    assert landed.schema is not None
    with connection.talk(live, seconds=STEP_SECONDS) as line:
        line.execute("SELECT set_config('lock_timeout', '30s', true)")
        there = line.execute("SELECT FROM pg_namespace WHERE nspname = %s", (landed.schema,))
        exists = there.rowcount == 1
        if exists:
            grants.give(line, grants.read(line, schema=landed.schema), schema=landed.name)
            line.execute(_rename(landed, landed.schema, before))
        _uncomment(line, landed, landed.name)
        line.execute(_rename(landed, landed.name, landed.schema))
        line.commit()
    return Swapped(landed.schema, before if exists else None)


@contextmanager
def _ending_sessions(live: Login, databases: list[str]) -> Iterator[None]:
    """While the rename waits for them, under a lock that lets no new session in."""
    over = threading.Event()

    def end() -> None:
        with suppress(psycopg.Error, StrongroomError), maintenance(live) as line:
            while not over.wait(PAUSE):
                for (pid,) in line.execute(SESSIONS, (databases,)).fetchall():
                    with suppress(psycopg.errors.InsufficientPrivilege):
                        line.execute("SELECT pg_terminate_backend(%s)", (pid,))

    ender = threading.Thread(target=end, daemon=True)
    ender.start()
    try:
        yield
    finally:
        over.set()
        ender.join()


@contextmanager
def _beside(live: Login, landed: Begun) -> Iterator[Line]:
    """A connection from which what was loaded can be renamed or dropped."""
    if landed.schema is None:
        with maintenance(live) as line:
            yield line
    else:
        with connection.talk(live, seconds=STEP_SECONDS, autocommit=True) as line:
            yield line


@contextmanager
def _said(live: Login) -> Iterator[None]:
    """What the live server itself refused; every change to what is live is one transaction."""
    try:
        yield
    except psycopg.Error as error:
        raise NotSwapped(
            f"PostgreSQL at {live.host} refused a step of the restore into {live.database!r}: "
            f"{error.diag.message_primary or error}. What was live is as it was.",
            code="server-refused",
            sqlstate=error.sqlstate,
        ) from error


@contextmanager
def _undone(undo: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            undo()
        raise


def _rename(landed: Begun, old: str, new: str) -> sql.Composed:
    words = sql.SQL("ALTER {} {} RENAME TO {}")
    return words.format(_kind(landed), sql.Identifier(old), sql.Identifier(new))


def _kind(landed: Begun) -> sql.SQL:
    return sql.SQL("DATABASE" if landed.schema is None else "SCHEMA")


def _comment(kind: str, name: str, text: str | None) -> sql.Composed:
    kinds = {"DATABASE": sql.SQL("DATABASE"), "SCHEMA": sql.SQL("SCHEMA")}
    words = sql.SQL("COMMENT ON {} {} IS {}")
    return words.format(kinds[kind], sql.Identifier(name), sql.Literal(text))


def _comment_of(line: Line, landed: Begun) -> str | None:
    query = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        if landed.schema is None
        else "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s"
    )
    row = line.execute(query, (landed.name,)).fetchone()
    return None if row is None else row[0]


def _uncomment(line: Line, landed: Begun, name: str) -> None:
    """Take our mark off; the schema's own comment comes after it."""
    kind = "DATABASE" if landed.schema is None else "SCHEMA"
    named = Begun(name, landed.schema)
    own = (_comment_of(line, named) or "").removeprefix(OURS)
    line.execute(_comment(kind, name, own or None))
