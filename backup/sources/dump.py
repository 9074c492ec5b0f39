"""A dump and its manifest, of one and the same snapshot of the database.

pg_dump writes straight into the caller's pipe, so no byte of a tenant passes through Python. A
dump counts only when `Verdict.good` says so; whoever stores the stream waits for that word.

Tables under row-level security stop the dump when this user would not see all rows: pg_dump and
the manifest both switch row security off, which turns a silent part into an error. The user needs
BYPASSRLS then, or to own the table. Subscriptions are left out: they hold other servers' passwords.

The server is not trusted: it may fall silent, or answer what no PostgreSQL answers. Either is a bad
verdict, and never a wait without an end.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import psycopg
import structlog

from backup.sources import connection, fingerprint
from backup.sources.connection import Access, Login, Unreachable, password_file
from backup.sources.fingerprint import Line
from backup.sources.manifest import Manifest
from backup.sources.postgres import Postgres
from strongroom import program
from strongroom.closed_view import View
from strongroom.errors import StrongroomError
from strongroom.program import Command, Finished
from strongroom.stack import quarters

LOCK_WAIT_MILLISECONDS = 60_000  # for a table that somebody is just changing
BROKEN_OFF = (connection.Silent, connection.SourceOdd, connection.TooMuch, program.Stopped)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Whether the stream that was written is a whole dump, and what was in it."""

    good: bool
    reason: str | None  # a code, None when good
    detail: str  # the last lines pg_dump or the server said; no secrets, never matched on
    manifest: Manifest | None  # None unless good
    seconds: float


@dataclass(frozen=True)
class Tools:
    """What a dump needs of this machine, and for how long it may run."""

    programs: Path  # the folder with pg_dump
    timeout: float  # seconds
    stop: threading.Event | None = None  # set from outside to end it early


def take(source: Postgres, access: Access, *, into: int, tools: Tools) -> Verdict:
    """Write the dump into the descriptor `into`, which is closed here on every way out.

    Returns a verdict for all that can go wrong on the way; raises only before the first byte: what
    `connection.connect` raises, and ProgramMissing. Call it from a thread that lives on.
    """
    started = time.monotonic()
    try:
        with _snapshot(source.login(access), tools) as (line, name):
            positions = fingerprint.next_numbers(line, schema=source.schema)
            with _dumping(source, access, name, into, tools) as child:
                os.close(into)
                into = -1
                finished, manifest = _both(child, line, source, positions, tools)
                if isinstance(manifest, Exception) and not (finished and _cancelled(manifest)):
                    raise manifest
    except psycopg.Error as error:
        finished, manifest = None, error
    except BROKEN_OFF as error:
        whole = isinstance(error, connection.SourceOdd)  # of the others the code says all
        log.warning("a source broke off", code=error.code, host=source.host, exc_info=whole)
        finished, manifest = error, error
    finally:
        if into >= 0:
            os.close(into)
    return _judge(finished, manifest, time.monotonic() - started)


@contextmanager
def _snapshot(login: Login, tools: Tools) -> Iterator[tuple[Line, str]]:
    seconds = tools.timeout + connection.PATIENCE_SECONDS
    with connection.talk(login, seconds=seconds, stop=tools.stop) as line:
        line.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        line.read_only = True
        fingerprint.fix(line, statement_seconds=tools.timeout)
        (name,) = fingerprint.only(line, "SELECT pg_export_snapshot()")
        yield line, fingerprint.text(name)


@contextmanager
def _dumping(
    source: Postgres, access: Access, snapshot: str, into: int, tools: Tools
) -> Iterator[program.Running]:
    login = source.login(access)
    with password_file(login) as (surroundings, descriptors):
        command = Command(
            [str(tools.programs / "pg_dump"), *flags(source, snapshot), login.conninfo()],
            environment=surroundings,
            folder=Path("/"),
            descriptors=descriptors,
            view=View(run=quarters.libraries_of(tools.programs)),
        )
        child = program.start(command, stdout=into, stderr=PIPE)
        try:
            yield child
        finally:
            child.end(grace=5)


