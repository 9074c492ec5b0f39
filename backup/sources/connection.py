"""How a tenant's PostgreSQL server is reached: by what was said, and by nothing else.

    StrongroomError
    ├── Unreachable            1  nothing answers there, or it stopped answering
    │   └── Silent             1  it took the connection, and kept us waiting past our patience
    ├── SourceOdd              1  it answers what no PostgreSQL answers
    ├── TooMuch                1  it answers more than one source may hold
    └── BadValue
        ├── SignInRefused      2  user, password or the server's own rules
        ├── NoSuchDatabase     2
        ├── NoSuchSchema       2
        └── MayNotRead         2  signed in, but some of it is closed to this user

libpq fills what is not said from PG* variables, ~/.pgpass, ~/.postgresql and service files, so a
platform's own surroundings could decide which tenant's database is read. Here the variables are
dropped from the process, and files are named so that none is found. A server never gets the
password in the clear: only scram and md5 are answered.

A server may also be hostile, or just stopped: its kernel then goes on acknowledging, and nothing of
libpq's own ever ends the wait. So every conversation is a `talk`, which is watched from our side.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import psycopg
from psycopg import conninfo

from strongroom import program
from strongroom.errors import BadValue, StrongroomError

CONNECT_SECONDS = 10
PATIENCE_SECONDS = 5.0  # longer than the server was asked for: then we hang up
LOOK_SECONDS = 0.25  # between two looks at a conversation
CANCEL_SECONDS = 2.0  # for the request to cancel, before we hang up
MOST_BYTES = 256 * 1024 * 1024  # that one conversation may bring; libpq keeps what it is sent
RECEIVED = struct.Struct("=128xQ")  # tcpi_bytes_received in linux/tcp.h
NOWHERE = "/nonexistent/strongroom"  # libpq looks for files of its own: here there are none
KEPT_VARIABLES = frozenset({"PGDATA"})  # means nothing to libpq


class Unreachable(StrongroomError):
    """Nothing answers at that address, or the connection broke."""

    code = "source-unreachable"


class Silent(Unreachable):
    """It took the connection and does not answer, so we hung up."""


class SourceOdd(StrongroomError):
    """What it answers is not what a PostgreSQL server can answer."""

    code = "source-odd"


class TooMuch(StrongroomError):
    """It answers more than we are willing to hold in memory."""

    code = "source-too-much"
    permanent = True


class SignInRefused(BadValue):
    """The server answered, and did not let this user in."""

    code = "source-sign-in-refused"


class NoSuchDatabase(BadValue):
    """The server has no such database, or it takes no connections."""

    code = "source-no-database"


class NoSuchSchema(BadValue):
    """The database has no such schema."""

    code = "source-no-schema"


class MayNotRead(BadValue):
    """The user may sign in, but not read all of what is to be backed up."""

    code = "source-may-not-read"


@dataclass(frozen=True)
class Access:
    """What is needed beside a source's own words to reach it; not stored with them."""

    password: bytes | None = field(default=None, repr=False)
    address: str | None = None  # the checked address to connect to, whatever the name says now
    folder: Path | None = None  # the checked folder, without links; to be opened by `walk` only


@dataclass(frozen=True)
class Login:
    """One user of one database on one server."""

    host: str  # name, address, or the folder of a socket
    port: int
    user: str
    database: str
    parameters: tuple[tuple[str, str], ...] = ()  # sslmode and the like, from a list of known ones
    access: Access = Access()

    def to(self, database: str) -> Login:
        """The same user on the same server, in another database."""
        return replace(self, database=database)

    def conninfo(self) -> str:
        """For a program's argv: everything but the password."""
        return conninfo.make_conninfo("", **self._keywords())

    def _keywords(self) -> dict[str, str]:
        words = {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "dbname": self.database,
            "connect_timeout": str(CONNECT_SECONDS),
            "client_encoding": "UTF8",
            "application_name": "strongroom",
            "gssencmode": "disable",
            "sslcertmode": "disable",
            "sslrootcert": NOWHERE,  # missing is fine below the verify modes, and stops there
            "sslcrl": NOWHERE,
            "require_auth": "!password,!gss,!sspi",
            "tcp_user_timeout": "60000",
            "keepalives_idle": "30",
        }
        if self.access.address is not None:
            words["hostaddr"] = self.access.address
        return words | dict(self.parameters)


def connect(login: Login, *, autocommit: bool = False) -> psycopg.Connection:
    """Raises one of this module's errors, none of which holds the password."""
    forget_surroundings()
    with _understood(login):
        try:
            return _open(login, autocommit=autocommit)
        except psycopg.OperationalError as error:
            # psycopg's own message may quote the server; it is kept as the cause's text only.
            raise _reason(login, error) from None


@contextmanager
def talk(
    login: Login,
    *,
    seconds: float,
    stop: threading.Event | None = None,
    autocommit: bool = False,
) -> Iterator[psycopg.Connection]:
    """A connection for the block, committed at its end, and cut by us after so many seconds.

    Raises what `connect` raises, Silent when it was cut for its time, program.Stopped when `stop`
    was set, TooMuch when it brought too much, and SourceOdd for what nothing here understands.
    """
    line = connect(login, autocommit=autocommit)
    with _Watch(line, login, seconds, stop) as watch, _understood(login):
        try:
            with line:
                yield line
        except psycopg.Error as error:
            if watch.reason is None:
                raise
            raise watch.reason from error


