"""Taking a manifest over one connection, in the transaction that the caller has begun.

All work is the server's: one pass over each table, in parallel where it likes, and one row back.
Settings that change how values are written are fixed, and nothing is looked up in a schema that
the tenant can write to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from backup.sources import queries
from backup.sources.manifest import Locale, Manifest, Sequence, Table

Row = tuple[Any, ...]
Line = psycopg.Connection[Row]
Positions = dict[tuple[str, str], int]  # (schema, name) to the next number

FIXED = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "row_security": "off",  # a policy that hides rows is an error here, never a smaller count
    "synchronize_seqscans": "off",
    "jit": "off",
}


def fix(line: Line, *, statement_seconds: float) -> None:
    """Settings for the rest of this transaction."""
    settings = FIXED | {
        "statement_timeout": str(round(statement_seconds * 1000)),
        "idle_in_transaction_session_timeout": "0",
    }
    for name, value in settings.items():
        line.execute("SELECT set_config(%s, %s, true)", (name, value))


def take(line: Line, *, schema: str | None = None, positions: Positions | None = None) -> Manifest:
    """`positions` are those of the start; without them the moment is taken for the only one.

    Call `fix` first. Raises psycopg.Error when a table cannot be read whole.
    """
    chosen = {"schema": schema}
    tables = [_table(line, row) for row in line.execute(queries.TABLES, chosen).fetchall()]
    row = line.execute(queries.DATABASE).fetchone()
    assert row is not None
    size, encoding, provider, collate, ctype, newer, older, large = row
    now = next_numbers(line, schema=schema)
    return Manifest(
        server_version=line.info.server_version,
        database_bytes=size,
        locale=Locale(encoding, provider, collate, ctype, newer or older),
        schema=schema,
        tables=tuple(tables),
        sequences=_spans(now if positions is None else positions, now),
        objects=tuple(str(each[0]) for each in line.execute(queries.OBJECTS, chosen)),
        extensions=tuple((name, where) for name, where in line.execute(queries.EXTENSIONS)),
        roles=tuple(str(each[0]) for each in line.execute(queries.ROLES, chosen)),
        large_objects=0 if schema is not None else large,
    )


def take_tables(line: Line, chosen: Iterable[tuple[str, str]]) -> list[Table]:
    """Only these tables; one that is not there is left out."""
    wanted = set(chosen)
    rows = line.execute(queries.TABLES, {"schema": None}).fetchall()
    return [_table(line, row) for row in rows if (row[0], row[1]) in wanted]


def next_numbers(line: Line, *, schema: str | None = None) -> Positions:
    """What each sequence gives next."""
    found: Positions = {}
    for space, name, step in line.execute(queries.SEQUENCES, {"schema": schema}).fetchall():
        query = sql.SQL("SELECT last_value::numeric, is_called FROM {}")
        row = line.execute(query.format(sql.Identifier(space, name))).fetchone()
        assert row is not None
        found[space, name] = int(row[0]) + (step if row[1] else 0)
    return found


def _table(line: Line, row: Row) -> Table:
    schema, name, columns, *definition = row
    rows, content = _content(line, (schema, name), columns or [])
    text = "\n--\n".join(each or "" for each in definition)
    return Table(schema, name, rows, content, hashlib.sha256(text.encode()).hexdigest())


def _content(line: Line, table: tuple[str, str], columns: list[str]) -> tuple[int, str]:
    fields = sql.SQL(", ").join(sql.Identifier("t", column) for column in columns)
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(('x' || left(md5(ROW({})::text), 16))::bit(64)::bigint), 0)"
        " FROM ONLY {} t"
    )
    row = line.execute(query.format(fields, sql.Identifier(*table))).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def _spans(first: Positions, last: Positions) -> tuple[Sequence, ...]:
    """A sequence that came or went meanwhile is not in the snapshot's list of sequences."""
    return tuple(
        Sequence(schema, name, low=min(then, now), high=max(then, now))
        for (schema, name), now in last.items()
        for then in [first.get((schema, name), now)]
    )
