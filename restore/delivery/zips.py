"""A zip that is written as it is read, with little memory, and holds only what opens harmlessly.

The same folder gives the same bytes: entries in the order of their names, times in UTC. Larger than
4 GiB by itself (zip64), names in UTF-8. At its end SHA256SUMS, as `sha256sum -c` reads it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from restore import tree
from restore.delivery.names import Unique
from restore.tree import Cursor, Entry, Step

PIECE = 256 * 1024
LEVEL = 1  # of deflate: most of the gain at a fifth of the time
PATH_BYTES = 32_000  # zip takes 65,535, Windows fewer
LEFT_OUT, RENAMED, SUMS = "left-out.txt", "renamed.txt", "SHA256SUMS"
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
EARLIEST, LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)


@dataclass
class Packed:
    """What went in."""

    files: int = 0
    folders: int = 0
    left_out: int = 0
    renamed: int = 0


class Zip:
    """Written piece by piece: what `drain` gives is to be passed on before more is added."""

    def __init__(self, scratch: Path) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
        self._sums = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed below
        self.top = Unique()

    def folder(self, name: str, changed: float) -> Iterator[bytes]:
        info = _info(name + "/", changed, stat.S_IFDIR | 0o755)
        info.external_attr |= 0x10  # of MS-DOS: a folder
        self._zip.writestr(info, b"")
        yield from self.drain()

    def file(
        self, name: str, pieces: Iterable[bytes], *, changed: float = 0, size: int = 1 << 40
    ) -> Generator[bytes, None, str]:
        """Gives its SHA-256 at the end. `size` is about what comes: whether zip64 is needed."""
        info = _info(name, changed, stat.S_IFREG | 0o644)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.file_size = size
        digest = hashlib.sha256()
        with self._zip.open(info, "w", force_zip64=size > 1 << 30) as entry:
            for piece in pieces:
                digest.update(piece)
                entry.write(piece)
                yield from self.drain()
        self._sums.write(f"{digest.hexdigest()}  {name}\n".encode())
        yield from self.drain()
        return digest.hexdigest()

    def end(self) -> Iterator[bytes]:
        """SHA256SUMS of all that was added, and the end of the zip."""
        self._sums.seek(0)
        info = _info(self.top.name(SUMS), 0, stat.S_IFREG | 0o644)
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(info, "w", force_zip64=True) as entry:
            while piece := self._sums.read(PIECE):
                entry.write(piece)
                yield from self.drain()
        self._zip.close()
        yield from self.drain()

    def close(self) -> None:
        """Whatever became of it."""
        self._sums.close()

    def drain(self) -> Iterator[bytes]:
        if self._sink.held:
            held, self._sink.held = self._sink.held, []
            yield b"".join(held)


def packed(root: Path, above: int, scratch: Path, told: Packed) -> Iterator[bytes]:
    """What lies below `root`, without its first `above` levels: those only lead to what was chosen."""
    made = Zip(scratch)
    left_out, renamed = _List(scratch), _List(scratch)
    descriptor = os.open(root, tree.FOLDER)
    cursor = Cursor(descriptor)
    try:
        for entry, name, cleaned in _named(cursor, above, made.top):
            if cleaned:
                told.renamed += 1
                renamed.add(f"{name}  was  {tree.shown(entry.path)}")
            if entry.step is Step.ENTER:
                told.folders += 1
                yield from made.folder(name, entry.status.st_mtime)
            elif not stat.S_ISREG(entry.status.st_mode):
                told.left_out += 1
                kind = KINDS.get(stat.S_IFMT(entry.status.st_mode), "no file")
                left_out.add(f"{tree.shown(entry.path)}: {kind}")
            else:
                told.files += 1
                size, changed = entry.status.st_size, entry.status.st_mtime
                yield from made.file(name, _read(cursor, entry), changed=changed, size=size)
        for name, listed in ((LEFT_OUT, left_out), (RENAMED, renamed)):
            if listed.lines:
                yield from made.file(made.top.name(name), listed.pieces())
        yield from made.end()
    finally:
        made.close()
        cursor.close()
        os.close(descriptor)
        left_out.close()
        renamed.close()


def _named(cursor: Cursor, above: int, top: Unique) -> Iterator[tuple[Entry, str, bool]]:
    """Everything from level `above` on with its name in the zip, clean and the only one, and
    whether it had another."""
    folders: list[tuple[str, Unique]] = []
    for entry in tree.walk(cursor):
        depth = len(entry.folder) - above
        if depth < 0:
            continue
        if entry.step is Step.LEAVE:
            folders.pop()
            continue
        prefix, names = folders[-1] if folders else ("", top)
        own = names.name(entry.name)
        name, cleaned = prefix + own, own != entry.name
        if len(name.encode()) > PATH_BYTES:  # deeper than any reader goes: into one folder beside
            name, cleaned = top.name("deep") + "/" + own, True
        if entry.step is Step.ENTER:
            folders.append((name + "/", Unique()))
        yield entry, name, cleaned


def _read(cursor: Cursor, entry: Entry) -> Iterator[bytes]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(entry.name, flags, dir_fd=cursor.descriptor), "rb") as file:
        while piece := file.read(PIECE):
            yield piece


class _List:
    """Lines for a file in the zip, however many."""

    def __init__(self, scratch: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed below
        self.lines = 0

    def add(self, line: str) -> None:
        self._file.write(f"{line}\n".encode())
        self.lines += 1

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece

    def close(self) -> None:
        self._file.close()


@dataclass
class _Sink:
    """Where zipfile writes; it cannot go back, so sizes stand after the data."""

    held: list[bytes] = field(default_factory=list)

    def write(self, data: Any, /) -> int:
        self.held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def _info(name: str, changed: float, mode: int) -> zipfile.ZipInfo:
    seconds = int(changed)
    try:
        at = datetime.fromtimestamp(seconds, UTC).timetuple()[:6]
    except (OverflowError, ValueError, OSError):
        at = EARLIEST
    info = zipfile.ZipInfo(name, min(max(at, EARLIEST), LATEST))
    info.create_system = 3  # Unix
    info.external_attr = mode << 16
    if 0 < seconds < 1 << 31:  # to the second and in UTC (Info-ZIP, "extended timestamp")
        info.extra = struct.pack("<HHBl", 0x5455, 5, 1, seconds)
    return info
