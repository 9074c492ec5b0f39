"""An exact checksum of everything in a database or a folder, to prove that it came back.

Simple on purpose: what cannot be read at a glance proves nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from strongroom.errors import BadValue


@dataclass(frozen=True)
class Part:
    """One table, sequence, kind of definition, file, folder or link."""

    name: str
    size: int  # rows of a table, bytes of a file
    digest: str


@dataclass(frozen=True)
class Fingerprint:
    """Equal when, and only when, everything in it is equal."""

    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the names, sizes and digests of all parts."""
        text = "".join(f"{part.name}\0{part.size}\0{part.digest}\n" for part in self.parts)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def differences(before: Fingerprint, after: Fingerprint) -> tuple[str, ...]:
    """The names of the parts that are missing, new or not the same."""
    changed = set(before.parts) ^ set(after.parts)
    return tuple(sorted({part.name for part in changed}))


def rows_of(found: Fingerprint, schema: str) -> Fingerprint:
    """Only the rows and sequence positions of one schema, without its name: for one restored
    aside, whose definitions name it otherwise."""
    head = f"{schema}."
    return Fingerprint(
        tuple(
            Part(part.name.removeprefix(head), part.size, part.digest)
            for part in found.parts
            if part.name.startswith(head)
        )
    )


def folder(path: Path, *, times: bool = False) -> Fingerprint:
    """Every path below with its kind, mode and content, and with its time if `times`."""
    if not path.is_dir():
        raise BadValue(f"Wanted the fingerprint of the folder {path}, but it is not there.")
    found = sorted(_below(path), key=os.fsencode)
    return Fingerprint(tuple(_entry(path, entry, times=times) for entry in found))


def _below(folder: Path) -> Iterator[Path]:
    """Links are not followed; a folder that cannot be read raises, and is never passed over."""
    for path in folder.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def _entry(root: Path, path: Path, *, times: bool) -> Part:
    status = path.lstat()
    size, digest = _content(path, status.st_mode)
    facts = f"{stat.filemode(status.st_mode)} {digest}"
    if times:
        facts += f" {status.st_mtime_ns}"
    return Part(str(path.relative_to(root)), size, facts)


def _content(path: Path, mode: int) -> tuple[int, str]:
    if stat.S_ISDIR(mode):
        return 0, ""
    if stat.S_ISLNK(mode):
        target = os.fsencode(path.readlink())
        return len(target), hashlib.sha256(target).hexdigest()
    if not stat.S_ISREG(mode):
        raise BadValue(f"{path} is neither a file, a folder nor a link: it has no fingerprint.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def database(connection: Connection[Any], *, schema: str | None = None) -> Fingerprint:
    """Every row of every table, every sequence and every definition, in one snapshot.

    With `schema` only what is in that schema. Owners, privileges and policies are not part of
    it. The connection must not be inside a transaction.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for setting in _SETTINGS:
            connection.execute(setting)
        schemas = _schemas(connection, only=schema)
        parts = [
            *_tables(connection, schemas),
            *_sequences(connection, schemas),
            *_definitions(connection, schemas),
        ]
    return Fingerprint(tuple(parts))


# A row turns into text by the settings of its session, so these are ours and always the same.
_SETTINGS = (
    b"SET LOCAL search_path = ''",
    b"SET LOCAL TimeZone = 'UTC'",
    b"SET LOCAL DateStyle = 'ISO, YMD'",
    b"SET LOCAL IntervalStyle = 'iso_8601'",
    b"SET LOCAL bytea_output = 'hex'",
    b"SET LOCAL extra_float_digits = 1",
    b"SET LOCAL work_mem = '64MB'",
    b"SET LOCAL row_security = off",
)


def _schemas(connection: Connection[Any], *, only: str | None) -> list[int]:
    """Object ids of the schemas that are not the server's own."""
    rows = connection.execute(
        "SELECT oid FROM pg_catalog.pg_namespace"
        " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        " AND nspname = coalesce(%s, nspname)",
        (only,),
    )
    found = [number for (number,) in rows]
    if only is not None and not found:
        raise BadValue(f"Wanted the fingerprint of the schema {only}, but it is not there.")
    return found


def _relations(
    connection: Connection[Any], schemas: Sequence[int], kinds: str
) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT nspname, relname FROM pg_catalog.pg_class"
        " JOIN pg_catalog.pg_namespace AS schemas ON schemas.oid = relnamespace"
        " WHERE relnamespace = ANY (%s) AND relkind::text = ANY (%s) ORDER BY nspname, relname",
        (list(schemas), list(kinds)),
    )
    return [(schema, name) for schema, name in rows]


