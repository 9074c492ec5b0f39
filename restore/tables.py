"""Chosen tables of a proven scratch database put in the place of the live ones.

All in one transaction: foreign keys that touch the tables are taken off, rows are replaced, keys
are put back and checked, sequences set, and what was written is compared with the scratch. Any
violation, any difference, a lost connection or a kill leaves the live database as it was. The
tenant's triggers do not fire; each is afterwards as it was, also the switched-off ones. A table
that no longer exists is made again with its indexes, keys and triggers, but without the types and
functions it may need. Other tables keep their rows, so rows that point at what was not there at
the time of the point break a foreign key: the error names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from backup.sources import connection, fingerprint
from backup.sources.connection import Login, password_file
from backup.sources.fingerprint import Line
from backup.sources.manifest import Table
from restore import scratch
from restore.errors import NotAsItWas, NotSwapped, Unsafe, Violated, WillNotLoad
from restore.scratch import Scratch
from strongroom import program
from strongroom.errors import NotFound
from strongroom.program import Command

Name = tuple[str, str]  # schema and table
LOCK_SECONDS = 60
PACE = 2  # times what it may take to load the whole dump: then we hang up
# psql's own words in a plain dump; they stand alone on a line, outside of every statement.
PSQL_WORDS = re.compile(r"^\\(?:un)?restrict [A-Za-z0-9]+$", re.MULTILINE)
KEYS = """
SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY(%(ids)s)
  OR k.confrelid = ANY(%(ids)s)) ORDER BY 1, 2
"""
TRIGGERS = """
SELECT t.tgrelid::regclass::text, t.tgname, t.tgenabled::text FROM pg_trigger t
WHERE t.tgrelid = ANY(%(ids)s) AND NOT t.tgisinternal AND t.tgparentid = 0
"""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attname COLLATE "C"
"""
SEQUENCES = """
SELECT n.nspname, s.relname FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.refobjid = ANY(%(ids)s) AND d.deptype IN ('a', 'i')
"""
FIRES = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


@dataclass(frozen=True)
class Replaced:
    """What the live database holds after it."""

    tables: tuple[Table, ...]
    made: tuple[Name, ...] = ()  # tables that had been dropped
    keys: tuple[str, ...] = field(default=())  # foreign keys that were checked again


def replace_in(source: Scratch, live: Login, chosen: Sequence[Name]) -> Replaced:
    """Raises Violated, NotAsItWas, NotSwapped or Unsafe, and then nothing has changed."""
    wanted = sorted(set(chosen))
    patience = LOCK_SECONDS + PACE * source.budget.seconds
    try:
        with (
            connection.talk(source.login, seconds=patience) as held,
            connection.talk(live, seconds=patience) as line,
        ):
            fingerprint.fix(held, statement_seconds=source.budget.seconds)
            fingerprint.fix(line, statement_seconds=source.budget.seconds)
            line.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_SECONDS}s",))
            replaced = _replace(source, held, line, wanted)
            line.commit()
            return replaced
    except psycopg.errors.LockNotAvailable as error:
        raise NotSwapped(
            f"Wanted to replace tables, but others hold them for over {LOCK_SECONDS} seconds. "
            "Stop the programs that use them. Nothing has changed.",
        ) from error
    except psycopg.IntegrityError as error:
        raise _violated(error) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unsafe(
            f"{live.user!r} may not replace these tables: {error.diag.message_primary}. It has to "
            "own them, and what refers to them. Nothing has changed.",
            code="restore-not-permitted",
        ) from error
    except psycopg.Error as error:
        raise NotSwapped(
            f"PostgreSQL refused to replace tables: {error.diag.message_primary or error}. "
            "Nothing has changed.",
            code="server-refused",
            sqlstate=error.sqlstate,
        ) from error


def _replace(source: Scratch, held: Line, line: Line, chosen: list[Name]) -> Replaced:
    theirs = _ids(held, chosen)
    if lacking := [name for name in chosen if name not in theirs]:
        raise NotFound(
            f"The point has no table {_said(lacking)}. Choose from the tables it has.",
            code="table-not-in-point",
        )
    made = [name for name in chosen if name not in _ids(line, chosen)]
    if made:
        _run(line, _definition(source, made, "pre-data"))
    ours = _ids(line, chosen)
    _lock(line, chosen)
    _same_columns(held, line, theirs, ours)
    keys = line.execute(KEYS, {"ids": list(ours.values())}).fetchall()
    triggers = line.execute(TRIGGERS, {"ids": list(ours.values())}).fetchall()
    for table, name, _ in keys:
        line.execute(_alter(table, "DROP CONSTRAINT {}", name))
    for table, name, _ in triggers:
        line.execute(_alter(table, "DISABLE TRIGGER {}", name))
    for name in chosen:
        _copy(held, line, name, _columns(held, theirs[name]))
    if made:
        _run(line, _definition(source, made, "post-data"))
    for table, name, definition in keys:
        line.execute(_alter(table, f"ADD CONSTRAINT {{}} {_literal(definition)}", name))
    for table, name, fires in triggers:
        if fires in FIRES:
            line.execute(_alter(table, f"{FIRES[fires]} TRIGGER {{}}", name))
    _set_sequences(held, line, list(theirs.values()))
    tables = _proven(held, line, chosen)
    return Replaced(tuple(tables), tuple(made), tuple(f"{table}.{name}" for table, name, _ in keys))


