"""Landing restored files: in a folder of our own first, then by one exchange in their place.

What restic restores goes into a private staging folder beside the target, on the same file
system. It is vetted there (`tree.py`), and then takes its place by a single rename: in place the
staged folder and the live one change places, the old one being set aside as
`<name>.before-<stamp>`; aside it becomes `<name>.restored-<stamp>`. Nothing is ever overwritten,
no link in the way is followed, and at every moment the target is wholly old or wholly new.

Chosen paths in place work on a copy of the live folder that shares its files by hard links, with
the chosen paths replaced. After the exchange what is shared goes from the set-aside folder, which
then holds just what was replaced, and what others wrote in the meantime.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from backup.sources import walk
from restore import targets, tree
from restore.errors import NotSwapped, Unsafe
from restore.tree import FOLDER, Cursor, Identity, Step, Vetted, identity
from strongroom.errors import BadValue, NotFound

NOREPLACE, EXCHANGE = 1, 2  # flags of renameat2(2)
NAME_BYTES = 255
DATA, LIVE_COPY = "data", "copy"
INTENT = "exchange.json"  # written before an exchange: what the live folder was
CHOSEN = "chosen"  # there when the staged folder shares files with the live one
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Staging:
    """A private folder beside the target."""

    target: Path  # without links
    name: str  # of the staging folder
    parent: Identity  # which folders they were when we looked first
    own: Identity
    descriptor: int  # of the staging folder: nobody can put another one in its place

    @property
    def data(self) -> Path:
        """Where the files are to be restored, for a program that has the descriptor: empty."""
        return walk.by_descriptor(self.descriptor) / DATA

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class Landed:
    """Where the files are now."""

    path: Path
    before: Path | None  # where the old ones are; None when there were none


def prepare(target: Path, *, token: str) -> Staging:
    """Make the staging folder; `token` tells one restore from others. Close it at the end.

    Raises Unsafe, also for a target with a link on its way: it is to be resolved when it is
    checked, and not again when it is used.
    """
    targets.require_no_link(target)
    if not target.name:
        raise Unsafe("The root of the file system cannot be restored into. Name a folder.")
    targets.require_exchangeable(target)
    name = _staging_name(token)
    with _descriptor(target.parent) as parent:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except OSError as error:
            raise Unsafe(
                f"Wanted to prepare a restore beside {target}, but: {error.strerror}. "
                f"Let the platform's account write in {target.parent}.",
                folder=str(target.parent),
            ) from error
        staging = _staging(target, parent, name)
        try:
            os.mkdir(DATA, 0o700, dir_fd=staging.descriptor)
        except OSError as error:
            staging.close()
            raise _replaced(target.parent / name) from error
        return staging


def vet(staging: Staging, *, keep_known_links: bool) -> Vetted:
    """Take out what must not land, and say what it was. Before any of the two ways to land.

    With `keep_known_links` a link that leads out stays where the live folder has the very same.
    """

    def known(path: str) -> str | None:
        with suppress(OSError):
            if keep_known_links:
                return os.readlink(staging.target / path)  # noqa: PTH115 - not normalized
        return None

    with _places(staging) as (_, own), _opened(own, DATA) as data:
        return tree.vet(data, known=known)


def choose(staging: Staging, chosen: Sequence[str]) -> None:
    """Make the staged folder the live one with just these paths replaced; then `in_place`.

    Raises NotFound when the restore brought none of a path, BadValue for one that is not plain.
    """
    paths = [_plain(path) for path in chosen]
    with _places(staging) as (parent, own):
        with _opened(parent, staging.target.name) as live:
            os.mkdir(LIVE_COPY, 0o700, dir_fd=own)
            with _opened(own, LIVE_COPY) as copy, _opened(own, DATA) as data:
                _link_tree(live, copy)
                for path in paths:
                    _replace(data, copy, path)
        os.close(os.open(CHOSEN, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=own))
        tree.remove(own, DATA)
        os.rename(LIVE_COPY, DATA, src_dir_fd=own, dst_dir_fd=own)


def aside(staging: Staging, *, at: datetime) -> Landed:
    """Give the files a name of their own beside the target."""
    name = _stamped(staging.target.name, "restored", at)
    with _places(staging) as (parent, own):
        _look_alike(parent, own, staging.target.name)
        _rename(own, DATA, parent, name, NOREPLACE)
        _finish(parent, own, staging.name)
    return Landed(staging.target.with_name(name), None)


def in_place(staging: Staging, *, at: datetime) -> Landed:
    """Exchange the files with the live folder, or give them its name if there is none.

    Raises NotSwapped or Unsafe, and then the live folder is as it was.
    """
    targets.require_exchangeable(staging.target)
    name = staging.target.name
    before = _stamped(name, "before", at)
    with _places(staging) as (parent, own):
        _look_alike(parent, own, name)
        live = _status(parent, name)
        if live is None:
            _rename(own, DATA, parent, name, NOREPLACE)
            _finish(parent, own, staging.name)
            return Landed(staging.target, None)
        if _status(parent, before) is not None:
            raise NotSwapped(f"There is a {before} already. Try again in a second.")
        _write_intent(own, live, before)
        _rename(own, DATA, parent, name, EXCHANGE)
        _set_aside(parent, own, staging, before)
    return Landed(staging.target, staging.target.with_name(before))


def recover(target: Path, *, token: str) -> Landed | None:
    """After a crash: finish an exchange that has happened, else remove what was staged.

    None when the target is as it was.
    """
    name = _staging_name(token)
    with _descriptor(target.parent) as parent:
        if _status(parent, name) is None:
            return None
        staging = _staging(target, parent, name)
        try:
            return _cleared(staging, parent)
        finally:
            staging.close()


def discard(staging: Staging) -> None:
    """Remove the staging folder with all that is in it; not the old data after an exchange.

    Raises Unsafe when another one lies in its place, which is not touched; what was restored is
    removed even so.
    """
    with _descriptor(staging.target.parent) as parent:
        status = _status(parent, staging.name)
        if status is not None and identity(status) == staging.own:
            _cleared(staging, parent)
        elif os.fstat(staging.descriptor).st_nlink:  # moved away, and not removed
            if _exchanged(staging.descriptor) is None:
                for name in (DATA, LIVE_COPY):
                    tree.remove(staging.descriptor, name)
            raise _replaced(staging.target.parent / staging.name)


def _cleared(staging: Staging, parent: int) -> Landed | None:
    own, target = staging.descriptor, staging.target
    try:
        before = _exchanged(own)
        if before is not None:
            _set_aside(parent, own, staging, before)
            return Landed(target, target.with_name(before))
        for name in (DATA, LIVE_COPY):
            tree.remove(own, name)
        _finish(parent, own, staging.name)
    except OSError as error:
        raise Unsafe(
            f"{target.parent / staging.name} could not be cleared away: {error.strerror}. It has "
            "changed meanwhile; look at it, and remove it.",
            folder=str(target.parent),
        ) from error
    return None


def _staging_name(token: str) -> str:
    if not token.isalnum():
        raise BadValue("A restore's token is letters and digits.")
    return f".strongroom-restore-{token}"


def _staging(target: Path, parent: int, name: str) -> Staging:
    """The staging folder there, held open. Raises Unsafe unless it is one that we made.

    The parent may be another's: between our making the folder and opening it, or while we were
    away, he may have put something in its place. A folder of ours that is closed to others he
    cannot make, and what is in ours he cannot reach.
    """
    try:
        own = os.open(name, FOLDER, dir_fd=parent)
    except OSError as error:
        raise _replaced(target.parent / name) from error
    status = os.fstat(own)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(own)
        raise _replaced(target.parent / name)
    return Staging(target, name, identity(os.fstat(parent)), identity(status), own)


def _replaced(place: Path) -> Unsafe:
    return Unsafe(
        f"{place} is not the folder that this restore made: somebody replaced it. It was neither "
        "followed nor removed, and nothing was landed. Look at it, remove it, and restore again.",
        folder=str(place),
    )


@contextmanager
def _descriptor(folder: Path) -> Iterator[int]:
    """Opened from the root down, so that no link in the way is followed. Raises Unsafe."""
    try:
        descriptor = walk.open_folder(folder)
    except OSError as error:
        raise Unsafe(
            f"{folder} cannot be entered at {error.filename!r}: {error.strerror}. It has changed, "
            "or is closed to the platform's account.",
            folder=str(folder),
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(parent: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _places(staging: Staging) -> Iterator[tuple[int, int]]:
    """The target's parent and the staging folder, checked to be still the same ones."""
    with (
        _said(staging),
        _descriptor(staging.target.parent) as parent,
        _opened(parent, staging.name) as own,
    ):
        if (identity(os.fstat(parent)), identity(os.fstat(own))) != (staging.parent, staging.own):
            raise Unsafe(
                f"{staging.target.parent} or what was staged there was replaced by somebody "
                "meanwhile. Nothing was landed.",
            )
        yield parent, own


