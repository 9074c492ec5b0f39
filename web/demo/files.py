"""Writing and finding files of a sample folder, the same whatever the umask and the clock say."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time
from pathlib import Path

FILE_MODE = 0o640
FOLDER_MODE = 0o750


def write(path: Path, data: bytes, *, on: date) -> int:
    """Write a file as of noon of that day, with the folders it lies in; the bytes written."""
    _make_folder(path.parent)
    path.write_bytes(data)
    path.chmod(FILE_MODE)
    moment = datetime.combine(on, time(12), tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))
    return len(data)


def existing(folder: Path, pattern: str) -> list[Path]:
    """Files below, in an order that is the same on every machine."""
    found = (path for path in folder.rglob(pattern) if path.is_file())
    return sorted(found, key=os.fsencode)


def date_folders(folder: Path) -> None:
    """Give every folder below the time of the newest thing in it."""
    for name, _, _ in os.walk(folder, topdown=False):
        moments = [entry.stat().st_mtime for entry in Path(name).iterdir()]
        os.utime(name, (max(moments, default=0), max(moments, default=0)))


def _make_folder(path: Path) -> None:
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir()
    path.chmod(FOLDER_MODE)
