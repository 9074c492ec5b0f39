"""Rows as pg_restore writes them out of a dump (COPY, text format), one at a time. Pure.

What comes is a tenant's: nothing of it is run, and nothing is believed but the shape. Whatever is
no COPY statement is passed over.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from strongroom.errors import StrongroomError

LINE_BYTES = 64 * 1024 * 1024  # of one row
STATEMENT_BYTES = 1024 * 1024
END = b"\\."
NULL = b"\\N"
SIGNS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_]{1,30})';\s*")
NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s".,()]+))\s*')
CODECS = {"SQL_ASCII": "utf-8", "MULE_INTERNAL": "utf-8", "EUC_JIS_2004": "euc_jis_2004"}

Row = tuple[str | None, ...]


class NotReadable(StrongroomError):
    """The dump does not say what its rows are in a way that is understood here."""

    code = "dump-not-readable"
    permanent = True


@dataclass(frozen=True)
class Table:
    """Whose rows follow."""

    schema: str
    name: str
    columns: tuple[str, ...]


def tables(text: IO[bytes]) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Each table with its rows, which are to be read before the next; unread ones are skipped."""
    encoding = "utf-8"
    while line := _line(text):
        found = ENCODING.fullmatch(line)
        if found is not None:
            encoding = _codec(found[1].decode())
        if line.startswith(b"COPY "):
            table = _table(_statement(text, line), encoding)
            rows = _rows(text, encoding, len(table.columns))
            yield table, rows
            for _ in rows:
                pass


def _rows(text: IO[bytes], encoding: str, columns: int) -> Iterator[Row]:
    while line := _line(text):
        line = line.removesuffix(b"\n")
        if line == END:
            return
        fields = line.split(b"\t") if columns else []
        if len(fields) != columns:
            raise NotReadable(
                f"A row of the dump has {len(fields)} values where {columns} columns were named. "
                "Take the database's dump instead."
            )
        yield tuple(_value(each, encoding) for each in fields)
    raise NotReadable("The rows of a table broke off before their end.")


def _value(field: bytes, encoding: str) -> str | None:
    if field == NULL:
        return None
    if b"\\" in field:
        field = ESCAPE.sub(lambda found: SIGNS.get(found[1], found[1]), field)
    return field.decode(encoding, "replace")


def _line(text: IO[bytes]) -> bytes:
    line = text.readline(LINE_BYTES)
    if len(line) == LINE_BYTES and not line.endswith(b"\n"):
        raise NotReadable(
            f"One row has more than {LINE_BYTES // 1024 // 1024} MiB. Take the dump instead.",
            code="row-too-large",
        )
    return line


def _statement(text: IO[bytes], line: bytes) -> bytes:
    """To its end: a name may hold newlines."""
    while not line.endswith(b" FROM stdin;\n"):
        more = _line(text)
        line += more
        if not more or len(line) > STATEMENT_BYTES:
            raise NotReadable("A statement of the dump does not end. Take the dump instead.")
    return line


def _table(statement: bytes, encoding: str) -> Table:
    said = statement.decode(encoding, "replace")
    rest = said.removeprefix("COPY ").removesuffix(" FROM stdin;\n")
    schema, at = _name(rest, 0)
    if rest[at : at + 1] != ".":
        raise NotReadable("A table of the dump is named without its schema.")
    name, at = _name(rest, at + 1)
    columns: list[str] = []
    if rest[at : at + 1] == "(":
        while rest[at : at + 1] in ("(", ","):
            column, at = _name(rest, at + 1, empty=rest[at + 1 : at + 2] == ")")
            columns += [column] if column else []
    return Table(schema, name, tuple(columns))


def _name(text: str, at: int, *, empty: bool = False) -> tuple[str, int]:
    found = NAME.match(text, at)
    if found is None:
        if empty:
            return "", at
        raise NotReadable("A name in the dump cannot be read. Take the dump instead.")
    quoted, plain = found.groups()
    return (plain if quoted is None else quoted.replace('""', '"')), found.end()


def _codec(name: str) -> str:
    known = CODECS.get(name.upper(), name)
    for each in (known, known.lower().replace("win", "cp"), known.replace("ISO_", "iso")):
        try:
            return codecs.lookup(each).name
        except LookupError:
            continue
    return "utf-8"


CREATE = re.compile(r"CREATE (?:UNLOGGED |FOREIGN )?TABLE (?=\S)")
AFTER_TYPE = re.compile(
    r"\s(?:COLLATE|DEFAULT|NOT NULL|GENERATED|CONSTRAINT|COMPRESSION|STORAGE|OPTIONS)\b"
)


def types(schema_text: IO[bytes]) -> dict[tuple[str, str], dict[str, str]]:
    """Columns and their types by table, from the definitions as pg_restore writes them.

    Pure reading of `    name type …,` lines; what does not look so is left out.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    while line := _line(schema_text):
        text = line.decode("utf-8", "replace")
        opened = CREATE.match(text)
        if opened is None or not text.rstrip().endswith("("):
            continue
        try:
            schema, at = _name(text, opened.end())
            table, _ = _name(text, at + 1) if text[at : at + 1] == "." else ("", at)
        except NotReadable:
            continue
        found[schema, table] = dict(_columns(schema_text))
    return found


def _columns(text: IO[bytes]) -> Iterator[tuple[str, str]]:
    while line := _line(text):
        said = line.decode("utf-8", "replace")
        if not said.startswith("    "):
            return
        body = said.strip().rstrip(",")
        if body.startswith(("CONSTRAINT ", "CHECK ", "PRIMARY KEY", "UNIQUE ", "LIKE ")):
            continue
        found = NAME.match(body)
        if found is None:
            continue
        name = found[2] if found[1] is None else found[1].replace('""', '"')
        kind = AFTER_TYPE.split(body[found.end() :], maxsplit=1)[0].strip()
        if kind:
            yield name, kind


def chosen(columns: Sequence[str], known: dict[str, str]) -> list[str]:
    """The type of each column, "unknown" where the definition does not say."""
    return [known.get(each, "unknown") for each in columns]