@contextmanager
def _said(staging: Staging) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotSwapped(
            f"Wanted to land files in {staging.target}, but: {error.strerror} "
            f"({tree.shown(str(error.filename or staging.name))}). The folder is wholly the old "
            "one or wholly the new one; see to the cause, and clear the restore up.",
            folder=str(staging.target),
        ) from error


def _rename(old_folder: int, old: str, new_folder: int, new: str, flags: int) -> None:
    done = _libc.renameat2(old_folder, os.fsencode(old), new_folder, os.fsencode(new), flags)
    if done == 0:
        return
    number = ctypes.get_errno()
    advice = {
        errno.EEXIST: "There is something by that name already.",
        errno.EBUSY: "It is a mount point.",
        errno.EINVAL: "This file system cannot exchange folders; restore aside.",
        errno.ENOSYS: "This system cannot exchange folders; restore aside.",
    }.get(number, os.strerror(number))
    raise NotSwapped(f"Wanted to give {new} its restored content. {advice} Nothing has changed.")


def _look_alike(parent: int, own: int, live: str) -> None:
    """The folder itself gets the owner and mode of the live one, or is open to its owner only."""
    status = _status(parent, live)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise Unsafe(f"{tree.shown(live)} is no folder any more. Nothing was landed.")
    with _opened(own, DATA) as data:
        if status is not None:
            if os.geteuid() == 0:
                os.fchown(data, status.st_uid, status.st_gid)
            os.fchmod(data, stat.S_IMODE(status.st_mode))


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _write_intent(own: int, live: os.stat_result, before: str) -> None:
    """Tells after a crash whether what lies in staging is the old data or the new."""
    text = json.dumps({"live": list(identity(live)), "before": before}).encode()
    descriptor = os.open(INTENT, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=own)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.fsync(own)


