"""restic's commands. Each returns what restic did, or raises; see `errors` for what.

Who calls `forget`, `prune`, `repair_index`, `unlock_all`, `backup_*` or `copy` holds the lease on
the tenant's repository in that region: restic's own locks are no mutex here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from backup.restic import calls, errors, flags, gateway, outputs
from backup.restic.calls import Answer, Call, Repository, Surroundings
from backup.restic.flags import CheckExtent, FolderBackup, PruneBounds, RestoreOrder
from backup.restic.outputs import (
    BackupReport,
    Change,
    CheckReport,
    DiffReport,
    Entry,
    KeyInfo,
    PackUse,
    Progress,
    Restored,
    RestoreReport,
    Snapshot,
    Stats,
)
from backup.sources.walk import by_descriptor
from strongroom import program
from strongroom.closed_view import Place

OLDEST = (0, 19, 1)  # exit codes 3 and 130, and JSON, are as we rely on them from here
_IDS_AT_ONCE = 500  # of one forget: argv is bounded


@dataclass(frozen=True)
class Copied:
    """A snapshot and its copy in the other region."""

    original: str  # the id that was asked for
    snapshot: Snapshot  # in the other region


def version(here: Surroundings) -> str:
    """Raises TooOld for a restic that lacks what we rely on."""
    found = ""

    def keep(line: str) -> None:
        nonlocal found
        found = str((calls.parse(line) or {}).get("version", "")) or found

    nowhere = Repository(address="/nonexistent", password=b"-")
    calls.run(Call("version", ["version", "--json"], nowhere), here, on_line=keep)
    parts = tuple(int(part) for part in found.partition("-")[0].split(".") if part.isdigit())
    if parts < OLDEST:
        raise errors.TooOld(
            f"restic is {found or 'without a version'}; {'.'.join(map(str, OLDEST))} or newer is "
            "needed. Run `make setup` or put a newer restic on the PATH."
        )
    return found


def init(repository: Repository, here: Surroundings, *, like: Repository | None = None) -> str:
    """Create a repository by restic's own `init`, and return its id; costs seconds of CPU.

    `like` is the tenant's repository in another region, for its chunker polynomial. Follow it
    with `keyfile.add_low_cost`. The usual way is `creation.create`.
    """
    wanted = ["init", "--json", *(["--copy-chunker-params"] if like else [])]
    found = _documents(Call("init", wanted, repository, source=like), here)
    made = [m for m in found if m.get("message_type") == "initialized"]
    if len(made) != 1:
        raise errors.NoAnswer("restic init ended well but named no repository.")
    return str(made[0]["id"])


def open_check(repository: Repository, here: Surroundings) -> str:
    """The id of the repository, once it has been opened; raises NoRepository or WrongKey."""
    text = _text(Call("cat", ["cat", "--json", "--no-lock", "config"], repository), here)
    return str(outputs.document(text, "cat")["id"])


def backup_folder(
    repository: Repository,
    here: Surroundings,
    wanted: FolderBackup,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> BackupReport:
    """Back up a folder; `complete` is False when some files in it could not be read.

    Raises SourceMissing when the folder is not there, and then makes no snapshot.
    """
    wanted = replace(wanted, folder=_real(wanted))
    if not wanted.folder.is_dir():
        raise errors.SourceMissing(
            f"Wanted to back up the folder {wanted.folder}, but there is none. "
            "Mount or make it, or change the source."
        )
    with _pattern_file(here, flags.excludes(wanted)) as file:
        call = Call(
            "backup",
            flags.backup_folder(wanted, exclude_file=file, watched=progress is not None),
            repository,
            folder=_start(wanted),
            accepted=(0, 3),
            reads=(wanted.folder if wanted.descriptor is None else wanted.descriptor,),
        )
        summary, answer = _summarised(call, here, progress)
    complete = answer.code == 0
    return outputs.backup_report(summary, complete=complete, unread=() if complete else answer.said)


def copy(
    source: Repository,
    target: Repository,
    here: Surroundings,
    ids: Sequence[str],
    *,
    through: gateway.Readable | None = None,
) -> tuple[Copied, ...]:
    """Copy snapshots; every blob is opened, verified and sealed anew. Safe to repeat.

    restic takes one set of credentials for both sides: where there are two, the source is read
    `through` a store of ours. Raises CopyMissing when a copy is not listed afterwards.
    """
    if not ids:
        return ()
    call = Call("copy", flags.copy(ids), target, source=source)
    if through is None:
        calls.run(call, here)
    else:
        _run_through(through, call, here)
    there = snapshots(target, here)
    found = [_copy_of(frozenset([name]), there) for name in ids]
    if None in found:  # a copy of a copy is known by the id of the first
        ours = {one.id: one.names for one in snapshots(source, here)}
        found = [_copy_of(ours.get(name, frozenset([name])), there) for name in ids]
    missing = [name for name, copied in zip(ids, found, strict=True) if copied is None]
    if missing:
        raise errors.CopyMissing(
            f"{len(missing)} of {len(ids)} snapshots are not listed in the other region after the "
            f"copy, the first being {missing[0]}. Check that region's repository and copy again.",
            missing=missing,
        )
    return tuple(Copied(name, one) for name, one in zip(ids, found, strict=True) if one)


def snapshots(repository: Repository, here: Surroundings) -> tuple[Snapshot, ...]:
    """All snapshots, oldest first."""
    call = Call("snapshots", ["snapshots", "--json", "--no-lock"], repository)
    listed = outputs.document(_text(call, here), "snapshots")
    return tuple(sorted(map(outputs.snapshot, listed or []), key=lambda one: one.time))


def forget(repository: Repository, here: Surroundings, ids: Sequence[str]) -> None:
    """Forget these snapshots; what is gone already is fine. Raises StillThere if one remains.

    The data stay until `prune`.
    """
    for first in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[first : first + _IDS_AT_ONCE]
        calls.run(Call("forget", flags.forget(some), repository), here)
    if ids:
        remaining = {one.id for one in snapshots(repository, here)}.intersection(ids)
        if remaining:
            raise errors.StillThere(
                f"{len(remaining)} of {len(ids)} snapshots are still listed after forget, one "
                f"being {min(remaining)}. Check the right to delete below snapshots/.",
                remaining=sorted(remaining),
            )


def prune(repository: Repository, here: Surroundings, bounds: PruneBounds) -> None:
    """Remove packs that no snapshot needs."""
    calls.run(Call("prune", flags.prune(bounds), repository), here)


def check(repository: Repository, here: Surroundings, extent: CheckExtent) -> CheckReport:
    """Look for damage, taking no lock. Damage is an answer; what cannot be opened raises.

    A deleted snapshot goes unnoticed: compare `snapshots` with the catalogue.
    """
    call = Call("check", flags.check(extent), repository, accepted=(0, 1))
    messages: list[calls.Message] = []
    answer = calls.run(call, here, on_line=_into(messages))
    summaries = [m for m in messages if m.get("message_type") == "summary"]
    if answer.code != 0 and not summaries:
        raise answer.failure
    report = outputs.check_report(outputs.only_summary(messages, "check"), answer.said)
    if answer.code != 0 and report.ok:
        raise answer.failure
    return report


def restore(
    repository: Repository,
    here: Surroundings,
    order: RestoreOrder,
    *,
    progress: Callable[[Progress], None] | None = None,
    each: Callable[[Restored], None] | None = None,
) -> RestoreReport:
    """Write files below the order's target. After any exception, release nothing of them.

    `each` is told of every item by an order that is `listed`.

    Raises NothingMatched when paths were named and none is there. As root restic recreates owners,
    setuid bits and devices: run it as an account without rights, in a folder made for it.
    """
    with _pattern_file(here, flags.includes(order)) as file:
        wanted = flags.restore(order, include_file=file, watched=progress is not None)
        places: tuple[Place, ...] = order.descriptors
        if not places and not order.dry_run:
            places = (order.target.parent,)
        call = Call(
            "restore",
            wanted,
            repository,
            descriptors=order.descriptors,
            reads=places if order.dry_run else (),
            writes=() if order.dry_run else places,
        )
        summary, _ = _summarised(call, here, progress, each)
    report = outputs.restore_report(summary)
    if order.include and report.files == 0 and report.restored == 0:
        raise errors.NothingMatched(
            f"None of the {len(order.include)} paths asked for is in snapshot {order.snapshot}, "
            "so nothing was restored. List the snapshot to see what is there.",
            snapshot=order.snapshot,
        )
    return report


def dump(
    repository: Repository, here: Surroundings, *, snapshot: str, path: str, to: IO[bytes]
) -> None:
    """Write one file of a snapshot into an open file. After an exception it is cut short.

    A folder comes as a tar, with one request for each blob: use `restore` for those.
    """
    [name] = flags.full_ids([snapshot])
    call = Call("dump", ["dump", "--no-lock", "--", name, "/" + path.lstrip("/")], repository)
    calls.run_into(call, here, to)


def ls(
    repository: Repository, here: Surroundings, snapshot: str, each: Callable[[Entry], None]
) -> None:
    """Every entry of a snapshot, one at a time as restic names them, folders before content.

    Names that are not UTF-8 come with U+FFFD in place of what is not.
    """

    def line(text: str) -> None:
        found = outputs.entry(calls.parse(text) or {})
        if found is not None:
            each(found)

    wanted = ["ls", "--json", "--no-lock", "--", *flags.full_ids([snapshot])]
    calls.run(Call("ls", wanted, repository), here, on_line=line)


def diff(
    repository: Repository,
    here: Surroundings,
    between: tuple[str, str],
    *,
    each: Callable[[Change], None] | None = None,
) -> DiffReport:
    """How the second snapshot differs from the first; `each` sees every changed path."""
    statistics: list[calls.Message] = []

    def line(text: str) -> None:
        message = calls.parse(text) or {}
        found = outputs.change(message)
        if found is not None and each is not None:
            each(found)
        if message.get("message_type") == "statistics":
            statistics.append(message)

    wanted = ["diff", "--json", "--no-lock", "--", *flags.full_ids(between)]
    calls.run(Call("diff", wanted, repository), here, on_line=line)
    if len(statistics) != 1:
        raise errors.NoAnswer("restic diff ended well but gave no statistics.")
    return outputs.diff_report(statistics[0])


def stats(repository: Repository, here: Surroundings) -> Stats:
    """What the snapshots together take in the repository."""
    wanted = ["stats", "--json", "--no-lock", "--mode=raw-data"]
    return outputs.stats(outputs.document(_text(Call("stats", wanted, repository), here), "stats"))


def repair_index(repository: Repository, here: Surroundings) -> None:
    """Make the index name every pack that lies there.

    After any kill, before the next try: packs that were uploaded already are then used again.
    """
    calls.run(Call("repair index", ["repair", "index"], repository), here)


def unlock_all(repository: Repository, here: Surroundings) -> None:
    """Remove every lock, live ones too: only under our own lease, with old credentials expired.

    Never restic's plain `unlock`, which signals whatever process now has the old number.
    """
    calls.run(Call("unlock", ["unlock", "--remove-all"], repository), here)


def key_list(repository: Repository, here: Surroundings) -> tuple[KeyInfo, ...]:
    call = Call("key list", ["key", "list", "--json", "--no-lock"], repository)
    return tuple(map(outputs.key_info, outputs.document(_text(call, here), "key list") or []))


def key_add(repository: Repository, here: Surroundings, password: bytes) -> str:
    """Add a key file by restic itself and return its id: calibrated, so dear to open.

    For a passphrase that a person chose, or should a later restic refuse the low-cost one.
    """
    before = {key.id for key in key_list(repository, here)}
    with program.secret_pipe(password) as pipe:
        if here.account is not None:
            os.fchown(pipe, here.account.uid, here.account.gid)
        wanted = ["key", "add", f"--new-password-file=/dev/fd/{pipe}"]
        calls.run(Call("key add", wanted, repository, descriptors=[pipe]), here)
    made = {key.id for key in key_list(repository, here)} - before
    if len(made) != 1:
        raise errors.NoAnswer(f"restic key add ended well, but {len(made)} keys are new.")
    return made.pop()


def key_remove(repository: Repository, here: Surroundings, key_id: str) -> None:
    """Delete a key file; restic refuses the one that it opened the repository with."""
    wanted = ["key", "remove", "--", *flags.full_ids([key_id])]
    calls.run(Call("key remove", wanted, repository), here)


def find_pack(repository: Repository, here: Surroundings, pack: str) -> tuple[PackUse, ...]:
    """What lies in a pack; fails for a pack that is cut short."""
    wanted = ["find", "--json", "--no-lock", "--pack", "--", *flags.full_ids([pack])]
    text = _text(Call("find", wanted, repository), here)
    return tuple(map(outputs.pack_use, outputs.document(text or "[]", "find") or []))


def _real(wanted: FolderBackup) -> Path:
    """Where restic, started in the folder, will find itself: excludes are matched by that."""
    return wanted.folder.resolve() if wanted.descriptor is None else _start(wanted).readlink()


def _start(wanted: FolderBackup) -> Path:
    """Where restic is started: it reads `.`, so that no path decides which folder is read."""
    return wanted.folder if wanted.descriptor is None else by_descriptor(wanted.descriptor)


def _run_through(store: gateway.Readable, call: Call, here: Surroundings) -> None:
    with gateway.opened(store, here.account) as way:
        try:
            calls.run(replace(call, source_address=way.address), here)
        except errors.ResticError as error:
            raise error from (way.failures[0] if way.failures else None)


def _copy_of(names: frozenset[str], there: Sequence[Snapshot]) -> Snapshot | None:
    return next((one for one in reversed(there) if one.names & names), None)


def _summarised(
    call: Call,
    here: Surroundings,
    progress: Callable[[Progress], None] | None,
    each: Callable[[Restored], None] | None = None,
) -> tuple[calls.Message, Answer]:
    messages: list[calls.Message] = []

    def line(text: str) -> None:
        message = calls.parse(text)
        if message is None:
            return
        seen = outputs.progress(message)
        if seen is not None and progress is not None:
            progress(seen)
        item = outputs.restored(message) if each is not None else None
        if item is not None and each is not None:
            each(item)
        if message.get("message_type") == "summary":
            messages.append(message)

    answer = calls.run(call, here, on_line=line)
    return outputs.only_summary(messages, call.command), answer


def _documents(call: Call, here: Surroundings) -> list[calls.Message]:
    messages: list[calls.Message] = []
    calls.run(call, here, on_line=_into(messages))
    return messages


def _into(messages: list[calls.Message]) -> Callable[[str], None]:
    def line(text: str) -> None:
        message = calls.parse(text)
        if message is not None:
            messages.append(message)

    return line


def _text(call: Call, here: Surroundings) -> str:
    lines: list[str] = []
    calls.run(call, here, on_line=lines.append)
    return "\n".join(lines)


@contextmanager
def _pattern_file(here: Surroundings, patterns: Sequence[str]) -> Iterator[Path | None]:
    """A file in the scratch folder with those patterns that a file can hold; None for none."""
    text = flags.pattern_file(patterns)
    if not text:
        yield None
        return
    with tempfile.NamedTemporaryFile("w", dir=here.scratch, prefix="patterns-") as file:
        file.write(text)
        file.flush()
        if here.account is not None:
            os.fchown(file.fileno(), here.account.uid, here.account.gid)
        yield Path(file.name)