def odd(login: Login, error: BaseException) -> SourceOdd:
    """Only its kind is told: the words of a hostile answer may be anything."""
    return SourceOdd(
        f"What answers at {login.host} port {login.port} does not answer as PostgreSQL does "
        f"({type(error).__name__}). See what listens there; the log has the details.",
        host=login.host,
        port=login.port,
    )


class _Watch:
    """Hangs up from a thread of its own, which ends whatever wait the connection is in."""

    def __init__(
        self,
        line: psycopg.Connection,
        login: Login,
        seconds: float,
        stop: threading.Event | None,
    ) -> None:
        self.reason: StrongroomError | None = None  # why it was cut
        self._line = line
        self._login = login
        self._seconds = seconds
        self._stop = stop or threading.Event()
        # Of our own: the connection's number is somebody else's once it is closed.
        self._socket = socket.socket(fileno=os.dup(line.fileno()))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _look(self) -> None:
        until = time.monotonic() + self._seconds
        while (reason := self._complaint(until)) is None:
            if self._over.wait(min(LOOK_SECONDS, max(until - time.monotonic(), 0))):
                return
        self.reason = reason
        with suppress(Exception):  # a courtesy to the server; it may answer that as it likes
            self._line.cancel_safe(timeout=CANCEL_SECONDS)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _complaint(self, until: float) -> StrongroomError | None:
        where = f"PostgreSQL at {self._login.host} port {self._login.port}"
        if self._stop.is_set():
            return program.Stopped(f"Talking to {where} was stopped before its end.")
        if time.monotonic() >= until:
            return Silent(
                f"{where} did not answer within {self._seconds:.0f} seconds, so we hung up. "
                "See whether it is stopped or overloaded.",
                host=self._login.host,
                port=self._login.port,
            )
        if _received(self._socket) > MOST_BYTES:
            return TooMuch(
                f"{where} answered more than {MOST_BYTES >> 20} MiB where a list was asked for. "
                "Split the database, or see what listens there.",
                limit=MOST_BYTES,
            )
        return None


def _received(line: socket.socket) -> int:
    """Bytes since it was opened; 0 where the system does not count them (a local socket)."""
    try:
        counted = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(RECEIVED.unpack_from(counted)[0])
    except (OSError, struct.error):
        return 0


@contextmanager
def _understood(login: Login) -> Iterator[None]:
    """What a server sends can break any line of ours that reads it."""
    try:
        yield
    except (psycopg.Error, StrongroomError):
        raise
    except Exception as error:  # an edge: what a server sends can break any line that reads it
        raise odd(login, error) from error


def forget_surroundings() -> None:
    """Drop libpq's variables from this process: its own settings never come that way."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        if name not in KEPT_VARIABLES:
            del os.environ[name]


@contextmanager
def password_file(login: Login) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Environment and descriptors for a libpq program that signs in as `login`."""
    surroundings = {"PATH": os.defpath, "HOME": NOWHERE, "LC_ALL": "C.UTF-8"}
    password = login.access.password
    if password is None:
        yield surroundings | {"PGPASSFILE": NOWHERE}, ()
        return
    with program.secret_file(_pgpass(password)) as descriptor:
        yield surroundings | {"PGPASSFILE": f"/proc/self/fd/{descriptor}"}, (descriptor,)


def checked_password(password: bytes) -> bytes:
    """Refuse what a password file cannot carry."""
    if not password or any(byte in password for byte in b"\n\r\0"):
        raise BadValue(
            "The password is empty or holds a line break or a zero byte. "
            "Give it as one line without these."
        )
    return password


def _open(login: Login, *, autocommit: bool) -> psycopg.Connection:
    password = login.access.password
    return psycopg.connect(
        login.conninfo(),
        password=None if password is None else password.decode("utf-8", "surrogateescape"),
        passfile=NOWHERE,
        autocommit=autocommit,
    )


def _pgpass(password: bytes) -> bytes:
    escaped = checked_password(password).replace(b"\\", b"\\\\").replace(b":", b"\\:")
    return b"*:*:*:*:" + escaped + b"\n"


def _reason(login: Login, error: psycopg.OperationalError) -> StrongroomError:
    """libpq gives no code for a failed sign-in, so the steps are tried one by one."""
    where = f"{login.host} port {login.port}"
    if isinstance(error, psycopg.errors.ConnectionTimeout) or not _answers(login):
        return Unreachable(
            f"Wanted to reach PostgreSQL at {where}, but nothing answers there. "
            "Check host, port and firewall.",
            host=login.host,
            port=login.port,
        )
    if any(_signs_in(login.to(other)) for other in ("postgres", "template1")):
        return NoSuchDatabase(
            f"PostgreSQL at {where} has no database {login.database!r} that takes connections "
            f"from {login.user!r}. Check the name, and that the user may CONNECT.",
            database=login.database,
        )
    if error.pgconn is not None and error.pgconn.needs_password:
        wanted = "asks for a password, and none was given. Add it with --password-file"
    else:
        wanted = "refused it. Check user, password, sslmode and the server's pg_hba.conf"
    return SignInRefused(
        f"Wanted to sign in to PostgreSQL at {where} as {login.user!r}; the server {wanted}.",
        user=login.user,
    )


def _answers(login: Login) -> bool:
    try:
        if login.host.startswith("/"):
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(CONNECT_SECONDS)
                line.connect(f"{login.host}/.s.PGSQL.{login.port}")
                return True
        address = (login.access.address or login.host, login.port)
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _signs_in(login: Login) -> bool:
    try:
        _open(login, autocommit=True).close()
    except psycopg.Error:
        return False
    return True