def _exchanged(own: int) -> str | None:
    try:
        descriptor = os.open(INTENT, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=own)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor) as stream:
        intent = _intent(stream.read())
    staged = _status(own, DATA)
    if intent is None or (staged is not None and identity(staged) != intent[0]):
        return None
    return intent[1]


def _intent(text: str) -> tuple[Identity, str] | None:
    """What was written; a name that is a path would lead out of the target's parent."""
    try:
        intent = json.loads(text)
        device, inode = intent["live"]
        before = str(intent["before"])
    except (ValueError, KeyError, TypeError):
        return None  # killed while it was written, so before the exchange
    if "/" in before or before in ("", ".", ".."):
        raise Unsafe(f"{INTENT} in the staging folder was not written by us. Look at it.")
    return (device, inode), before


def _set_aside(parent: int, own: int, staging: Staging, before: str) -> None:
    if _status(own, DATA) is not None:
        if _status(own, CHOSEN) is not None:
            with _opened(own, DATA) as old, _opened(parent, staging.target.name) as live:
                _drop_shared(old, live)
        _rename(own, DATA, parent, before, NOREPLACE)
    _finish(parent, own, staging.name)


def _finish(parent: int, own: int, name: str) -> None:
    os.fsync(parent)
    for note in (CHOSEN, INTENT):
        with suppress(FileNotFoundError):
            os.unlink(note, dir_fd=own)
    os.rmdir(name, dir_fd=parent)


