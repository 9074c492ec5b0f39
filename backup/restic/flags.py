"""restic's flags as lists. Pure, and the only place that spells them.

A value always hangs on its flag (`--host=…`), so that nothing a tenant names is read as a flag.
Full snapshot ids only: a prefix or "latest" could mean another one tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from strongroom.errors import BadValue

_ID = re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"[0-9A-Za-z_.:-]+")  # a comma would make two tags

# Reads the stream from descriptor $1, says on $2 that it has ended, and lets the snapshot come to
# be only when descriptor $3 says ok. An empty stream fails here: restic would make a snapshot
# without the file, and a backup has no right to forget one. A constant: only numbers differ.
GATE = """
first=$(head -c 1 <"/dev/fd/$1" | od -An -to1 | tr -d ' \\n')
[ -n "$first" ] || { echo empty >"/dev/fd/$2"; exit 1; }
printf "\\\\$first" && cat <"/dev/fd/$1" && echo ended >"/dev/fd/$2" || exit 1
read -r verdict <"/dev/fd/$3" && [ "$verdict" = ok ]
"""


class Overwrite(StrEnum):
    """What a restore does with a file that is already there."""

    ALWAYS = "always"  # compares content and writes what differs
    IF_CHANGED = "if-changed"  # trusts time and size
    IF_NEWER = "if-newer"
    NEVER = "never"


@dataclass(frozen=True)
class FolderBackup:
    """A folder to back up as it stands."""

    folder: Path  # with `descriptor` for messages only
    host: str  # names the source; a run's parent is the newest snapshot of the same host
    tags: tuple[str, ...] = ()  # such as "run:<id>"
    excludes: tuple[str, ...] = ()  # restic's patterns; one that begins with / starts at `folder`
    parent: str | None = None  # the full id to compare with, instead of the newest of the host
    force: bool = False  # read every file again, whatever its time and size say
    skip_if_unchanged: bool = True
    staged: bool = False  # made anew for this run: inode and ctime say nothing
    one_file_system: bool = False
    descriptor: int | None = None  # the folder itself, open: the path may lead elsewhere by now


@dataclass(frozen=True)
class Stream:
    """A stream to back up as one file."""

    filename: str  # its path in the snapshot
    host: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestoreOrder:
    """What to bring back, and where to."""

    snapshot: str  # full id
    target: Path  # in a folder that is there; a link as its last name is replaced, not followed
    subfolder: str = "/"  # becomes the target itself
    include: tuple[str, ...] = ()  # exact paths below the subfolder; empty means all
    overwrite: Overwrite = Overwrite.ALWAYS
    delete: bool = False  # remove what the snapshot does not have
    dry_run: bool = False
    listed: bool = False  # restic names every item, and what it does with it
    descriptors: tuple[int, ...] = ()  # that a target below /proc/self/fd speaks of


@dataclass(frozen=True)
class CheckExtent:
    """How much of the data a check reads, beside the structure."""

    everything: bool = False
    part: tuple[int, int] | None = None  # (n, t): packs whose first byte mod t is n-1

    def __post_init__(self) -> None:
        if self.part is not None and not 1 <= self.part[0] <= self.part[1] <= 256:
            raise BadValue(f"A part n/t needs 1 <= n <= t <= 256; found {self.part}.")


@dataclass(frozen=True)
class PruneBounds:
    """How eagerly to write packs anew."""

    max_unused: str = "10%"  # "unlimited" where object lock keeps the old packs anyway
    max_repack: str | None = None  # such as "2G"


def backup_folder(wanted: FolderBackup, *, exclude_file: Path | None, watched: bool) -> list[str]:
    flags = ["backup", "--json", f"--host={wanted.host}", *_tags(wanted.tags)]
    flags += [f"--parent={full_ids([wanted.parent])[0]}"] if wanted.parent else ["--group-by=host"]
    flags += ["--force"] if wanted.force else []
    flags += ["--skip-if-unchanged"] if wanted.skip_if_unchanged else []
    flags += ["--ignore-inode", "--ignore-ctime"] if wanted.staged else []
    flags += ["--one-file-system"] if wanted.one_file_system else []
    flags += _patterns("exclude", excludes(wanted), exclude_file)
    flags += [] if watched else ["--no-scan", "--quiet"]
    return [*flags, "--", "."]


def backup_stream(wanted: Stream, *, stream: int, ended: int, verdict: int) -> list[str]:
    return [
        "backup",
        "--json",
        f"--host={wanted.host}",
        *_tags(wanted.tags),
        "--group-by=host",
        f"--stdin-filename={wanted.filename}",
        "--stdin-from-command",
        "--",
        *["/bin/sh", "-c", GATE, "gate", str(stream), str(ended), str(verdict)],
    ]


def copy(ids: Sequence[str]) -> list[str]:
    return ["copy", "--no-lock", "--", *full_ids(ids)]


def forget(ids: Sequence[str]) -> list[str]:
    return ["forget", "--json", "--", *full_ids(ids)]


def prune(bounds: PruneBounds) -> list[str]:
    flags = ["prune", f"--max-unused={bounds.max_unused}"]
    return flags + ([f"--max-repack-size={bounds.max_repack}"] if bounds.max_repack else [])


def check(extent: CheckExtent) -> list[str]:
    flags = ["check", "--json", "--no-lock"]
    if extent.everything:
        return [*flags, "--read-data"]
    if extent.part is not None:
        return [*flags, f"--read-data-subset={extent.part[0]}/{extent.part[1]}"]
    return flags


def repair_packs(ids: Sequence[str]) -> list[str]:
    return ["repair", "packs", "--", *full_ids(ids)]


def repair_snapshots(ids: Sequence[str], *, dry_run: bool) -> list[str]:
    how = ["--dry-run", "--no-lock"] if dry_run else ["--forget"]
    return ["repair", "snapshots", *how, "--", *full_ids(ids)]


def cat(kind: str, name: str) -> list[str]:
    """`kind` is index or snapshot."""
    [full] = full_ids([name])
    return ["cat", "--json", "--no-lock", "--", kind, full]


def restore(order: RestoreOrder, *, include_file: Path | None, watched: bool) -> list[str]:
    flags = ["restore", "--json", "--no-lock", f"--target={order.target}"]
    flags += [f"--overwrite={order.overwrite}"]
    flags += ["--delete"] if order.delete else []
    flags += ["--dry-run"] if order.dry_run else []
    flags += ["--verbose=2"] if order.listed else []
    flags += _patterns("include", includes(order), include_file)
    flags += [] if watched or order.listed else ["--quiet"]
    [snapshot] = full_ids([order.snapshot])
    return [*flags, "--", f"{snapshot}:{order.subfolder}"]


def excludes(wanted: FolderBackup) -> list[str]:
    """restic matches whole local paths: what begins with / is to begin at the folder."""
    start = _quoted(str(wanted.folder)).rstrip("/")
    return [re.sub(r"^(!?)(?=/)", lambda m: m[1] + start, p) for p in wanted.excludes]


def includes(order: RestoreOrder) -> list[str]:
    """Patterns that match the paths themselves below the subfolder, and no other."""
    return [_quoted("/" + path.strip("/")) for path in order.include]


def pattern_file(patterns: Sequence[str]) -> str:
    """The text of an exclude or include file; restic expands $NAME in it, so $ is doubled."""
    return "".join(f"{pattern.replace('$', '$$')}\n" for pattern in patterns if _fits(pattern))


def _patterns(kind: str, patterns: Sequence[str], file: Path | None) -> list[str]:
    inline = [f"--{kind}={pattern}" for pattern in patterns if not _fits(pattern)]
    return [*([f"--{kind}-file={file}"] if file else []), *inline]


def _fits(pattern: str) -> bool:
    # restic reads pattern files by lines, trims them, and passes over those that begin with #.
    one_line = len(pattern.splitlines()) == 1 and "\0" not in pattern
    return one_line and pattern == pattern.strip() and not pattern.startswith("#")


def _quoted(path: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", path)


def full_ids(ids: Sequence[str]) -> list[str]:
    for name in ids:
        if not _ID.fullmatch(name):
            raise BadValue(f"A snapshot or pack is named by 64 hex digits; found {name[:80]!r}.")
    return list(ids)


def _tags(tags: Sequence[str]) -> list[str]:
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise BadValue(f"A tag has letters, digits and _.:- only; found {tag[:80]!r}.")
    return [f"--tag={tag}" for tag in tags]
