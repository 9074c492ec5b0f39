"""What restic prints as JSON, as dataclasses. No dict leaves this folder.

Tolerant as restic's manual asks: unknown messages and fields are ignored, an absent number is 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backup.restic.errors import NoAnswer

Message = dict[str, Any]

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_MOST_LISTED = 100  # unread files and damaged packs that are named one by one


@dataclass(frozen=True)
class Snapshot:
    """One snapshot in one repository."""

    id: str  # full
    original: str | None  # the id it was copied from
    time: datetime
    tree: str  # equal content, equal tree; the same in each copy
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    files: int
    bytes: int  # of the sources

    @property
    def names(self) -> frozenset[str]:
        """Under which ids its copies may know it."""
        return frozenset(name for name in (self.id, self.original) if name)


@dataclass(frozen=True)
class Progress:
    """How far a backup or restore has come."""

    fraction: float  # 0 to 1; 0 while the total is unknown
    files: int
    bytes: int
    total_bytes: int


@dataclass(frozen=True)
class BackupReport:
    """What a backup did."""

    snapshot: str | None  # full id; None: nothing changed, so no snapshot was made
    complete: bool  # False: some files could not be read
    unread: tuple[str, ...]  # at most 100 of them, with the reason; tenant data
    files: int
    bytes: int  # of the source
    files_new: int
    files_changed: int
    added: int  # bytes of new content
    stored: int  # bytes of it in the repository, after compression
    seconds: float


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did, or with dry_run would do."""

    files: int  # matched, folders among them
    restored: int
    skipped: int  # already there as they should be
    deleted: int
    bytes: int
    bytes_restored: int
    seconds: float


@dataclass(frozen=True)
class Restored:
    """What a restore does with one item, where it is asked to list them."""

    path: str  # as in the snapshot
    action: str  # restored, updated, unchanged, deleted
    size: int


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    errors: int
    broken_packs: tuple[str, ...]  # without those that are missing altogether
    needs_repair_index: bool
    needs_prune: bool
    messages: tuple[str, ...]  # the last ones, bounded

    @property
    def ok(self) -> bool:
        return self.errors == 0


@dataclass(frozen=True)
class Entry:
    """A file, folder, link … in a snapshot."""

    path: str  # absolute, from the snapshot's root
    kind: str  # file, dir, symlink, fifo, socket, dev, chardev, irregular
    size: int
    mode: int  # permission bits, with setuid, setgid and sticky as stat(2) has them
    mtime: datetime
    uid: int
    gid: int


@dataclass(frozen=True)
class Change:
    """One path that differs between two snapshots."""

    path: str
    kind: str  # + added, - removed, M content, T type, U metadata, ? same hash but other content


@dataclass(frozen=True)
class DiffReport:
    """How two snapshots differ."""

    changed_files: int
    added_files: int
    removed_files: int
    added_bytes: int
    removed_bytes: int


@dataclass(frozen=True)
class Stats:
    """What a repository holds."""

    bytes: int  # stored
    uncompressed: int
    blobs: int
    snapshots: int


@dataclass(frozen=True)
class KeyInfo:
    """A key file of a repository."""

    id: str  # full
    current: bool  # it opened the repository just now
    user: str
    host: str


@dataclass(frozen=True)
class PackUse:
    """A path whose content, or whose folder's listing, lies in a pack."""

    snapshot: str
    path: str
    kind: str  # blob or tree


def only_summary(messages: Sequence[Message], command: str) -> Message:
    """The one summary; raises NoAnswer when there is none, or more than one."""
    found = [message for message in messages if message.get("message_type") == "summary"]
    if len(found) != 1:
        raise NoAnswer(
            f"restic {command} ended well but gave {len(found)} summaries instead of one, "
            "so nothing it did counts. Try again, and check restic's version.",
            command=command,
        )
    return found[0]