def _drop_shared(old: int, live: int) -> None:
    """Remove from the old folder the names of files that are in the live one, by inode."""
    shared = _inodes(live)
    cursor = Cursor(old)
    try:
        for entry in tree.walk(cursor):
            if entry.step is Step.OTHER and entry.status.st_nlink > 1:
                if (entry.status.st_ino, entry.path) in shared:
                    os.unlink(entry.name, dir_fd=cursor.descriptor)
            elif entry.step is Step.LEAVE:
                with suppress(OSError):  # not empty
                    os.rmdir(entry.name, dir_fd=cursor.descriptor)
    finally:
        cursor.close()


def _inodes(folder: int) -> set[tuple[int, str]]:
    cursor = Cursor(folder)
    try:
        return {
            (entry.status.st_ino, entry.path)
            for entry in tree.walk(cursor)
            if entry.step is Step.OTHER and entry.status.st_nlink > 1
        }
    finally:
        cursor.close()


def _link_tree(live: int, copy: int) -> None:
    """The same folders, the same files under further names."""
    source, made = Cursor(live), Cursor(copy)
    above: list[Identity] = []
    try:
        for entry in tree.walk(source):
            if entry.step is Step.ENTER:
                os.mkdir(entry.name, 0o700, dir_fd=made.descriptor)
                above.append(made.here())
                made.enter(entry.name)
            elif entry.step is Step.LEAVE:
                _copy_face(entry.status, made.descriptor)
                made.leave(above.pop())
            else:
                os.link(
                    entry.name,
                    entry.name,
                    src_dir_fd=source.descriptor,
                    dst_dir_fd=made.descriptor,
                    follow_symlinks=False,
                )
    finally:
        source.close()
        made.close()


def _copy_face(status: os.stat_result, folder: int) -> None:
    if os.geteuid() == 0:
        os.fchown(folder, status.st_uid, status.st_gid)
    os.fchmod(folder, stat.S_IMODE(status.st_mode))
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(data: int, copy: int, path: PurePosixPath) -> None:
    source, into = Cursor(data), Cursor(copy)
    try:
        for part in path.parts[:-1]:
            try:
                source.enter(part)
            except OSError as error:
                raise _not_brought(path) from error
            status = _status(into.descriptor, part)
            if status is None or not stat.S_ISDIR(status.st_mode):
                tree.remove(into.descriptor, part)
                os.mkdir(part, 0o700, dir_fd=into.descriptor)
                into.enter(part)
                _copy_face(os.fstat(source.descriptor), into.descriptor)
            else:
                into.enter(part)
        if _status(source.descriptor, path.name) is None:
            raise _not_brought(path)
        tree.remove(into.descriptor, path.name)
        _rename(source.descriptor, path.name, into.descriptor, path.name, NOREPLACE)
    finally:
        source.close()
        into.close()


def _not_brought(path: PurePosixPath) -> NotFound:
    return NotFound(
        f"The point has nothing at {tree.shown(str(path))}. Choose from the files it has.",
        code="path-not-in-point",
    )


def _plain(path: str) -> PurePosixPath:
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise BadValue(
            f"{tree.shown(path)!r} is no path inside the folder. Write it from the folder on, "
            "without / at its ends, '.' and '..'."
        )
    return PurePosixPath(path)


def _stamped(name: str, what: str, at: datetime) -> str:
    if at.tzinfo is None:
        raise BadValue("The time of a restore has to name its zone.")
    tail = f".{what}-{at:%Y%m%d_%H%M%S}"
    return os.fsdecode(os.fsencode(name)[: NAME_BYTES - len(tail)]) + tail
