"""Walking a folder without ever following a link, and taking out of it what must not land.

A `Cursor` stands in one folder at a time and moves by descriptors, so a tree may be deeper than
paths are long and than descriptors are many, and a folder that is moved away under it is noticed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from restore.errors import Unsafe

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LINK_STEPS = 400  # more than any honest chain of links needs
Identity = tuple[int, int]  # device and inode


class Step(StrEnum):
    """What a walk meets."""

    ENTER = "enter"  # the cursor now stands in this folder
    LEAVE = "leave"  # the cursor stands in the folder above again
    OTHER = "other"  # anything that is no folder


@dataclass(frozen=True)
class Entry:
    """One thing in a tree; names may hold anything but a slash and a zero byte."""

    step: Step
    name: str
    folder: tuple[str, ...]  # the folders from the root to it
    status: os.stat_result

    @property
    def path(self) -> str:
        return "/".join([*self.folder, self.name])


class Why(StrEnum):
    """Why something was not let through, or not as it was."""

    LINK_OUT = "link-leads-out"
    DEVICE = "device"
    PIPE = "pipe"
    SOCKET = "socket"
    SET_ID = "set-id-bits-removed"
    CAPABILITY = "capability-removed"


@dataclass(frozen=True)
class LeftOut:
    """One thing that was taken out of what was restored, or a bit of it."""

    path: str  # from the root of the restore, safe to print
    why: Why


@dataclass(frozen=True)
class Vetted:
    """What may land."""

    entries: int  # files, links and folders
    left_out: tuple[LeftOut, ...]


class Cursor:
    """A place in a tree. Close it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = os.dup(descriptor)

    def enter(self, name: str) -> None:
        self._move(os.open(name, FOLDER, dir_fd=self.descriptor))

    def leave(self, expected: Identity) -> None:
        self._move(os.open("..", FOLDER, dir_fd=self.descriptor))
        if identity(os.fstat(self.descriptor)) != expected:
            raise Unsafe(
                "A folder was moved while it was being walked. Stop what changes it, and try again."
            )

    def here(self) -> Identity:
        return identity(os.fstat(self.descriptor))

    def close(self) -> None:
        os.close(self.descriptor)

    def _move(self, descriptor: int) -> None:
        os.close(self.descriptor)
        self.descriptor = descriptor


def walk(cursor: Cursor) -> Iterator[Entry]:
    """Everything below, folders before and after what they hold. Others may be removed meanwhile."""
    above: list[tuple[Identity, list[str], Entry]] = []
    names = _names(cursor)
    folder: tuple[str, ...] = ()
    while True:
        if not names:
            if not above:
                return
            expected, names, entered = above.pop()
            cursor.leave(expected)
            folder = entered.folder
            yield Entry(Step.LEAVE, entered.name, folder, entered.status)
            continue
        name = names.pop()
        try:
            status = os.stat(name, dir_fd=cursor.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield Entry(Step.OTHER, name, folder, status)
            continue
        entry = Entry(Step.ENTER, name, folder, status)
        above.append((cursor.here(), names, entry))
        cursor.enter(name)
        folder = (*folder, name)
        yield entry
        names = _names(cursor)


def _names(cursor: Cursor) -> list[str]:
    return sorted(os.listdir(cursor.descriptor), reverse=True)  # noqa: PTH208 - by descriptor


def vet(root: int, *, known: Callable[[str], str | None]) -> Vetted:
    """Take out of a restored tree, which nobody else can reach, what must not land.

    A link that leads out stays only where `known(path)` gives the same link: then it is there
    already. Raises Unsafe when a file is linked to from outside of the tree.
    """
    left_out: list[LeftOut] = []
    shared: dict[int, tuple[int, str]] = {}  # inode: names not yet seen, one that was
    count = 0
    cursor = Cursor(root)
    try:
        for entry in walk(cursor):
            if entry.step is Step.LEAVE:
                continue
            count += 1
            why = _judge(root, cursor, entry, known)
            if why is not None:
                left_out.append(LeftOut(shown(entry.path), why))
            _count_names(shared, entry)
    finally:
        cursor.close()
    for missing, path in shared.values():
        if missing:
            raise Unsafe(f"{shown(path)} is linked to from outside of what was restored.")
    return Vetted(count, tuple(left_out))


def stays_inside(root: int, folder: tuple[str, ...], link: str) -> bool:
    """Whether a link in that folder leads to a place below the root, through whatever links.

    Stricter than need be where it goes up again after something that is not there.
    """
    here = list(folder)
    parts = link.split("/")[::-1]
    if link.startswith("/"):
        return False
    for _ in range(LINK_STEPS):
        part = parts.pop()
        if part == "..":
            if not here:
                return False
            here.pop()
        elif part not in ("", "."):
            try:
                path = "/".join([*here, part])
                mode = os.stat(path, dir_fd=root, follow_symlinks=False).st_mode
                further = os.readlink(path, dir_fd=root) if stat.S_ISLNK(mode) else None
            except (FileNotFoundError, NotADirectoryError):
                return ".." not in parts
            except OSError:
                return False
            if further is None:
                here.append(part)
            elif further.startswith("/"):
                return False
            else:
                parts += further.split("/")[::-1]
        if not parts:
            return True
    return False


def remove(parent: int, name: str) -> None:
    """A whole tree, without following a link; what is not there is no error."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    top = os.open(name, FOLDER, dir_fd=parent)
    try:
        cursor = Cursor(top)
        try:
            for entry in walk(cursor):
                if entry.step is Step.ENTER:
                    os.fchmod(cursor.descriptor, 0o700)
                elif entry.step is Step.LEAVE:
                    os.rmdir(entry.name, dir_fd=cursor.descriptor)
                else:
                    os.unlink(entry.name, dir_fd=cursor.descriptor)
        finally:
            cursor.close()
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def shown(path: str) -> str:
    """A path that cannot play tricks on a terminal or a log."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def _judge(
    root: int, cursor: Cursor, entry: Entry, known: Callable[[str], str | None]
) -> Why | None:
    mode, name = entry.status.st_mode, entry.name
    why = None
    if stat.S_ISDIR(mode):
        return None
    if stat.S_ISLNK(mode):
        link = os.readlink(name, dir_fd=cursor.descriptor)
        if not stays_inside(root, entry.folder, link) and known(entry.path) != link:
            why = Why.LINK_OUT
    elif stat.S_ISREG(mode):
        return _tame(cursor, entry)
    elif stat.S_ISFIFO(mode):
        why = Why.PIPE
    elif stat.S_ISSOCK(mode):
        why = Why.SOCKET
    else:
        why = Why.DEVICE
    if why is not None:
        os.unlink(name, dir_fd=cursor.descriptor)
    return why


def _tame(cursor: Cursor, entry: Entry) -> Why | None:
    """A program that would run with another's rights becomes an ordinary one."""
    why = None
    place = f"/proc/self/fd/{cursor.descriptor}/{entry.name}"
    with suppress(OSError):
        os.removexattr(place, "security.capability", follow_symlinks=False)
        why = Why.CAPABILITY
    if entry.status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        os.chmod(entry.name, entry.status.st_mode & 0o1777, dir_fd=cursor.descriptor)
        why = Why.SET_ID
    return why


def _count_names(shared: dict[int, tuple[int, str]], entry: Entry) -> None:
    status = entry.status
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        missing, _ = shared.get(status.st_ino, (status.st_nlink, ""))
        shared[status.st_ino] = (missing - 1, entry.path)
