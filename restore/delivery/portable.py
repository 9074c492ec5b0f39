"""A database as a set of files that any program can read: `docs/portable-layout.md`."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup.sources.manifest import Manifest
from restore.delivery import archives, copied, tables
from restore.delivery.archives import Wanted
from restore.delivery.copied import NotReadable, Row, Table
from restore.delivery.states import Kind
from restore.delivery.zips import PIECE, Packed, Zip
from restore.fetching import Origin

LAYOUT = "strongroom-portable-1"
SCHEMA, MANIFEST = "schema.sql", "manifest.json"
MOST_DEFINITIONS = 256 * 1024 * 1024  # bytes of schema.sql


@dataclass
class Set:
    """One that is being made."""

    origin: Origin
    expected: Manifest  # taken with the dump
    kind: Kind  # SET_CSV or SET_JSON
    scratch: Path  # private
    told: Packed
    chosen: frozenset[str] = frozenset()  # titles of tables; empty: all

    def pieces(self) -> Iterator[bytes]:
        """Raises NotReadable when what comes out is not what was backed up."""
        with closing(Zip(self.scratch)) as made:
            yield from self._written(made)

    def _written(self, made: Zip) -> Iterator[bytes]:
        for name in (SCHEMA, MANIFEST):
            made.top.name(name)
        known = self._definitions()
        yield from made.file(SCHEMA, _read(self.scratch / SCHEMA))
        told: list[dict[str, Any]] = []
        with archives.written(self.origin, Wanted()) as text:
            for table, rows in copied.tables(text):
                if self.chosen and f"{table.schema}.{table.name}" not in self.chosen:
                    continue
                kinds = copied.chosen(table.columns, known.get((table.schema, table.name), {}))
                told.append((yield from self._table(made, table, kinds, rows)))
                self.told.files += 1
        self._require_all(told)
        yield from made.file(MANIFEST, [self._manifest(told)])
        yield from made.end()

    def _definitions(self) -> dict[tuple[str, str], dict[str, str]]:
        """Kept for the zip, and read for the types."""
        with (
            archives.written(self.origin, Wanted(definitions=True)) as text,
            (self.scratch / SCHEMA).open("wb") as file,
        ):
            left = MOST_DEFINITIONS
            while piece := text.read(PIECE):
                left -= len(piece)
                if left < 0:
                    raise NotReadable("The definitions of this database are too long to be read.")
                file.write(piece)
        with (self.scratch / SCHEMA).open("rb") as file:
            return copied.types(file)

    def _table(
        self, made: Zip, table: Table, kinds: list[str], rows: Iterable[Row]
    ) -> Generator[bytes, None, dict[str, Any]]:
        counted = _Counted(rows)
        if self.kind is Kind.SET_CSV:
            ending, pieces = "csv", tables.csv(table.columns, counted)
        else:
            ending, pieces = "jsonl", tables.json_lines(table.columns, kinds, counted)
        name = made.top.name(f"{table.schema}.{table.name}.{ending}")
        digest = yield from made.file(f"tables/{name}", pieces)
        columns = [
            {"name": each, "type": kind} for each, kind in zip(table.columns, kinds, strict=True)
        ]
        return {
            "schema": table.schema,
            "name": table.name,
            "file": f"tables/{name}",
            "rows": counted.count,
            "sha256": digest,
            "columns": columns,
        }

    def _require_all(self, told: list[dict[str, Any]]) -> None:
        """As many rows of each table as were counted when the dump was made."""
        found = {(each["schema"], each["name"]): each["rows"] for each in told}
        for table in self.expected.tables:
            if self.chosen and table.title not in self.chosen:
                continue
            rows = found.get((table.schema, table.name))
            if rows != table.rows:
                raise NotReadable(
                    f"Table {table.title} has {table.rows} rows in this point, and "
                    f"{'none of it' if rows is None else rows} came out of the dump. Nothing is "
                    "given out; take the dump, or another point.",
                    code="not-as-it-was",
                )

    def _manifest(self, told: list[dict[str, Any]]) -> bytes:
        whole = not self.chosen
        document = {
            "layout": LAYOUT,
            "format": "csv" if self.kind is Kind.SET_CSV else "json-lines",
            "encoding": "UTF-8",
            "database": {
                "system": "PostgreSQL",
                "server_version": self.expected.server_version,
                "encoding": self.expected.locale.encoding,
                "schema": self.expected.schema,
            },
            "definitions": SCHEMA,
            "tables": told,
            "sequences": [
                {"schema": each.schema, "name": each.name, "next": each.low}
                for each in self.expected.sequences
                if whole
            ],
            "left_out": {"large_objects": self.expected.large_objects},
        }
        return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "replace")


class _Counted:
    """Rows, and how many there were."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
