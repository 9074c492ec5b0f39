"""A folder that lies in memory, for databases that live as long as one test.

A database is some six hundred files. To make and to remove them costs more on a disk than most
tests do with them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
WANTED = 2 << 30  # bytes that must be free there, and in the machine; containers may have 64 MiB
PREFIX = "strongroom-tests-"


@contextmanager
def in_memory() -> Iterator[Path | None]:
    """A new folder, gone after the block; None where there is no room for one."""
    if not _has_room():
        yield None
        return
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _has_room() -> bool:
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # without what is cached
    return min(free, shutil.disk_usage(MEMORY).free) > WANTED


def _sweep() -> None:
    """What tests left that were killed: memory comes back by nothing else."""
    for left in MEMORY.glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
