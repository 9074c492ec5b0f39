"""Sealed dumps of the control database in the regions' buckets, and those who are never to return.

A dump is taken by a role that may read everything and change nothing, sealed on its way to the disk
with a key made for it, and put into every region beside a signed record of its size and hash. The
key opens for the escrow keys and for the platform's own KEK. What is wrapped inside of a dump can be
opened as long as the dump exists, by who holds the KEKs: so each is registered *before* it is
uploaded, with the day it goes, and then really goes, versions and all. The newest one of a region
stays, whatever its age: a platform that makes no dumps any more is not to end without one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BufferedRandom
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any

import structlog
from sqlalchemy import BigInteger, ForeignKey, func, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom import envelopes, escrow, program, reaching, records, sealed_streams
from strongroom.db import Base, Role
from strongroom.errors import Incomplete, StrongroomError
from strongroom.ids import new_id
from strongroom.program import Command
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.stack import quarters
from strongroom.storage import Act, Store

PREFIX = "control/"
KIND = "control-dump"
PURPOSE = "control-dump-key"
LATE = timedelta(hours=30)  # no newer one than this needs a person; settings allow a day at most
DUMP_SECONDS = 6 * 3600.0
ADVISORY_LOCK = 7_215_501_883

log = structlog.get_logger(__name__)


class ControlDump(Base):
    """One sealed dump in one region, registered with the day it goes."""

    __tablename__ = "control_dumps"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    region_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("regions.id"))
    key: Mapped[str]  # the object's
    version_id: Mapped[str | None]  # None: not known to lie there whole
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class DumpFailed(StrongroomError):
    """pg_dump did not end well; its words are in the message."""

    code = "control-dump-failed"


@dataclass(frozen=True)
class Newest:
    """The newest whole dump of one region."""

    region: str
    made_at: datetime | None  # None: there is none

    def is_late(self, now: datetime) -> bool:
        return self.made_at is None or now - self.made_at > LATE


@dataclass(frozen=True)
class _Made:
    """A sealed dump on our disk."""

    name: str  # of its objects, without the ending
    bytes: int
    sha256: str
    made_at: datetime
    expires_at: datetime

    @property
    def key(self) -> str:
        return f"{self.name}.sealed"

    def body(self, region: Region) -> dict[str, Any]:
        """What its record says."""
        return {
            "kind": KIND,
            "key": self.key,
            "region": region.name,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "made_at": self.made_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }


def newest(session: Session) -> list[Newest]:
    """Of every region, for who looks after the platform; read as an operator."""
    latest = (
        select(ControlDump.region_id, func.max(ControlDump.made_at).label("made_at"))
        .where(ControlDump.version_id.is_not(None), ControlDump.removed_at.is_(None))
        .group_by(ControlDump.region_id)
        .subquery()
    )
    rows = session.execute(
        select(Region.name, latest.c.made_at)
        .outerjoin(latest, latest.c.region_id == Region.id)
        .order_by(Region.rank)
    )
    return [Newest(row.name, row.made_at) for row in rows]


def is_due(session: Session, *, every: timedelta, now: datetime) -> bool:
    """Whether some region's newest is as old as that."""
    return any(each.made_at is None or now - each.made_at >= every for each in newest(session))


def take(runtime: Runtime) -> list[ControlDump]:
    """Dump, seal, and put it into every region; gives the rows, or none when a twin is at it.

    Raises DumpFailed, or Incomplete naming the regions that do not have it.
    """
    with runtime.database.alone(Role.DUMPER, ADVISORY_LOCK) as alone:
        if not alone:
            return []
        with tempfile.TemporaryFile(dir=runtime.folder("control")) as file:
            made = _make(runtime, file)
            return _distribute(runtime, file, made)


def expire(runtime: Runtime) -> int:
    """Delete what is past its day, with every version; gives how many. The newest of a region stays."""
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR) as session:
        rows = session.execute(
            select(ControlDump, Region)
            .join(Region, Region.id == ControlDump.region_id)
            .where(ControlDump.expires_at <= now, ControlDump.removed_at.is_(None))
        ).all()
        last = {each.region: each.made_at for each in newest(session)}
    gone = 0
    for row, region in rows:
        if row.version_id is not None and row.made_at == last[region.name]:
            continue
        try:
            _remove(runtime, row, region, now=now)
            gone += 1
        except StrongroomError as error:
            log.error("an expired dump is still there", key=row.key, error=error.message)
    return gone


def _make(runtime: Runtime, file: BufferedRandom) -> _Made:
    now = runtime.now()
    key = sealed_streams.new_key()
    with runtime.database.session(Role.OPERATOR) as session:
        keys = escrow.in_use(session)
    entries = envelopes.close(key, PURPOSE, escrow=keys, provider=runtime.vault.provider)
    head = {"of": KIND, "made_at": now.isoformat(), "recipients": entries}
    with _dumping(runtime) as plain:
        sealed_streams.seal(plain, file, key=key, head=head)
    size = file.tell()
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{PREFIX}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{new_id()}"
    ends = now + timedelta(days=runtime.settings.dump_days)
    return _Made(name, size, digest, now, ends)