def _tables(connection: Connection[Any], schemas: Sequence[int]) -> list[Part]:
    """Rows are ordered by their own digest: no key is needed, and no two orders are possible."""
    parts = []
    for schema, name in _relations(connection, schemas, "rm"):
        query = sql.SQL(
            "SELECT count(*), md5(string_agg(row, '' ORDER BY row COLLATE \"C\"))"
            " FROM (SELECT md5(whole::text) AS row FROM ONLY {} AS whole) AS rows"
        ).format(sql.Identifier(schema, name))
        count, digest = connection.execute(query).fetchall()[0]
        parts.append(Part(f"{schema}.{name}", count, digest or ""))
    return parts


def _sequences(connection: Connection[Any], schemas: Sequence[int]) -> list[Part]:
    parts = []
    for schema, name in _relations(connection, schemas, "S"):
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        value, called = connection.execute(query).fetchall()[0]
        parts.append(Part(f"{schema}.{name}", 1, f"{value} {called}"))
    return parts


def _definitions(connection: Connection[Any], schemas: Sequence[int]) -> list[Part]:
    parts = []
    for kind, query in _DEFINITIONS.items():
        rows = connection.execute(query.encode(), {"schemas": list(schemas)})
        texts = [str(row[0]) for row in rows]
        digest = hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()
        parts.append(Part(f"definitions of {kind}", len(texts), digest))
    return parts


# Each query gives one text per object; names are qualified, since the search path is empty.
_DEFINITIONS = {
    "columns": """
        SELECT concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod),
            attnotnull, attidentity, attgenerated, attcollation::regcollation,
            pg_get_expr(adbin, adrelid), row_number() OVER (PARTITION BY attrelid ORDER BY attnum))
        FROM pg_catalog.pg_attribute
        JOIN pg_catalog.pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_catalog.pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = ANY (%(schemas)s)
            AND relkind IN ('r', 'v', 'm') AND attnum > 0 AND NOT attisdropped""",
    "constraints": """
        SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
        FROM pg_catalog.pg_constraint
        WHERE connamespace = ANY (%(schemas)s)""",
    "indexes": """
        SELECT pg_get_indexdef(oid) FROM pg_catalog.pg_class
        WHERE relkind = 'i' AND relnamespace = ANY (%(schemas)s)""",
    "views": """
        SELECT concat_ws(' ', oid::regclass, pg_get_viewdef(oid)) FROM pg_catalog.pg_class
        WHERE relkind IN ('v', 'm') AND relnamespace = ANY (%(schemas)s)""",
    "functions": """
        SELECT pg_get_functiondef(oid) FROM pg_catalog.pg_proc
        WHERE prokind IN ('f', 'p') AND pronamespace = ANY (%(schemas)s)""",
    "triggers": """
        SELECT concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), tgenabled) FROM pg_catalog.pg_trigger
        JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid
        WHERE NOT tgisinternal AND relnamespace = ANY (%(schemas)s)""",
    "enumerations": """
        SELECT concat_ws(' ', enumtypid::regtype, enumsortorder, enumlabel)
        FROM pg_catalog.pg_enum JOIN pg_catalog.pg_type ON pg_type.oid = enumtypid
        WHERE typnamespace = ANY (%(schemas)s)""",
    "comments": """
        SELECT concat_ws(' ', objoid::regclass, objsubid, description)
        FROM pg_catalog.pg_description JOIN pg_catalog.pg_class ON pg_class.oid = objoid
        WHERE classoid = 'pg_catalog.pg_class'::regclass
            AND relnamespace = ANY (%(schemas)s)""",
}
