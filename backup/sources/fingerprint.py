"""Taking a manifest over one connection, in the transaction that the caller has begun.

All work is the server's: one pass over each table, in parallel where it likes, and one row back.
Settings that change how values are written are fixed, and nothing is looked up in a schema that
the tenant can write to. Answers are read row by row and taken for nothing but text and numbers:
whoever answers may be hostile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Params, Query

from backup.sources import queries
from backup.sources.connection import TooMuch
from backup.sources.manifest import Locale, Manifest, Sequence, Table

Row = tuple[Any, ...]
Line = psycopg.Connection[Row]
Positions = dict[tuple[str, str], int]  # (schema, name) to the next number

MOST = 200_000  # rows of one list: tables, sequences, functions and the like
BETWEEN = "\x1f"  # values of a row, as it is summed
AT_ONCE = 45  # columns: PostgreSQL passes 100 arguments to a function

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
        only(line, "SELECT set_config(%s, %s, true)", (name, value))


def take(line: Line, *, schema: str | None = None, positions: Positions | None = None) -> Manifest:
    """`positions` are those of the start; without them the moment is taken for the only one.

    Call `fix` first. Raises psycopg.Error when a table cannot be read whole.
    """
    chosen = {"schema": schema}
    tables = [_table(line, row) for row in rows(line, queries.TABLES, chosen)]
    size, *locale, newer, older, large = only(line, queries.DATABASE)
    encoding, provider, collate, ctype = map(text, locale)
    icu = newer or older
    now = next_numbers(line, schema=schema)
    return Manifest(
        server_version=line.info.server_version,
        database_bytes=int(size),
        locale=Locale(encoding, provider, collate, ctype, None if icu is None else text(icu)),
        schema=schema,
        tables=tuple(tables),
        sequences=_spans(now if positions is None else positions, now),
        objects=tuple(text(name) for (name,) in rows(line, queries.OBJECTS, chosen)),
        extensions=tuple((text(name), text(at)) for name, at in rows(line, queries.EXTENSIONS)),
        roles=tuple(text(name) for (name,) in rows(line, queries.ROLES, chosen)),
        large_objects=0 if schema is not None else int(large),
    )


def names(line: Line) -> list[tuple[str, str]]:
    """Schema and name of every table that a manifest has."""
    return [(text(row[0]), text(row[1])) for row in rows(line, queries.TABLES, {"schema": None})]


def take_tables(line: Line, chosen: Iterable[tuple[str, str]]) -> list[Table]:
    """Only these tables; one that is not there is left out."""
    wanted = set(chosen)
    present = rows(line, queries.TABLES, {"schema": None})
    return [_table(line, row) for row in present if (row[0], row[1]) in wanted]


def next_numbers(line: Line, *, schema: str | None = None) -> Positions:
    """What each sequence gives next."""
    found: Positions = {}
    for space, name, step in rows(line, queries.SEQUENCES, {"schema": schema}):
        query = sql.SQL("SELECT last_value::numeric, is_called FROM {}")
        last, called = only(line, query.format(sql.Identifier(space, name)))
        found[text(space), text(name)] = int(last) + (int(step) if called else 0)
    return found


def rows(line: Line, query: Query, params: Params | None = None) -> list[Row]:
    """A list that ends. Raises TooMuch past MOST, and hangs up: the rest is not waited for."""
    found: list[Row] = []
    for row in line.cursor().stream(query, params):
        if len(found) == MOST:
            line.close()  # else what is still coming would be read before we get on
            raise TooMuch(
                f"The database lists more than {MOST} things of one kind (tables, functions and the "
                "like). Split it into several sources.",
                limit=MOST,
            )
        found.append(row)
    return found


def only(line: Line, query: Query, params: Params | None = None) -> Row:
    """The one row of a question that has one; raises ValueError for any other answer."""
    (row,) = rows(line, query, params)
    return row


def text(value: object) -> str:
    """A name as PostgreSQL can have one; raises ValueError for anything else."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a server answered something else than a name")
    return value


def _table(line: Line, row: Row) -> Table:
    schema, name, columns, *definition = row
    count, content = _content(line, (text(schema), text(name)), columns or [])
    words = "\n--\n".join(each or "" for each in definition)
    return Table(schema, name, count, content, hashlib.sha256(words.encode()).hexdigest())


def _content(line: Line, table: tuple[str, str], columns: list[str]) -> tuple[int, str]:
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(('x' || left(md5({}), 16))::bit(64)::bigint), 0)"
        " FROM ONLY {} t"
    )
    count, content = only(line, query.format(_written(columns), sql.Identifier(*table)))
    return int(count), str(int(content))


def _written(columns: list[str]) -> sql.Composable:
    """A row as text. ROW(…)::text would look at every character for quoting: half as fast.

    `concat_ws` writes as a dump does, and never calls a cast that the tenant may have made.
    """
    pieces = [
        _joined(
            part
            for column in columns[begin : begin + AT_ONCE]
            for name in [sql.Identifier("t", column)]
            for part in (name, sql.SQL("{} IS NULL").format(name))
        )
        for begin in range(0, len(columns), AT_ONCE)
    ]
    return _joined(pieces) if pieces else sql.Literal("")


def _joined(parts: Iterable[sql.Composable]) -> sql.Composable:
    written = sql.SQL(", ").join(parts)
    return sql.SQL("concat_ws({}, {})").format(sql.Literal(BETWEEN), written)


def _spans(first: Positions, last: Positions) -> tuple[Sequence, ...]:
    """A sequence that came or went meanwhile is not in the snapshot's list of sequences."""
    return tuple(
        Sequence(schema, name, low=min(then, now), high=max(then, now))
        for (schema, name), now in last.items()
        for then in [first.get((schema, name), now)]
    )
