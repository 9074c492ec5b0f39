"""The bytes of each kind of delivery, as they come out of a region: read once, from the beginning."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, Any

from backup.making import DUMP_NAME, FOLDER_SECONDS, PROCESSORS_OF_LARGE, SMALL_BYTES
from backup.models import PointSource, Source
from backup.restic import commands
from backup.restic.flags import RestoreOrder
from backup.sources import manifest
from backup.sources.manifest import Manifest
from restore import fetching, kept, room
from restore.delivery import archives, copied, looking, tables, zips
from restore.delivery.archives import Wanted
from restore.delivery.copied import NotReadable
from restore.delivery.going import Going
from restore.delivery.portable import Set
from restore.delivery.states import Kind
from restore.delivery.zips import PIECE, Packed
from restore.fetching import Origin
from strongroom.errors import NotFound
from strongroom.program import TimedOut
from strongroom.runtime import Runtime

FOLDERS = "deliveries"  # below the work folder
LOOK_ROWS = 50
LOOK_CELL = 500  # signs of a value that a preview shows
LOOK_SIGNS = 256 * 1024  # of all values together, a cell counted as OF_CELL more
OF_CELL = 40
LOOK_SECONDS = 30.0  # to come to the first rows of a table; a dump is read from its beginning
Pieces = Generator[bytes, None, None]
TOO_FAR = "too-far-in"  # the table stands late in a large dump


@dataclass
class Job:
    """What is made, out of which snapshot."""

    going: Going
    origin: Origin
    part: PointSource
    source: Source
    report: dict[str, Any] = field(default_factory=dict)  # filled on the way

    @property
    def runtime(self) -> Runtime:
        return self.going.runtime

    def manifest(self) -> Manifest:
        """That was taken with the dump. Raises NotReadable."""
        if self.part.manifest is None:
            raise NotReadable("This point says nothing of the database's tables. Take the dump.")
        return manifest.from_json(json.dumps(self.part.manifest))

    def table(self) -> tuple[str, str]:
        """Schema and name of the one table. Raises NotFound."""
        [title] = self.going.row.tables
        for each in self.manifest().tables:
            if each.title == title:
                return each.schema, each.name
        raise NotFound("The point has no such table.", code="table-not-in-point")


def pieces(job: Job) -> Pieces:
    """Close it when it is not read to its end. Raises what restic, the region, the dump or this
    machine have against it: what came before is not to be used then."""
    match job.going.row.kind:
        case Kind.FILE:
            [path] = job.going.row.paths
            return _file(job.origin, path)
        case Kind.DUMP:
            return _file(job.origin, DUMP_NAME)
        case Kind.FOLDER:
            return _folder(job)
        case Kind.TABLE:
            return _table(job)
        case Kind.SET_CSV | Kind.SET_JSON:
            return _set(job)
        case Kind.LOOK_FILE:
            return _look_at_file(job)
        case Kind.LOOK_TABLE:
            return _look_at_table(job)


def _file(origin: Origin, path: str) -> Pieces:
    with fetching.begun(origin, path=path) as coming:
        while piece := os.read(coming.reading, PIECE):
            yield piece
        coming.fetched.result()  # it broke off on its way: then this says why


def _folder(job: Job) -> Pieces:
    """By way of a throw-away folder: reading pack by pack is a great deal faster than file by file."""
    row = job.going.row
    room.require(job.runtime, row.expected_bytes)
    with _private(job.runtime) as private:
        data = private / "data"
        data.mkdir(mode=0o700)
        here = job.origin.here(seconds=FOLDER_SECONDS)
        if row.expected_bytes > SMALL_BYTES:
            here = replace(here, processors=PROCESSORS_OF_LARGE)
        order = RestoreOrder(job.origin.restic_id, data, include=tuple(row.paths))
        commands.restore(
            job.origin.opened(),
            here,
            order,
            progress=lambda seen: job.going.progress("fetching", seen.bytes),
        )
        told = Packed()
        yield from zips.packed(data, _levels_above(row.paths), private, told)
    job.report |= {
        "files": told.files,
        "folders": told.folders,
        "left_out": told.left_out,
        "renamed": told.renamed,
    }


def _levels_above(paths: list[str]) -> int:
    """How many folders lead to all that was chosen and say nothing."""
    if not paths:
        return 0
    parents = [path.strip("/").split("/")[:-1] for path in paths]
    return len(os.path.commonprefix(parents))


def _table(job: Job) -> Pieces:
    name = job.table()
    rows = {(each.schema, each.name): each.rows for each in job.manifest().tables}[name]
    found = 0
    with archives.written(job.origin, Wanted(only=name)) as text:
        for table, each in copied.tables(text):
            if (table.schema, table.name) != name:
                continue
            counted = _Counted(each)
            yield from tables.csv(table.columns, counted)
            found += counted.count
    if found != rows:
        raise NotReadable(
            f"The table has {rows} rows in this point, and {found} came out of the dump. Nothing is "
            "given out; take the dump, or another point.",
            code="not-as-it-was",
        )
    job.report |= {"rows": found}


class _Counted:
    def __init__(self, rows: Iterator[copied.Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[copied.Row]:
        for row in self._rows:
            self.count += 1
            yield row


def _set(job: Job) -> Pieces:
    told = Packed()
    with _private(job.runtime) as private:
        row = job.going.row
        made = Set(job.origin, job.manifest(), row.kind, private, told, frozenset(row.tables))
        yield from made.pieces()
    job.report |= {"tables": told.files}


def _look_at_file(job: Job) -> Pieces:
    """Its beginning, if that can be shown."""
    [path] = job.going.row.paths
    beginning = _first(job.origin, path, looking.IMAGE_BYTES + 1)
    whole = len(beginning) <= looking.IMAGE_BYTES
    seen = looking.look(beginning, whole=whole)
    job.report |= seen.to_json()
    job.report["cut"] = not whole or (seen.what == "text" and len(beginning) > looking.TEXT_BYTES)
    if seen.what == "text":
        yield beginning[: looking.TEXT_BYTES]
    elif seen.what == "image" and not seen.too_large:
        yield beginning


def _first(origin: Origin, path: str, most: int) -> bytes:
    held = bytearray()
    with fetching.begun(origin, path=path) as coming:
        while len(held) < most and (piece := os.read(coming.reading, PIECE)):
            held += piece
        if len(held) < most:
            coming.fetched.result()
    return bytes(held[:most])


def _look_at_table(job: Job) -> Pieces:
    """As JSON: columns, and the first rows, each value cut short."""
    name = job.table()
    wanted = Wanted(only=name, seconds=LOOK_SECONDS)
    document: dict[str, Any] | None = None
    with (
        suppress(TimedOut),
        archives.written(job.origin, wanted, whole=lambda: document is None) as text,
    ):
        document = _rows(text, name)
    if document is None:
        job.report |= {"what": "other", "why": TOO_FAR}
        return
    job.report |= {"what": "table", "rows": len(document["rows"])}
    yield json.dumps(document).encode()


def _rows(text: IO[bytes], name: tuple[str, str]) -> dict[str, Any] | None:
    for table, rows in copied.tables(text):
        if (table.schema, table.name) == name:
            return {
                "columns": list(table.columns),
                "rows": _fitting([_short(each) for each in row] for row in islice(rows, LOOK_ROWS)),
            }
    return None


def _fitting(rows: Iterable[list[str | None]]) -> list[list[str | None]]:
    """The first ones that a page has room for, one at least: a table may have 1,600 columns."""
    found: list[list[str | None]] = []
    room = LOOK_SIGNS
    for row in rows:
        room -= sum(OF_CELL + len(each or "") for each in row)
        if room < 0 and found:
            break
        found.append(row)
    return found


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= LOOK_CELL else value[:LOOK_CELL] + "…"


@contextmanager
def _private(runtime: Runtime) -> Iterator[Any]:
    """A throw-away folder that no crash leaves behind for long."""
    with kept.folder(runtime.folder(FOLDERS) / f"delivery-{secrets.token_hex(8)}") as private:
        yield private
