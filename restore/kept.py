"""Throw-away folders: held by a lock that the system lets go when we die, swept when it has.

What lies in one is a tenant's data, opened; no crash may leave it behind for long.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restore import tree
from strongroom.stack import files


@contextmanager
def kept(wanted: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises BlockingIOError when somebody does."""
    lock = os.open(wanted.with_name(f"{wanted.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            wanted.with_name(f"{wanted.name}.lock").unlink(missing_ok=True)
    finally:
        os.close(lock)


def sweep(above: Path, pattern: str, remove: Callable[[Path], None]) -> list[Path]:
    """Remove the folders that nobody holds any more; what is in use is let be."""
    swept = []
    for wanted in sorted(above.glob(pattern)) if above.is_dir() else []:
        if not wanted.is_dir():
            continue
        with suppress(BlockingIOError), kept(wanted):
            remove(wanted)
            swept.append(wanted)
    return swept


@contextmanager
def folder(wanted: Path) -> Iterator[Path]:
    """A private folder for the block, gone afterwards with all that is in it."""
    files.make_private(wanted.parent)
    with kept(wanted):
        try:
            files.make_private(wanted)
            yield wanted
        finally:
            remove(wanted)


def remove(wanted: Path) -> None:
    """The whole tree, following no link; however deep, and whatever its modes."""
    with _opened(wanted.parent) as parent:
        tree.remove(parent, wanted.name)


@contextmanager
def _opened(place: Path) -> Iterator[int]:
    descriptor = os.open(place, tree.FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
