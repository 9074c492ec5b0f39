"""Files only their owner reads, written whole or not at all; and what the disk refused, said
in one sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from strongroom.errors import StrongroomError

LOG_LIMIT = 10 * 1024 * 1024  # bytes; a larger log is set aside when its writer starts


class NotStored(StrongroomError):
    """The disk or its rights said no."""

    code = "not-stored"


class DiskFull(NotStored):
    """No room is left where we have to write."""

    code = "disk-full"


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the system says about writing below `path` into NotStored or DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        raise NotStored(
            f"Wanted to write {error.filename or path}, but the system said: {error.strerror}. "
            f"Check who owns {path} and whether you may write there.",
            path=str(path),
        ) from error


def disk_full(path: Path) -> DiskFull:
    """The sentence, for those who found out in another way."""
    return DiskFull(
        f"Wanted to write below {path}, but its disk is full. Make room there, or use another "
        "folder with --home, and start again.",
        path=str(path),
    )


def write(path: Path, content: bytes) -> None:
    """Replace the file in one step, mode 0600, on the disk when this returns."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with storing(path.parent):
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def make_private(folder: Path) -> bool:
    """Make the folder with mode 0700 if it is not there; True when it was made now.

    Parents that are missing are made too. What exists keeps its mode: it may not be ours.
    """
    with storing(folder):
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise
            return False
        return True


def open_log(folder: Path, name: str) -> IO[bytes]:
    """The log of a child, for appending; what has grown past LOG_LIMIT is set aside first."""
    path = folder / f"{name}.log"
    with storing(folder):
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(folder / f"{name}.log.1")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "wb", buffering=0)


def tail(path: Path, *, since: int, lines: int = 5) -> str:
    """The last lines of what was written after the offset `since`, at most 4 KiB."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(since, end - 4096))
        text = stream.read().decode("utf-8", "replace")
    return "\n".join(text.strip().splitlines()[-lines:])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
