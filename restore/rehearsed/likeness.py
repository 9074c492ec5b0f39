"""A restored folder beside what the catalogue says the point has: path by path.

The catalogue was written from restic's listing when the point was made. Kind, size and time of
every path have to be as they stand there; nothing may be missing and nothing more be there. What
is in the files needs no second look: restic compares every piece it restores with the hash that
its name is, and those hang by hashes from the snapshot's own name, which the platform recorded.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backup.catalogue import CataloguePath, CatalogueVersion, Entry
from backup.restic.outputs import EARLIEST, LATEST
from restore import tree
from restore.tree import Cursor, Step

SHOWN = 100  # differences that are named; all are counted
NOT_RESTORED = frozenset({"socket", "irregular"})  # restic brings none of these back
BATCH = 5000
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFBLK: "dev",
    stat.S_IFCHR: "chardev",
    stat.S_IFSOCK: "socket",
}
REPLACED = "\ufffd"  # what a byte that is not UTF-8 is listed as


@dataclass(frozen=True)
class Compared:
    """What was found, and in what it differs."""

    recorded: int  # paths that the catalogue has
    paths: int
    files: int
    bytes: int  # of the files
    differing: int
    differences: tuple[str, ...]  # the first of them, in words


@dataclass
class _Seen:
    files: int = 0
    bytes: int = 0
    paths: int = 0
    extra: list[str] = field(default_factory=list)
    extras: int = 0
    met: set[int] = field(default_factory=set)
    wrong: dict[int, str] = field(default_factory=dict)  # by path: what was found
    odd: dict[int, list[bool]] = field(default_factory=dict)  # names that several may share


def compare(session: Session, source: UUID, number: int, root: Path) -> Compared:
    """The folder at `root` with the paths of `source` at point `number`."""
    # Hashes: a point may have millions of paths.
    recorded = {hash(e.path): hash(_face_of(e)) for e in _recorded(session, source, number)}
    seen = _look(root, recorded)
    for key, found in seen.odd.items():
        if not any(found):
            seen.wrong[key] = "something else by a name that is not UTF-8"
    missing = recorded.keys() - seen.met
    named = [f"{tree.shown(path)}: unexpected" for path in seen.extra]
    if missing or seen.wrong:
        named += _named(_recorded(session, source, number), missing, seen.wrong)
    return Compared(
        recorded=len(recorded),
        paths=seen.paths,
        files=seen.files,
        bytes=seen.bytes,
        differing=seen.extras + len(missing) + len(seen.wrong),
        differences=tuple(sorted(named)[:SHOWN]),
    )


def _recorded(session: Session, source: UUID, number: int) -> Iterator[Entry]:
    rows = session.execute(
        select(CataloguePath.path, CatalogueVersion.kind, CatalogueVersion.size)
        .add_columns(CatalogueVersion.changed_at, CatalogueVersion.content)
        .join(CatalogueVersion, CatalogueVersion.path_id == CataloguePath.id)
        .where(
            CataloguePath.source_id == source,
            CatalogueVersion.since <= number,
            or_(CatalogueVersion.until.is_(None), CatalogueVersion.until > number),
            CatalogueVersion.kind.not_in(NOT_RESTORED),
        )
        .execution_options(yield_per=BATCH)
    )
    for row in rows:
        yield Entry(row.path, row.kind, row.size, row.changed_at, row.content)


def _look(root: Path, recorded: dict[int, int]) -> _Seen:
    seen = _Seen()
    top = os.open(root, tree.FOLDER)
    cursor = Cursor(top)
    os.close(top)
    try:
        for entry in tree.walk(cursor):
            if entry.step is not Step.LEAVE:
                _note(seen, recorded, entry)
    finally:
        cursor.close()
    return seen


def _note(seen: _Seen, recorded: dict[int, int], entry: tree.Entry) -> None:
    found = _face(entry)
    path = as_listed(entry.path)
    key = hash(path)
    seen.paths += 1
    if found[0] == "file":
        seen.files += 1
        seen.bytes += entry.status.st_size
    if key not in recorded:
        seen.extras += 1
        if len(seen.extra) < SHOWN:
            seen.extra.append(path)
        return
    seen.met.add(key)
    same = recorded[key] == hash(found)
    if REPLACED in path:
        seen.odd.setdefault(key, []).append(same)
    elif not same:
        seen.wrong[key] = _words(*found)


def _face(entry: tree.Entry) -> tuple[str, int, str]:
    """Kind, size and content as the catalogue has them."""
    kind = KINDS.get(stat.S_IFMT(entry.status.st_mode), "irregular")
    size = entry.status.st_size if kind == "file" else 0
    content = "" if kind == "dir" else f"{size}:{_time(entry.status.st_mtime_ns).isoformat()}"
    return kind, size, content


def _face_of(entry: Entry) -> tuple[str, int, str]:
    return entry.kind, entry.size, entry.content


def _time(nanoseconds: int) -> datetime:
    """To the microsecond, cut and not rounded, as restic's own times are read."""
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    except (ValueError, OverflowError, OSError):
        return EARLIEST if nanoseconds < 0 else LATEST


def as_listed(path: str) -> str:
    """As restic lists it: each byte that is not UTF-8 becomes U+FFFD."""
    return "/" + re.sub("[\udc80-\udcff]", REPLACED, path)


def _named(entries: Iterator[Entry], missing: set[int], wrong: dict[int, str]) -> list[str]:
    named: list[str] = []
    for entry in entries:
        key = hash(entry.path)
        if key in missing:
            named.append(f"{tree.shown(entry.path)}: missing")
        elif key in wrong:
            expected = _words(*_face_of(entry))
            named.append(
                f"{tree.shown(entry.path)}: differs, expected {expected}, found {wrong[key]}"
            )
        if len(named) >= SHOWN:
            break
    return named


def _words(kind: str, size: int, content: str) -> str:
    time = content.partition(":")[2]
    return f"{kind} of {size} bytes" + (f" from {time}" if time else "")
