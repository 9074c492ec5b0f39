"""One source into one repository: all of it, or nothing that counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backup import places, repositories
from backup.leases import Leased
from backup.models import BackupRun, Source
from backup.restic import commands, streams
from backup.restic.calls import Surroundings
from backup.restic.errors import ResticError, SourceMissing, StreamBroken
from backup.restic.flags import FolderBackup, Stream
from backup.restic.outputs import BackupReport, Progress
from backup.sources import dump, walk
from backup.sources.connection import Access, MayNotRead, SourceOdd
from backup.sources.directory import Directory
from backup.sources.dump import Tools, Verdict
from backup.sources.postgres import Postgres
from backup.states import Outcome
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.keys import KeysError
from strongroom.program import Stopped
from strongroom.stack.quarters import bin_folder
from strongroom.storage import StorageError

DUMP_SECONDS = 6 * 3600.0
FOLDER_SECONDS = 24 * 3600.0
OPEN_SECONDS = 60.0
SMALL_BYTES = 64 * 1024 * 1024
PROCESSORS_OF_LARGE = 2  # GOMAXPROCS; a short call is cheaper with one
# What is wrong with the repository, the region or ourselves: never the source's fault.
OURS = (ResticError, StorageError, KeysError, Stopped)
DUMP_NAME = "/database.dump"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Made:
    """What came of one source."""

    outcome: Outcome
    restic_id: str | None = None  # None: nothing changed since the last snapshot, or it failed
    files: int = 0
    bytes: int = 0  # of the source
    added: int = 0  # stored anew, after compression
    manifest: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def unchanged(self) -> bool:
        return self.outcome is not Outcome.FAILED and self.restic_id is None


@dataclass(frozen=True)
class Making:
    """The run it is made for, and whom to tell how far it is."""

    run: BackupRun
    leased: Leased
    parents: Mapping[UUID, str]  # by source: restic's id of the snapshot to compare with
    sizes: Mapping[UUID, int] = field(default_factory=dict)  # bytes of that snapshot
    progress: Any = field(default=lambda _seen: None)  # Callable[[Progress], None]
    reread: bool = False  # read everything again: some of what is stored was lost

    @property
    def tag(self) -> str:
        return tag_of(self.run.id)

    def here(self, source: Source, *, seconds: float) -> Surroundings:
        """With more processors where much is expected: unknown is much."""
        small = self.sizes.get(source.id, SMALL_BYTES) < SMALL_BYTES
        processors = 1 if small else PROCESSORS_OF_LARGE
        return replace(self.leased.here(seconds=seconds), processors=processors)


def tag_of(run_id: UUID) -> str:
    """By this tag the snapshots of a run are found again after a crash."""
    return f"run:{run_id}"


def make(row: Source, making: Making) -> Made:
    """Back the source up. A failure of the source is an outcome; one of ours is raised."""
    began = time.monotonic()
    runtime = making.leased.site.runtime
    try:
        with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
            source, access = places.reach(runtime, session, row)
        if isinstance(source, Directory):
            return _folder(row, (source, access), making)
        return _database(row, (source, access), making)
    except (SourceMissing, StreamBroken) as error:
        return _failed(error, began)
    except OURS as error:
        if type(error) is ResticError and _answers(making.leased):
            return _failed(error, began)
        raise
    except StrongroomError as error:
        return _failed(error, began)
    except SQLAlchemyError:
        raise  # of our own database: no source is reached through it
    except Exception as error:  # an edge: the tenant's other sources are to have their backup
        log.exception("a source broke its backup", source=str(row.id), run=str(making.run.id))
        return _failed(_unforeseen(row, error), began)


def _unforeseen(row: Source, error: Exception) -> SourceOdd:
    return SourceOdd(
        f"The backup of {row.name} met something unforeseen ({type(error).__name__}). "
        "See what is odd about the source; the log has the details."
    )


def _answers(leased: Leased) -> bool:
    """Whether the repository can be opened: if so, what restic refused was the source."""
    try:
        commands.open_check(leased.restic, leased.here(seconds=OPEN_SECONDS))
    except StrongroomError:
        return False
    return True


def _folder(row: Source, reached: tuple[Directory, Access], making: Making) -> Made:
    source, access = reached
    assert access.folder is not None  # every folder that was admitted has one
    with _entered(access.folder) as descriptor:
        _require_content(descriptor, access.folder)
        wanted = FolderBackup(
            folder=access.folder,
            host=str(row.id),
            tags=(making.tag,),
            excludes=source.exclude,
            force=making.run.full or making.reread,
            parent=making.parents.get(row.id),
            descriptor=descriptor,
        )
        report = commands.backup_folder(
            making.leased.restic,
            making.here(row, seconds=FOLDER_SECONDS),
            wanted,
            progress=_watched(making),
        )
    if report.complete:
        return _made(report, Outcome.COMPLETE)
    failure = {
        "code": "files-unread",
        "params": {"files": list(report.unread)},
        "message": f"{len(report.unread)} files could not be read.",
    }
    return _made(report, Outcome.PARTIAL, failure=failure)


@contextmanager
def _entered(folder: Path) -> Iterator[int]:
    """The folder that was checked, opened: it is read whatever its path leads to meanwhile."""
    try:
        descriptor = walk.open_folder(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceMissing(
            f"Wanted to back up the folder {folder}, but there is none at {error.filename!r}. "
            "Mount or make it, or change the source."
        ) from error
    except OSError as error:
        raise MayNotRead(
            f"{folder} cannot be read: {error.strerror}. Let the platform's account read it.",
            folder=str(folder),
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _require_content(descriptor: int, folder: Path) -> None:
    """restic makes no snapshot of nothing, and a mount that went away looks just like it."""
    with suppress(OSError), os.scandir(descriptor) as entries:
        if next(entries, None) is None:
            raise SourceEmpty(
                f"{folder} is empty, so there is nothing to back up. See whether it is mounted; "
                "earlier points stay as they are.",
                folder=str(folder),
            )


class SourceEmpty(SourceMissing):
    """There is a folder, and nothing in it."""

    code = "source-empty"


def _watched(making: Making) -> Any:
    """Progress costs restic a scan of the folder: only for runs that somebody watches."""
    return making.progress if making.run.trigger != "schedule" else None


def _database(row: Source, reached: tuple[Postgres, Access], making: Making) -> Made:
    """The dump streams from pg_dump to restic; it counts only when its verdict is good.

    The dump has a thread of its own that lives until pg_dump has ended.
    """
    source, access = reached
    reading, writing = os.pipe()
    tools = Tools(bin_folder(), DUMP_SECONDS, repositories.Lost(making.leased.held))
    with ThreadPoolExecutor(1, thread_name_prefix="dump") as pool:
        verdict: Future[Verdict] = pool.submit(dump.take, source, access, into=writing, tools=tools)
        try:
            report = streams.backup_stream(
                making.leased.restic,
                making.here(row, seconds=DUMP_SECONDS),
                Stream(filename=DUMP_NAME, host=str(row.id), tags=(making.tag,)),
                source=reading,
                verdict=lambda: verdict.result().good,
            )
        except StreamBroken:
            judged = verdict.result()
            if judged.good:
                raise
            raise DumpBroken(
                f"The dump of {row.name} did not end well: {judged.detail or judged.reason}",
                code=judged.reason,
            ) from None
    manifest = verdict.result().manifest
    assert manifest is not None  # a good verdict has one
    return _made(report, Outcome.COMPLETE, manifest=json.loads(manifest.to_json()))


class DumpBroken(StreamBroken):
    """The dump of a database broke off; its code says how."""

    code = "dump-broken"


def _made(
    report: BackupReport,
    outcome: Outcome,
    *,
    manifest: dict[str, Any] | None = None,
    failure: dict[str, Any] | None = None,
) -> Made:
    return Made(
        outcome=outcome,
        restic_id=report.snapshot,
        files=report.files,
        bytes=report.bytes,
        added=report.stored,
        manifest=manifest,
        failure=failure,
        seconds=report.seconds,
    )


def _failed(error: StrongroomError, began: float) -> Made:
    return Made(
        Outcome.FAILED, failure=failure_of(error), seconds=round(time.monotonic() - began, 3)
    )


def failure_of(error: StrongroomError) -> dict[str, Any]:
    """What is stored of an error: its code and parameters, and its words, which hold no secrets."""
    params = {name: _plain(value) for name, value in error.params.items()}
    return {"code": error.code, "params": params, "message": error.message}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)


__all__ = ["DUMP_NAME", "Made", "Making", "Progress", "failure_of", "make", "tag_of"]
