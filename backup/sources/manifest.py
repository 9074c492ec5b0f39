"""What was in a database at one moment: the yardstick for every later restore of it.

A table's `content` is the sum, over its rows, of the first 64 bits (signed) of the MD5 of the row
written as text: columns in the order of their names, and of each whether it is null
(`fingerprint.py` takes it). Equal content and rows mean the same rows in any order. Its limits: it
proves against loss and damage, not against somebody who wants two tables to look alike; two types
that are written alike count as alike (the definition digest tells them apart); large objects are
counted, not read; views, materialized views and foreign tables count by name; function bodies are
not compared.

Definition digests name nothing by schema that lies in the table's own, so that a schema restored
under another name compares equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from strongroom.errors import BadValue

FORM = 2  # of the JSON; a reader refuses what it does not know


@dataclass(frozen=True)
class Table:
    """An ordinary table or a leaf partition; a partitioned parent has no rows of its own."""

    schema: str
    name: str
    rows: int  # exact
    content: str  # a decimal sum, see above; "0" when empty
    definition: str  # hex digest of columns, keys, indexes, triggers and policies by name

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Sequence:
    """Sequences stand outside of snapshots: the dump holds a position between the two."""

    schema: str
    name: str
    low: int  # the next number, as of the start of the dump or its end, the lower one
    high: int

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Locale:
    """How a database writes and sorts text; a new one for the same data has to be made alike."""

    encoding: str  # "UTF8"
    provider: str  # as pg_database has it: "c" libc, "i" ICU, "b" built in
    collate: str
    ctype: str
    locale: str | None  # of ICU or the built-in provider


@dataclass(frozen=True)
class Manifest:
    """Everything is of one snapshot, but for the sequences."""

    server_version: int  # 180006 is 18.6
    database_bytes: int  # on the server's disk, of the whole database
    locale: Locale
    schema: str | None  # None: the whole database
    tables: tuple[Table, ...]
    sequences: tuple[Sequence, ...]
    objects: tuple[str, ...]  # "view public.v": what is neither table nor sequence
    extensions: tuple[tuple[str, str], ...]  # name and schema
    roles: tuple[str, ...]  # that row policies name
    large_objects: int

    def to_json(self) -> str:
        return json.dumps({"form": FORM} | asdict(self), ensure_ascii=False, sort_keys=True)

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


class What(StrEnum):
    """In what two manifests differ."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    ROWS = "rows"
    CONTENT = "content"
    DEFINITION = "definition"
    POSITION = "position"
    LARGE_OBJECTS = "large-objects"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    thing: str  # "table public.orders"
    what: What
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.thing}: {self.what}, expected {self.expected}, found {self.found}"


def from_json(text: str) -> Manifest:
    """Raises BadValue for a form this version does not know."""
    values: dict[str, Any] = json.loads(text)
    form = values.pop("form", None)
    if form != FORM:
        remedy = "update this one" if isinstance(form, int) and form > FORM else "back up again"
        raise BadValue(
            f"Wanted a manifest of form {FORM}, found form {str(form)[:20]}: another version of the "
            f"platform wrote it. To compare with it, {remedy}."
        )
    values["locale"] = Locale(**values["locale"])
    values["tables"] = tuple(Table(**each) for each in values["tables"])
    values["sequences"] = tuple(Sequence(**each) for each in values["sequences"])
    values["extensions"] = tuple((name, schema) for name, schema in values["extensions"])
    values["objects"] = tuple(values["objects"])
    values["roles"] = tuple(values["roles"])
    return Manifest(**values)


def compare(expected: Manifest, found: Manifest) -> list[Difference]:
    """What is not as it was, by table and sequence; an empty list means: all as it was."""
    return [
        *_tables(expected.tables, found.tables),
        *_sequences(expected.sequences, found.sequences),
        *_presence(dict.fromkeys(expected.objects), dict.fromkeys(found.objects)),
        *_large_objects(expected.large_objects, found.large_objects),
    ]


def of_tables(whole: Manifest, chosen: Iterable[tuple[str, str]]) -> Manifest:
    """The same moment, but only these tables (schema, name)."""
    wanted = set(chosen)
    tables = tuple(each for each in whole.tables if (each.schema, each.name) in wanted)
    return replace(whole, tables=tables, sequences=(), objects=(), large_objects=0)


def under(whole: Manifest, schema: str) -> Manifest:
    """The manifest of one schema as it reads when that schema bears another name."""
    old = whole.schema
    return replace(
        whole,
        schema=schema,
        tables=tuple(replace(each, schema=schema) for each in whole.tables),
        sequences=tuple(replace(each, schema=schema) for each in whole.sequences),
        objects=tuple(each.replace(f" {old}.", f" {schema}.", 1) for each in whole.objects),
    )


def _tables(expected: tuple[Table, ...], found: tuple[Table, ...]) -> list[Difference]:
    before = {f"table {each.title}": each for each in expected}
    after = {f"table {each.title}": each for each in found}
    differences = _presence(before, after)
    for thing in sorted(before.keys() & after.keys()):
        one, other = before[thing], after[thing]
        if one.definition != other.definition:
            differences.append(
                Difference(thing, What.DEFINITION, one.definition[:12], other.definition[:12])
            )
        if one.rows != other.rows:
            differences.append(Difference(thing, What.ROWS, str(one.rows), str(other.rows)))
        elif one.content != other.content:
            differences.append(Difference(thing, What.CONTENT, one.content, other.content))
    return differences


def _sequences(expected: tuple[Sequence, ...], found: tuple[Sequence, ...]) -> list[Difference]:
    before = {f"sequence {each.title}": each for each in expected}
    after = {f"sequence {each.title}": each for each in found}
    differences = _presence(before, after)
    for thing in sorted(before.keys() & after.keys()):
        one, other = before[thing], after[thing]
        if other.high < one.low or other.low > one.high:
            span = str(one.low) if one.low == one.high else f"{one.low} to {one.high}"
            differences.append(Difference(thing, What.POSITION, span, str(other.low)))
    return differences


def _presence(before: Mapping[str, object], after: Mapping[str, object]) -> list[Difference]:
    gone = [Difference(each, What.MISSING, "there", "gone") for each in before if each not in after]
    new = [
        Difference(each, What.UNEXPECTED, "nothing", "there")
        for each in after
        if each not in before
    ]
    return sorted(gone + new, key=lambda difference: difference.thing)


def _large_objects(expected: int, found: int) -> list[Difference]:
    if expected == found:
        return []
    return [Difference("large objects", What.LARGE_OBJECTS, str(expected), str(found))]
