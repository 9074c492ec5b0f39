"""Running the SQL of a sample database and filling its tables by COPY."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from web.demo.summary import Summary

Row = Sequence[Any]
Columns = Mapping[str, str]  # table name to its column names, parted by spaces


def run_file(connection: Connection[Any], name: str) -> None:
    """Run a file of statements that lies beside this module."""
    connection.execute(Path(__file__).with_name(name).read_bytes())


def fill(
    connection: Connection[Any], columns: Columns, rows: Mapping[str, Iterable[Row]]
) -> Summary:
    """Append rows to tables, in the order in which `rows` names them."""
    counts = tuple((name, _copy(connection, name, columns, rows[name])) for name in rows)
    return Summary(tables=counts)


def _copy(connection: Connection[Any], name: str, columns: Columns, rows: Iterable[Row]) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(*name.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, columns[name].split())),
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def catch_up(connection: Connection[Any], sequences: Mapping[str, str]) -> None:
    """Let each sequence go on after the largest id of the table it numbers."""
    for sequence, table in sequences.items():
        statement = sql.SQL("SELECT setval({}, (SELECT max(id) FROM {}))").format(
            sql.Literal(sequence), sql.Identifier(*table.split("."))
        )
        connection.execute(statement)
