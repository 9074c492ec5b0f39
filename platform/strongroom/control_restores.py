"""The control database out of a sealed dump: found in the regions, proven, opened, restored whole.

How far a recovery is stands in a schema of its own (`recovery.progress`), in the database that is
being recovered: a restore is one transaction, every later step may be repeated, and until the last
one nothing of the platform starts (`require_finished`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from strongroom import envelopes, program, records, sealed_streams
from strongroom.control_dumps import DUMP_SECONDS, KIND, PREFIX, PURPOSE, ControlDump, login
from strongroom.envelopes import Opener
from strongroom.errors import Refused, StrongroomError
from strongroom.ids import new_id
from strongroom.program import Command
from strongroom.sealed_streams import StreamDamaged
from strongroom.stack import quarters
from strongroom.storage import StorageError, Store

log = structlog.get_logger(__name__)

PREPARE = """
create schema if not exists recovery;
grant usage on schema recovery to web, worker, dispatcher, operator, dumper;
create table if not exists recovery.progress (
    only_one boolean primary key default true check (only_one),
    dump text,
    dumped_at timestamptz,
    began_at timestamptz not null,
    finished_at timestamptz,
    report jsonb);
grant select on recovery.progress to web, worker, dispatcher, operator, dumper;
"""


class NotEmpty(Refused):
    """There is a platform in this database already."""

    code = "database-not-empty"


class RecoveryUnfinished(Refused):
    """A recovery was begun and not ended: nothing may start before it has."""

    code = "recovery-unfinished"


class RestoreFailed(StrongroomError):
    """pg_restore did not end well; nothing was changed."""

    code = "control-restore-failed"


@dataclass(frozen=True)
class Candidate:
    """A dump that a signed record vouches for."""

    store: Store
    key: str
    bytes: int
    sha256: str
    made_at: datetime
    expires_at: datetime

    @property
    def region(self) -> str:
        return self.store.region.name


@dataclass(frozen=True)
class Progress:
    """How far a recovery is."""

    restored: bool  # the tables are there
    dump: str | None  # the object that was, or is to be, restored; None: built without one
    dumped_at: datetime | None
    began_at: datetime
    finished_at: datetime | None
    report: dict[str, Any] | None


def candidates(
    stores: Iterable[Store], *, trusted: Collection[str]
) -> tuple[list[Candidate], list[str]]:
    """The dumps of all regions, the newest first, and what was wrong with others."""
    found: list[Candidate] = []
    odd: list[str] = []
    for store in stores:
        listed = {each.key for each in store.list(PREFIX)}
        for key in sorted(listed):
            if not key.endswith(".json") or key.replace(".json", ".sealed") not in listed:
                continue
            try:
                found.append(_candidate(store, key, trusted))
            except StrongroomError as error:
                odd.append(f"{store.region.name}: {key}: {error.message}")
    return sorted(found, key=lambda each: each.made_at, reverse=True), odd


def _candidate(store: Store, key: str, trusted: Collection[str]) -> Candidate:
    body = records.read(store.get(key), kind=KIND, trusted=trusted)
    try:
        made, ends = (datetime.fromisoformat(body[name]) for name in ("made_at", "expires_at"))
        candidate = Candidate(
            store, str(body["key"]), int(body["bytes"]), str(body["sha256"]), made, ends
        )
    except (KeyError, ValueError, TypeError):
        raise records.Malformed("The record of a dump lacks what it should say.") from None
    if candidate.key != key.replace(".json", ".sealed"):
        raise records.Forged("The record of a dump vouches for another object.")
    return candidate


def fetch(candidate: Candidate, into: IO[bytes]) -> None:
    """Download and prove it. Raises StreamDamaged or a StorageError."""
    digest, size = hashlib.sha256(), 0
    into.seek(0)
    into.truncate()
    for chunk in candidate.store.stream(candidate.key):
        digest.update(chunk)
        size += len(chunk)
        into.write(chunk)
    if (size, digest.hexdigest()) != (candidate.bytes, candidate.sha256):
        raise StreamDamaged(
            f"{candidate.key} in {candidate.region} is not what was put there: {size} of "
            f"{candidate.bytes} bytes, or other ones."
        )


def key_of(sealed: IO[bytes], opener: Opener) -> bytes:
    """The key of the dump in this file. Raises StreamDamaged or EnvelopeClosed."""
    sealed.seek(0)
    entries = sealed_streams.head_of(sealed).get("recipients") or []
    sealed.seek(0)
    return envelopes.unseal(entries, PURPOSE, opener)


def newest_whole(
    found: Iterable[Candidate], opener: Opener, into: IO[bytes]
) -> tuple[Candidate | None, list[str]]:
    """The newest that is whole and opens, now in the file; and what was wrong with newer ones."""
    odd = []
    for candidate in found:
        try:
            fetch(candidate, into)
            key = key_of(into, opener)
            for _ in sealed_streams.unseal(into, key=key):
                pass
        except (StreamDamaged, StorageError, envelopes.EnvelopeClosed) as error:
            log.error("a dump cannot be used", key=candidate.key, region=candidate.region)
            odd.append(f"{candidate.region}: {candidate.key}: {error.message}")
        else:
            return candidate, odd
    return None, odd


def restore(sealed: IO[bytes], address: str, opener: Opener) -> None:
    """Into the empty database at this SQLAlchemy URL, as its owner; all of it or nothing.

    Raises RestoreFailed or StreamDamaged.
    """
    key = key_of(sealed, opener)
    reading, writing = os.pipe()
    with login(address) as (surroundings, files):
        try:
            command = Command(
                [str(quarters.bin_folder() / "pg_restore"), *flags(surroundings["PGDATABASE"])],
                environment=surroundings,
                folder=Path("/"),
                descriptors=files,
            )
            child = program.start(command, stdin=reading, stderr=PIPE)
        finally:
            os.close(reading)
        with ThreadPoolExecutor(1, thread_name_prefix="pg_restore") as pool:
            ended = pool.submit(child.finish, timeout=DUMP_SECONDS)
            try:
                with os.fdopen(writing, "wb", buffering=0) as plain, suppress(BrokenPipeError):
                    for piece in sealed_streams.unseal(sealed, key=key):
                        plain.write(piece)
            except BaseException:
                child.end(grace=2)
                raise
            finished = ended.result()
    if finished.code != 0:
        raise RestoreFailed(f"The dump could not be restored: {finished.stderr[-2000:]}")


def flags(database: str) -> list[str]:
    """One transaction: killed, nothing of it was there."""
    return [
        *("--format=custom", "--single-transaction", "--exit-on-error", "--no-owner"),
        *("--no-password", f"--dbname={database}"),
    ]


def begin(engine: Engine, *, dump: str | None, dumped_at: datetime | None, now: datetime) -> None:
    """Mark the database as being recovered, before anything is in it."""
    with engine.begin() as line:
        line.exec_driver_sql(PREPARE)
        line.execute(
            text(
                "insert into recovery.progress (dump, dumped_at, began_at) "
                "values (:dump, :dumped_at, :now) on conflict (only_one) do update "
                "set dump = excluded.dump, dumped_at = excluded.dumped_at"
            ),
            {"dump": dump, "dumped_at": dumped_at, "now": now},
        )


def progress(engine: Engine) -> Progress | None:
    """How far a recovery of this database is; None when it is empty.

    Raises NotEmpty when there is a platform in it that no recovery brought.
    """
    with engine.connect() as line:
        restored = line.execute(text("select to_regclass('public.alembic_version')")).scalar()
        if line.execute(text("select to_regclass('recovery.progress')")).scalar() is None:
            if restored is not None:
                raise NotEmpty(
                    "Wanted to recover into an empty database, but there is a platform in this "
                    "one. Name another --home, or another database; nothing was changed."
                )
            return None
        row = line.execute(text("select * from recovery.progress")).one_or_none()
    if row is None:
        return None
    return Progress(
        restored is not None, row.dump, row.dumped_at, row.began_at, row.finished_at, row.report
    )


def finish(engine: Engine, report: str, *, now: datetime) -> None:
    """All is done; the platform may start."""
    with engine.begin() as line:
        line.execute(
            text(
                "update recovery.progress set finished_at = :now, report = cast(:report as jsonb)"
            ),
            {"now": now, "report": report},
        )


def require_finished(engine: Engine) -> None:
    """Whatever works on its own asks this before it starts. Raises RecoveryUnfinished."""
    with engine.connect() as line:
        if line.execute(text("select to_regclass('recovery.progress')")).scalar() is None:
            return
        unfinished = line.execute(
            text("select began_at from recovery.progress where finished_at is null")
        ).scalar()
    if unfinished is not None:
        raise RecoveryUnfinished(
            f"A recovery was begun at {unfinished:%Y-%m-%d %H:%M} UTC and has not ended, so nothing "
            "is started. Run the same `strongroom recover` again; it goes on where it was."
        )


def register(session: Session, found: Iterable[Candidate], regions: Mapping[str, UUID]) -> int:
    """Dumps that lie in the regions and that no row names, so that they go on their day."""
    rows = session.execute(select(ControlDump.region_id, ControlDump.key))
    known = {(row.region_id, row.key) for row in rows}
    added = 0
    for each in found:
        region = regions.get(each.region)
        if region is None or (region, each.key) in known:
            continue
        session.add(
            ControlDump(
                id=new_id(),
                region_id=region,
                key=each.key,
                version_id="-",
                bytes=each.bytes,
                sha256=each.sha256,
                made_at=each.made_at,
                expires_at=each.expires_at,
            )
        )
        added += 1
    # What was being uploaded when the dump was taken lies there whole by now, or never will.
    whole = {(regions.get(each.region), each.key) for each in found}
    for row in session.execute(
        select(ControlDump).where(ControlDump.version_id.is_(None))
    ).scalars():
        if (row.region_id, row.key) in whole:
            row.version_id = "-"
    return added
