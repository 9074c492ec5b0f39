"""The home: the folder an embedded stack lives in, and how other commands find the stack.

    HomeError            1  the home cannot be used
    ├── HomeMissing      2  no such folder, or it was never a home
    ├── HomeNotAFolder   2  something else is at that path
    ├── HomeUnreadable   1  its rights keep us out
    ├── HomeBusy         1  another `up` uses it
    └── NotRunning       1  a home, and no stack in it

`stack.pid` is locked as long as the stack runs, `stack.json` says where everything listens. The
latter outlives a kill -9, so it names the process too, and counts only while that one lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strongroom.errors import BadValue, NotFound, StrongroomError
from strongroom.stack import files, processes

STACK = "stack.json"
RECORD_KEY = "record-key"  # the secret that signs the records in the buckets
RECOVERING = "recovering"  # there while a recovery into this home was begun and has not ended
REGIONS = "regions.json"  # of a home whose regions are not its own
LEAST_FREE = 256 * 1024 * 1024  # bytes; below that a start would only end half-way
LOCK_PATIENCE = 2.0  # seconds in which an `up` that is just ending may let go


class HomeError(StrongroomError):
    """The home cannot be used as it stands."""

    code = "home-unusable"


class HomeMissing(HomeError, NotFound):
    """No such home."""

    code = "home-missing"


class HomeNotAFolder(HomeError, BadValue):
    """The path leads to something else than a folder."""

    code = "home-not-a-folder"


class HomeUnreadable(HomeError):
    """The home belongs to somebody else."""

    code = "home-unreadable"


class HomeBusy(HomeError):
    """A stack already runs from this home."""

    code = "home-busy"


class NotRunning(HomeError):
    """No stack runs from this home."""

    code = "not-running"


@dataclass(frozen=True)
class Home:
    """Where things lie in a home that `prepare` has looked at."""

    path: Path  # absolute, links resolved

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def ports(self) -> Path:
        return self.path / "ports.json"

    @property
    def stack(self) -> Path:
        return self.path / STACK

    def secret(self, name: str, *, size: int = 24) -> str:
        """A random secret of this home, so many bytes, made when first asked for; hexadecimal."""
        path = self.path / "secrets" / name
        files.make_private(path.parent)
        if not path.exists():
            files.write(path, secrets.token_hex(size).encode())
        with _readable(self.path):
            return path.read_text()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep any second `up` out of this home. Raises HomeBusy, which names the first."""
        path = self.path / "stack.pid"
        with files.storing(self.path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor, self.path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def publish(self, stack: Mapping[str, Any]) -> None:
        """Say where the running stack listens; `home` and `process` are added here."""
        document = {
            "home": str(self.path),
            "process": asdict(processes.myself()),
            **stack,
        }
        files.write(self.stack, json.dumps(document, indent=1).encode())

    def withdraw(self) -> None:
        """Take back what `publish` said; fine if it said nothing."""
        self.stack.unlink(missing_ok=True)


def prepare(path: Path, *, least_free: int = LEAST_FREE) -> Home:
    """The home at this path, made with mode 0700 if it is new.

    Raises HomeNotAFolder, HomeUnreadable, DiskFull or NotStored, and then has changed nothing
    but perhaps made empty folders.
    """
    home = Home(_resolve(path))
    with _readable(home.path):
        if home.path.exists() and not home.path.is_dir():
            raise _not_a_folder(home.path)
    with _rights_named(home.path):
        files.make_private(home.path)
    if not os.access(home.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise _unreadable(home.path)
    if shutil.disk_usage(home.path).free < least_free:
        raise files.disk_full(home.path)
    for folder in (home.logs, home.path / "secrets"):
        files.make_private(folder)
    return home


def find_stack(path: Path) -> dict[str, Any]:
    """What the running stack of this home published.

    Raises HomeMissing, HomeNotAFolder, HomeUnreadable or NotRunning.
    """
    home = _resolve(path)
    with _readable(home):
        if not home.exists():
            raise HomeMissing(
                f"Wanted the stack of {home}, but there is no such folder. "
                f"`strongroom up --home {home}` makes one.",
                home=str(home),
            )
        if not home.is_dir():
            raise _not_a_folder(home)
        try:
            published: dict[str, Any] = json.loads((home / STACK).read_text())
            keeper = processes.Identity(**published["process"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise _not_running(home) from None
    if not processes.is_alive(keeper):
        raise _not_running(home)
    return published


def _resolve(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise _unreadable(path) from error


def _lock(descriptor: int, home: Path) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(descriptor, home) from None
            time.sleep(0.05)


def _busy(descriptor: int, home: Path) -> HomeBusy:
    pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return HomeBusy(
        f"Wanted to start from {home}, but process {pid or 'unknown'} already does. Stop that one "
        "first (Ctrl-C or `kill` with its number), or use another folder with --home.",
        home=str(home),
        pid=pid,
    )


@contextmanager
def _readable(home: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise _unreadable(home) from error
    except NotADirectoryError as error:
        raise _not_a_folder(home) from error


@contextmanager
def _rights_named(home: Path) -> Iterator[None]:
    """A home that may not be made is told apart from a full disk."""
    try:
        yield
    except files.NotStored as error:
        if isinstance(error.__cause__, PermissionError):
            raise _unreadable(home) from error
        if isinstance(error.__cause__, (NotADirectoryError, FileExistsError)):
            raise _not_a_folder(home) from error
        raise


def _unreadable(home: Path) -> HomeUnreadable:
    return HomeUnreadable(
        f"Wanted to use the home {home}, but its rights keep this account (uid {os.geteuid()}) "
        "out. Run as the account that made it, or use another folder with --home.",
        home=str(home),
    )


def _not_a_folder(home: Path) -> HomeNotAFolder:
    return HomeNotAFolder(
        f"Wanted {home} as a home, but it, or a part of that path, is not a folder. "
        "Use another path with --home.",
        home=str(home),
    )


def _not_running(home: Path) -> NotRunning:
    return NotRunning(
        f"Wanted the stack of {home}, but none is running. Start it with "
        f"`strongroom up --home {home}`.",
        home=str(home),
    )