@contextmanager
def _dumping(runtime: Runtime) -> Iterator[IO[bytes]]:
    """pg_dump's output; raises DumpFailed at the end unless it ended well."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, "rb", buffering=0) as plain,
        _signed_in(runtime) as (surroundings, files),
    ):
        try:
            command = Command(
                [str(quarters.bin_folder() / "pg_dump"), *flags()],
                environment=surroundings,
                folder=Path("/"),
                descriptors=files,
            )
            child = program.start(command, stdout=writing, stderr=PIPE)
        finally:
            os.close(writing)
        with ThreadPoolExecutor(1, thread_name_prefix="pg_dump") as pool:
            ended = pool.submit(child.finish, timeout=DUMP_SECONDS)
            try:
                yield plain
            except BaseException:
                child.end(grace=2)
                raise
            finished = ended.result()
    if finished.code != 0:
        raise DumpFailed(
            f"The dump of the control database did not end well: {finished.stderr[-1000:]}"
        )


def flags() -> list[str]:
    return [
        "--format=custom",
        "--no-password",
        "--lock-wait-timeout=60000",
        "--exclude-schema=recovery",
    ]


@contextmanager
def _signed_in(runtime: Runtime) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """The surroundings of a libpq program that signs in as the dumper."""
    runtime.database.engine(Role.DUMPER)  # says what is missing
    with login(runtime.settings.databases[Role.DUMPER]) as found:
        yield found


@contextmanager
def login(address: str) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Environment and descriptors for a libpq program that signs in by this SQLAlchemy URL."""
    url = make_url(address)
    query = {name: value for name, value in url.query.items() if isinstance(value, str)}
    wanted = {
        "PGHOST": url.host or query.get("host"),
        "PGPORT": str(url.port) if url.port else query.get("port"),
        "PGUSER": url.username,
        "PGDATABASE": url.database,
        "PGSSLMODE": query.get("sslmode"),
        "PGSSLROOTCERT": query.get("sslrootcert"),
    }
    surroundings = {"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    surroundings |= {name: value for name, value in wanted.items() if value}
    password = str(url.password or "").replace("\\", r"\\").replace(":", r"\:")
    with program.secret_file(f"*:*:*:*:{password}\n".encode()) as descriptor:
        yield surroundings | {"PGPASSFILE": f"/proc/self/fd/{descriptor}"}, (descriptor,)


def _distribute(runtime: Runtime, file: IO[bytes], made: _Made) -> list[ControlDump]:
    with runtime.database.session(Role.OPERATOR) as session:
        regions = session.execute(select(Region).order_by(Region.rank)).scalars().all()
    rows, away = [], []
    for region in regions:
        try:
            rows.append(_put(runtime, region, file, made))
        except StrongroomError as error:
            log.error("a region has no dump", region=region.name, error=error.message)
            away.append(region.name)
    if away:
        raise Incomplete(
            f"The dump of the control database does not lie in {', '.join(away)}. "
            "It is tried again; see `strongroom region check`.",
            code="control-dump-incomplete",
            regions=away,
        )
    return rows


def _put(runtime: Runtime, region: Region, file: IO[bytes], made: _Made) -> ControlDump:
    """Registered first: what lies there unregistered would never go."""
    row = ControlDump(
        id=new_id(),
        region_id=region.id,
        key=made.key,
        bytes=made.bytes,
        sha256=made.sha256,
        made_at=made.made_at,
        expires_at=made.expires_at,
    )
    with runtime.database.session(Role.OPERATOR) as session:
        session.add(row)
    _clear(runtime, region)
    store = reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.RECORD)
    version = store.put_file(made.key, file)
    signer = records.Signer.from_text(runtime.settings.record_key)
    store.put(f"{made.name}.json", signer.sign(made.body(region)))
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(
            update(ControlDump).where(ControlDump.id == row.id).values(version_id=version or "-")
        )
    return row


def _clear(runtime: Runtime, region: Region) -> None:
    """Parts that a process left when it was killed; nobody else uploads here while we are alone."""
    store = reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.SWEEP)
    for left in list(store.uploads(PREFIX)):
        log.warning("an upload was left unfinished", region=region.name, key=left.key)
        store.abort_upload(left)


def _remove(runtime: Runtime, row: ControlDump, region: Region, *, now: datetime) -> None:
    store = reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.SWEEP)
    delete_wholly(store, [row.key, f"{row.key.removesuffix('.sealed')}.json"])
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(ControlDump).where(ControlDump.id == row.id).values(removed_at=now))


def delete_wholly(store: Store, keys: Sequence[str]) -> None:
    """Every version and delete marker of these objects. Raises Incomplete when one stays."""
    kept = [
        each
        for key in keys
        for each in store.delete_versions(
            [(v.key, v.version_id) for v in store.versions(key) if v.key == key]
        )
    ]
    if kept:
        raise Incomplete(f"{len(kept)} versions stay, the first: {kept[0].key}: {kept[0].found}")