def document(text: str, command: str) -> Any:
    """The JSON that a command gave as a whole."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise NoAnswer(
            f"restic {command} ended well but what it printed is not JSON.", command=command
        ) from error


def backup_report(summary: Message, *, complete: bool, unread: Sequence[str]) -> BackupReport:
    return BackupReport(
        snapshot=summary.get("snapshot_id") or None,
        complete=complete,
        unread=tuple(unread[:_MOST_LISTED]),
        files=_number(summary, "total_files_processed"),
        bytes=_number(summary, "total_bytes_processed"),
        files_new=_number(summary, "files_new"),
        files_changed=_number(summary, "files_changed"),
        added=_number(summary, "data_added"),
        stored=_number(summary, "data_added_packed"),
        seconds=float(summary.get("total_duration") or 0.0),
    )


def restore_report(summary: Message) -> RestoreReport:
    return RestoreReport(
        files=_number(summary, "total_files"),
        restored=_number(summary, "files_restored"),
        skipped=_number(summary, "files_skipped"),
        deleted=_number(summary, "files_deleted"),
        bytes=_number(summary, "total_bytes"),
        bytes_restored=_number(summary, "bytes_restored"),
        seconds=float(summary.get("seconds_elapsed") or 0.0),
    )


def check_report(summary: Message, messages: Sequence[str]) -> CheckReport:
    return CheckReport(
        errors=_number(summary, "num_errors"),
        broken_packs=tuple((summary.get("broken_packs") or [])[:_MOST_LISTED]),
        needs_repair_index=bool(summary.get("suggest_repair_index")),
        needs_prune=bool(summary.get("suggest_prune")),
        messages=tuple(messages),
    )


def progress(message: Message) -> Progress | None:
    """From a status line; None for any other."""
    if message.get("message_type") != "status":
        return None
    return Progress(
        fraction=float(message.get("percent_done") or 0.0),
        files=_number(message, "files_done") or _number(message, "files_restored"),
        bytes=_number(message, "bytes_done") or _number(message, "bytes_restored"),
        total_bytes=_number(message, "total_bytes"),
    )


def snapshot(raw: Message) -> Snapshot:
    summary = raw.get("summary") or {}
    return Snapshot(
        id=raw["id"],
        original=raw.get("original") or None,
        time=moment(raw["time"]),
        tree=raw.get("tree", ""),
        host=raw.get("hostname", ""),
        tags=tuple(raw.get("tags") or ()),
        paths=tuple(raw.get("paths") or ()),
        files=_number(summary, "total_files_processed"),
        bytes=_number(summary, "total_bytes_processed"),
    )


def entry(message: Message) -> Entry | None:
    """From a line of `ls`; None for any other."""
    if message.get("message_type") != "node":
        return None
    return Entry(
        path=message["path"],
        kind=message.get("type", "irregular"),
        size=_number(message, "size"),
        mode=_unix_mode(_number(message, "mode")),
        mtime=moment(message["mtime"]),
        uid=_number(message, "uid"),
        gid=_number(message, "gid"),
    )


def change(message: Message) -> Change | None:
    """From a line of `diff`; None for any other."""
    if message.get("message_type") != "change":
        return None
    return Change(path=message["path"], kind=message.get("modifier", "?"))


def restored(message: Message) -> Restored | None:
    """From a line of a restore that lists; None for any other."""
    if message.get("message_type") != "verbose_status":
        return None
    action = str(message.get("action", ""))
    return Restored(str(message.get("item", "")), action, _number(message, "size"))


def diff_report(message: Message) -> DiffReport:
    added, removed = message.get("added") or {}, message.get("removed") or {}
    return DiffReport(
        changed_files=_number(message, "changed_files"),
        added_files=_number(added, "files"),
        removed_files=_number(removed, "files"),
        added_bytes=_number(added, "bytes"),
        removed_bytes=_number(removed, "bytes"),
    )


def stats(raw: Message) -> Stats:
    return Stats(
        bytes=_number(raw, "total_size"),
        uncompressed=_number(raw, "total_uncompressed_size"),
        blobs=_number(raw, "total_blob_count"),
        snapshots=_number(raw, "snapshots_count"),
    )


def key_info(raw: Message) -> KeyInfo:
    return KeyInfo(
        id=raw["id"],
        current=bool(raw.get("current")),
        user=raw.get("userName", ""),
        host=raw.get("hostName", ""),
    )


def pack_use(raw: Message) -> PackUse:
    return PackUse(raw["snapshot"], raw.get("path", ""), raw.get("object_type", ""))


def moment(text: str) -> datetime:
    """An aware time in UTC; restic gives up to nine digits of a second, Python keeps six.

    What lies outside of the years 1 to 9999, as a file's time may, is taken for the nearest end.
    """
    cut = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        return datetime.fromisoformat(cut).astimezone(UTC)
    except (ValueError, OverflowError):
        early = cut.startswith(("-", "000"))
        return EARLIEST if early else LATEST


def _number(message: Message, name: str) -> int:
    return int(message.get(name) or 0)


def _unix_mode(mode: int) -> int:
    # Go's os.FileMode has these three bits elsewhere.
    special = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))
    return (mode & 0o777) | sum(unix for go, unix in special if mode & go)