def _ids(line: Line, chosen: Sequence[Name]) -> dict[Name, int]:
    query = (
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND n.nspname = %s AND c.relname = %s"
    )
    found = {name: line.execute(query, name).fetchone() for name in chosen}
    return {name: int(row[0]) for name, row in found.items() if row is not None}


def _lock(line: Line, chosen: Sequence[Name]) -> None:
    tables = sql.SQL(", ").join(sql.Identifier(*name) for name in chosen)
    line.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(tables))


def _same_columns(held: Line, line: Line, theirs: dict[Name, int], ours: dict[Name, int]) -> None:
    for name, number in theirs.items():
        if _columns(held, number) != _columns(line, ours[name]):
            raise Unsafe(
                f"The columns of {_said([name])} have changed since the point. Restore the table "
                "aside, or the whole database.",
                code="table-redefined",
                table=_said([name]),
            )


def _columns(line: Line, number: int) -> list[tuple[str, str, bool]]:
    return [(str(a), str(b), bool(c)) for a, b, c in line.execute(COLUMNS, (number,))]


def _copy(held: Line, line: Line, name: Name, columns: list[tuple[str, str, bool]]) -> None:
    """As a stream of blocks; generated columns generate themselves."""
    table = sql.Identifier(*name)
    fields = sql.SQL(", ").join(sql.Identifier(each) for each, _, made in columns if not made)
    line.execute(sql.SQL("TRUNCATE ONLY {}").format(table))
    reading = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT").format(fields, table)
    writing = sql.SQL("COPY {} ({}) FROM STDIN").format(table, fields)
    with (
        held.cursor() as giver,
        line.cursor() as taker,
        giver.copy(reading) as blocks,
        taker.copy(writing) as copy,
    ):
        for block in blocks:
            copy.write(block)


def _set_sequences(held: Line, line: Line, numbers: list[int]) -> None:
    """ALTER SEQUENCE and not setval: this one is undone with the transaction."""
    positions = fingerprint.next_numbers(held)
    for row in held.execute(SEQUENCES, {"ids": numbers}).fetchall():
        name = (str(row[0]), str(row[1]))
        with line.transaction():
            words = sql.SQL("ALTER SEQUENCE IF EXISTS {} RESTART WITH {}")
            line.execute(words.format(sql.Identifier(*name), sql.Literal(positions[name])))


def _proven(held: Line, line: Line, chosen: list[Name]) -> list[Table]:
    found = {(each.schema, each.name): each for each in fingerprint.take_tables(line, chosen)}
    for then in fingerprint.take_tables(held, chosen):
        now = found[then.schema, then.name]
        if (now.rows, now.content) != (then.rows, then.content):
            raise NotAsItWas(
                f"{then.title} was to have {then.rows} rows as in the point, and came out with "
                f"{now.rows} or with other content. Nothing has changed.",
            )
    return list(found.values())


def _definition(source: Scratch, tables: list[Name], section: str) -> str:
    """What makes these tables, as the scratch cluster's pg_dump writes it."""
    chosen = [f"--table={sql.Identifier(*name).as_string()}" for name in tables]
    with password_file(source.login) as (surroundings, descriptors):
        for descriptor in descriptors:
            scratch.give(descriptor, source.account)
        words = ["--schema-only", f"--section={section}", "--no-owner", "--no-acl", *chosen]
        lines: list[str] = []
        command = Command(
            [str(source.programs / "pg_dump"), *words, "--dbname", source.login.conninfo()],
            environment=surroundings,
            folder=Path("/"),
            descriptors=descriptors,
            account=source.account,
            limits=scratch.AS_IS,
        )
        finished = program.run(command, timeout=60, on_line=lines.append)
    if finished.code != 0:
        raise WillNotLoad(f"The definition of {_said(tables)} cannot be read: {finished.stderr}")
    return PSQL_WORDS.sub("", "\n".join(lines))


def _run(line: Line, script: str) -> None:
    """The settings at a dump's head would outlive it in this transaction, so they are redone."""
    line.execute(script.encode())
    fingerprint.fix(line, statement_seconds=0)


def _alter(table: str, words: str, name: str) -> sql.Composed:
    """`table` and what is in `words` were quoted by the server that we ask."""
    start = sql.SQL(f"ALTER TABLE {_literal(table)} {words}")  # pyright: ignore
    return start.format(sql.Identifier(name))


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _violated(error: psycopg.IntegrityError) -> Violated:
    name, table = error.diag.constraint_name, error.diag.table_name
    return Violated(
        f"The restored rows break {name!r} on {table!r}: {error.diag.message_detail}. Choose the "
        "tables it connects too, or restore aside. Nothing has changed.",
        constraint=name,
        table=table,
    )


def _said(names: Sequence[Name]) -> str:
    return ", ".join(".".join(name) for name in names)
