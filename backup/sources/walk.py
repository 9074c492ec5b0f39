"""Reaching a folder from the root down, name by name, so that no link in the way is followed.

A path is checked and then used; between the two, whoever owns a folder above may put a link in its
place. What is checked here is a path without links, and what is used is the folder that was opened
by it: a descriptor stays with its folder, whatever the path leads to afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WAY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # passed through, not read


def open_folder(folder: Path, *, make: bool = False) -> int:
    """A descriptor, to be closed by the caller; `make` makes what is missing, closed to others.

    Raises OSError, whose filename is the name that could not be entered: NotADirectoryError where
    a link or a file stands in the way.
    """
    if not folder.is_absolute() or ".." in folder.parts:
        raise ValueError(f"{folder} is to be absolute and without '..'.")
    descriptor = os.open("/", _WAY)
    try:
        for part in folder.parts[1:-1]:
            below = _enter(descriptor, part, _WAY, make=make)
            os.close(descriptor)
            descriptor = below
        return _enter(descriptor, folder.name or "/", FOLDER, make=make)
    finally:
        os.close(descriptor)


@contextmanager
def opened(folder: Path, *, make: bool = False) -> Iterator[int]:
    """As `open_folder`, closed at the end."""
    descriptor = open_folder(folder, make=make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def by_descriptor(descriptor: int) -> Path:
    """A path to the open folder itself, for a program that has the descriptor under its number."""
    return Path(f"/proc/self/fd/{descriptor}")


def _enter(above: int, name: str, how: int, *, make: bool) -> int:
    try:
        return os.open(name, how, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    os.mkdir(name, 0o700, dir_fd=above)
    return os.open(name, how, dir_fd=above)
