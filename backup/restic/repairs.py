"""restic's commands that mend, and those that tell what there is to mend.

Who calls `repair_packs` or `repair_snapshots` holds the lease and has recorded the act.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.restic import calls, flags, outputs
from backup.restic.calls import Call, Repository, Surroundings

LENGTH_FIELD, SEAL = 4, 32  # bytes of a pack's header beside its entries, restic design document
ENTRY, COMPRESSED_ENTRY = 37, 41
# The only words of restic's that are read: a kind and a path in Go's quotes, at a line's begin.
_LOST = re.compile(r'  (file|dir) ("(?:[^"\\]|\\.)*"): ')
_GO_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True)
class IndexedPack:
    """A pack as an index knows it."""

    name: str
    bytes: int  # how long the object has to be
    has_trees: bool


@dataclass(frozen=True)
class LostPath:
    """A path of a snapshot that cannot be given back whole any more."""

    path: str
    kind: str  # file, or dir: everything below it


def index(repository: Repository, here: Surroundings, name: str) -> tuple[IndexedPack, ...]:
    """The packs that one index names."""
    text = _text(Call("cat index", flags.cat("index", name), repository), here)
    listed = outputs.document(text, "cat index").get("packs") or []
    return tuple(_indexed(raw) for raw in listed)


def snapshot_text(repository: Repository, here: Surroundings, name: str) -> str:
    """A snapshot as JSON, as it lies sealed in the repository."""
    return _text(Call("cat snapshot", flags.cat("snapshot", name), repository), here)


def lost_paths(repository: Repository, here: Surroundings, snapshot: str) -> tuple[LostPath, ...]:
    """What of a snapshot the index no longer has or cannot be read; empty if it is whole.

    restic says so only in a dry run of its repair, which changes nothing.
    """
    found: list[LostPath] = []

    def line(text: str) -> None:
        said = _LOST.match(text)
        if said is not None:
            found.append(LostPath(unquoted(said[2]), said[1]))

    call = Call("repair snapshots", flags.repair_snapshots([snapshot], dry_run=True), repository)
    calls.run(call, here, on_line=line)
    return tuple(found)


def repair_packs(repository: Repository, here: Surroundings, packs: Sequence[str]) -> None:
    """Write the intact blobs of damaged packs anew, and remove those packs from index and store.

    restic leaves a copy of each pack in the folder where it is started: one of our own.
    """
    with tempfile.TemporaryDirectory(dir=here.scratch, prefix="packs-") as folder:
        if here.account is not None:
            os.chown(folder, here.account.uid, here.account.gid)
        call = Call("repair packs", flags.repair_packs(packs), repository, folder=Path(folder))
        calls.run(call, here)


def repair_snapshots(repository: Repository, here: Surroundings, ids: Sequence[str]) -> None:
    """Write these snapshots anew without what is lost, and forget the old ones.

    Only where no region has what is lost. The new ones name the old as their original.
    """
    calls.run(
        Call("repair snapshots", flags.repair_snapshots(ids, dry_run=False), repository), here
    )


def unquoted(text: str) -> str:
    """A path out of Go's %q."""

    def plain(found: re.Match[str]) -> str:
        sign = found[1]
        if sign[0] == "x":
            return "\ufffd"  # a byte that is no UTF-8
        if sign[0] in "uU" and len(sign) > 1:
            return chr(int(sign[1:], 16))
        return _PLAIN.get(sign, sign)

    return _GO_ESCAPE.sub(plain, text[1:-1])


def _indexed(raw: calls.Message) -> IndexedPack:
    blobs = raw.get("blobs") or []
    end = max((int(each["offset"]) + int(each["length"]) for each in blobs), default=0)
    entries = sum(COMPRESSED_ENTRY if each.get("uncompressed_length") else ENTRY for each in blobs)
    return IndexedPack(
        name=raw["id"],
        bytes=end + entries + LENGTH_FIELD + SEAL,
        has_trees=any(each.get("type") == "tree" for each in blobs),
    )


def _text(call: Call, here: Surroundings) -> str:
    """All that it prints, in one line however long: an index may have megabytes."""
    with tempfile.TemporaryFile(dir=here.scratch) as file:
        calls.run_into(call, here, file)
        file.seek(0)
        return file.read().decode()