def flags(source: Postgres, snapshot: str) -> list[str]:
    """Uncompressed, as restic deduplicates and compresses better; before the connection string."""
    options = [
        *("--format=custom", "--compress=0", "--no-password", "--no-subscriptions"),
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={LOCK_WAIT_MILLISECONDS}",
    ]
    if source.schema is not None:
        options += ["--strict-names", f"--schema={_pattern(source.schema)}"]
    return [*options, "--dbname"]


def _both(
    child: program.Running,
    line: Line,
    source: Postgres,
    positions: fingerprint.Positions,
    tools: Tools,
) -> tuple[Finished | StrongroomError | None, Manifest | Exception]:
    """pg_dump and the manifest side by side; when one fails, the other is not waited for."""
    stop = tools.stop or threading.Event()
    failed = _Either(stop)
    with ThreadPoolExecutor(1, thread_name_prefix="manifest") as pool:
        manifest = pool.submit(_manifest, line, source, positions, failed)
        try:
            finished: Finished | StrongroomError | None = child.finish(
                timeout=tools.timeout, stop=failed
            )
        except program.Stopped as error:
            finished = error if stop.is_set() else None  # None: the manifest's failure ended it
        except StrongroomError as error:
            finished = error
        if not isinstance(finished, Finished) or finished.code != 0:
            _cut_short(line, manifest)
        return finished, manifest.result()


def _cut_short(line: Line, manifest: Future[Manifest | Exception]) -> None:
    """A request to cancel meets only a statement that is running: ask until it is over.

    A server that does not heed it is hung up on by the watch over the line.
    """
    while not wait([manifest], timeout=0.1).done:
        with suppress(Exception):  # what a server makes of it is its own affair
            line.cancel_safe(timeout=5)


class _Either(threading.Event):
    """Set by the manifest's failure, or from outside."""

    def __init__(self, outside: threading.Event) -> None:
        super().__init__()
        self._outside = outside

    def is_set(self) -> bool:
        return super().is_set() or self._outside.is_set()


def _manifest(
    line: Line, source: Postgres, positions: fingerprint.Positions, failed: threading.Event
) -> Manifest | Exception:
    try:
        return fingerprint.take(line, schema=source.schema, positions=positions)
    except Exception as error:  # noqa: BLE001 - raised again by `take`
        failed.set()
        return error


def _judge(
    finished: Finished | StrongroomError | None,
    manifest: Manifest | Exception,
    seconds: float,
) -> Verdict:
    def bad(reason: str, detail: str) -> Verdict:
        return Verdict(False, reason, detail[-program.LINE_LIMIT :], None, seconds)

    if isinstance(manifest, psycopg.Error) and (finished is None or not _cancelled(manifest)):
        return bad(_failure(manifest), str(manifest))
    if isinstance(finished, StrongroomError):
        return bad(finished.code, finished.message)
    assert finished is not None
    if finished.code != 0:
        return bad("pg-dump-killed" if finished.code < 0 else "pg-dump-failed", finished.stderr)
    if isinstance(manifest, Exception):
        return bad("manifest-failed", str(manifest))
    return Verdict(True, None, finished.stderr, manifest, seconds)


def _failure(error: psycopg.Error) -> str:
    """Class 08 and 57 say that the connection broke or the server went down."""
    if error.sqlstate is not None:
        return Unreachable.code if error.sqlstate[:2] in ("08", "57") else "manifest-failed"
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Unreachable.code  # no answer at all
    return connection.SourceOdd.code  # psycopg itself made nothing of the answer


def _cancelled(error: Exception) -> bool:
    return isinstance(error, psycopg.errors.QueryCanceled)


def _pattern(name: str) -> str:
    """A name as pg_dump's patterns take it: quoted, nothing in it a wildcard."""
    return '"' + name.replace('"', '""') + '"'
