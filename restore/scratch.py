"""A throw-away PostgreSQL in which a tenant's dump is tried: its data is hostile until proven.

The dump is loaded as a plain role that owns one database and nothing else: no superuser, no new
roles, no files, no programs, trusted extensions only. The cluster has no network (a namespace of
its own where the system permits one; else only a socket in a private folder, and a note says so),
and limits on memory, processor, file sizes, temporary files, whole size and time. Limits that a
session could lift itself (`statement_timeout`) are not relied on. Event triggers, untrusted
extensions, foreign data wrappers and functions in C therefore cannot be loaded: such a dump fails
here with a reason, and nothing live is touched.

pg_restore reads the archive as the cluster's own account, with a password that opens only the
plain role. No role has a name that could be guessed, so that no dump can speak of it. A folder whose keeper has died is found by its lock and swept.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from backup.sources import connection, fingerprint, manifest
from backup.sources.connection import Access, Login, password_file
from backup.sources.manifest import Manifest
from restore import kept
from restore.errors import NotAsItWas, TooBig, WillNotLoad
from strongroom import program
from strongroom.program import Account, Command, Limits
from strongroom.stack import files, processes, quarters
from strongroom.stack.cluster import SOCKET_NUMBER, Cluster, Options

AS_IS = Limits(core_bytes=None)
MIB = 1024 * 1024
DATABASE = "tenant"  # the one that the plain role owns
NO_NETWORK = "no-network-namespace"  # a note: this system does not let us cut the network
OTHER_LOCALE = "other-locale"  # a note: the source's sorting rules are not on this machine
LOCKS = 2048  # for each of CONNECTIONS: what one transaction may hold locks on
CONNECTIONS = 20
AT_ONCE = 20_000  # objects that are loaded in one transaction
SKIPPED = (
    *("--no-owner", "--no-acl", "--no-tablespaces", "--no-publications"),
    *("--no-subscriptions", "--no-security-labels"),
)


@dataclass(frozen=True)
class Budget:
    """What one dump may use up before it is given up."""

    seconds: float = 3600.0  # to load it
    disk_bytes: int = 64 * 1024 * MIB
    memory_bytes: int = 4096 * MIB  # of address space, for each process
    cpu_seconds: int = 7200  # for each process
    temporary_bytes: int = 8 * 1024 * MIB  # sorting and the like, for each process


@dataclass(frozen=True)
class Place:
    """Where scratch clusters live on this machine."""

    folder: Path  # on a disk with room for a whole tenant
    template: Path  # kept between uses: an empty cluster, copied in place of initdb
    account: str = quarters.DEFAULT_ACCOUNT  # when we are root


@dataclass(frozen=True)
class Scratch:
    """A running cluster with one empty database, and after `load` with a tenant in it."""

    login: Login  # as the plain owner
    programs: Path  # pg_dump and pg_restore, as the account can run them
    account: Account | None
    data: Path
    budget: Budget
    notes: list[str] = field(default_factory=list)  # codes of what had to be done without
    at_once: bool = True  # all of a dump in one transaction; False: too many objects for that

    def manifest(self, *, schema: str | None = None) -> Manifest:
        """Of what is in it now, by the code that took the manifest of the source."""
        seconds = self.budget.seconds + connection.PATIENCE_SECONDS
        with connection.talk(self.login, seconds=seconds) as line:
            line.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            fingerprint.fix(line, statement_seconds=self.budget.seconds)
            return fingerprint.take(line, schema=schema)


@contextmanager
def cluster(place: Place, budget: Budget, expected: Manifest) -> Iterator[Scratch]:
    """Up with an empty database that writes and sorts as the source did; gone afterwards."""
    files.make_private(place.folder)
    wanted = place.folder / f"scratch-{secrets.token_hex(6)}"
    with kept.kept(wanted), _served(place, budget, wanted) as (server, notes):
        owner = _login(server, f"owner_{secrets.token_hex(6)}", secrets.token_hex(24))
        _furnish(server, expected, owner, notes)
        yield Scratch(
            login=owner,
            programs=server.quarters.programs,
            account=server.quarters.account,
            data=server.quarters.data,
            budget=budget,
            notes=notes,
            at_once=_objects(expected) <= AT_ONCE,
        )


def load(
    scratch: Scratch,
    dump: int,
    *,
    stop: threading.Event | None = None,
    piecemeal: bool = False,
) -> float:
    """Load the archive that comes out of the descriptor; seconds it took.

    In one transaction, as a table that is filled where it was made needs no log: a quarter faster.
    `piecemeal` leaves what was loaded before a failure. Raises WillNotLoad or TooBig, and ProgramError when stopped or out of time. The descriptor is
    read to its end only on success, and stays the caller's to close.
    """
    at_once = scratch.at_once and not piecemeal
    with password_file(scratch.login) as (surroundings, descriptors):
        for descriptor in descriptors:
            give(descriptor, scratch.account)
        reader = [*wall(scratch.account), str(scratch.programs / "pg_restore")]
        command = Command(
            [*_limited(scratch.budget), *reader, *flags(at_once=at_once), scratch.login.conninfo()],
            environment=surroundings,
            folder=Path("/"),
            descriptors=descriptors,
            account=scratch.account,
            limits=AS_IS,
        )
        child = program.start(command, stdin=dump, stderr=subprocess.PIPE)
        with _Watch(scratch, stop) as watch:
            try:
                finished = child.finish(timeout=scratch.budget.seconds, stop=watch)
            except program.Stopped:
                watch.complain()
                raise
    if finished.code != 0:
        raise WillNotLoad(
            "The dump could not be loaded into an empty throw-away database, so nothing live was "
            f"touched. It said: {finished.stderr.strip() or 'nothing'}",
            said=finished.stderr,
        )
    return finished.seconds


def flags(*, at_once: bool = False) -> list[str]:
    """The first error ends it; in front of the connection string."""
    whole = ["--single-transaction"] if at_once else []
    return [*SKIPPED, *whole, "--exit-on-error", "--no-password", "--format=custom", "--dbname"]


def _objects(expected: Manifest) -> int:
    """About how many things one transaction would hold locks on."""
    parts = len(expected.sequences) + len(expected.objects) + expected.large_objects
    return 8 * len(expected.tables) + parts  # with keys, indexes, and what is too large for rows


def prove(scratch: Scratch, expected: Manifest) -> Manifest:
    """Compare what was loaded with the dump's manifest. Raises NotAsItWas with the differences."""
    found = scratch.manifest(schema=expected.schema)
    differences = manifest.compare(expected, found)
    if differences:
        raise NotAsItWas.of(differences)
    return found


def keep_only(scratch: Scratch, chosen: list[tuple[str, str]]) -> None:
    """Drop all other tables from the scratch database, with what leans on them."""
    seconds = scratch.budget.seconds + connection.PATIENCE_SECONDS
    with connection.talk(scratch.login, seconds=seconds) as line:
        fingerprint.fix(line, statement_seconds=scratch.budget.seconds)
        for table in sorted(set(fingerprint.names(line)) - set(chosen)):
            # A partition may be gone already with its parent.
            line.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(*table)))


def sweep(place: Place) -> list[Path]:
    """End and remove what dead processes left behind; what is in use is let be."""
    return kept.sweep(place.folder, "scratch-*", lambda wanted: _remove(wanted, place))


@cache
def wall(account: Account | None) -> tuple[str, ...]:
    """The words before a program that cut it off from every network; empty where forbidden."""
    words = ("unshare", "--user", "--map-current-user", "--net", "--ipc", "--")
    command = Command([*words, "true"], folder=Path("/"), account=account, limits=AS_IS)
    try:
        return words if program.run(command, timeout=10).code == 0 else ()
    except program.ProgramMissing:
        return ()


class _Walled(Cluster):
    """A cluster behind the wall and under limits."""

    budget = Budget()

    def _command(self) -> Command:
        command = super()._command()
        words = [*_limited(self.budget), *wall(self.quarters.account)]
        return replace(command, argv=[*words, *command.argv])


def _limited(budget: Budget) -> list[str]:
    """The words before a program that limit it and all it starts.

    Set from inside: to limit a process of another account takes a right that root in a container
    may not have.
    """
    limits = [f"--as={budget.memory_bytes}", f"--cpu={budget.cpu_seconds}", "--core=0"]
    return ["prlimit", *limits, "--"]


class _Watch(threading.Event):
    """Set when the cluster has outgrown its budget, or from outside."""

    def __init__(self, scratch: Scratch, outside: threading.Event | None) -> None:
        super().__init__()
        self._scratch = scratch
        self._outside = outside or threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def is_set(self) -> bool:
        return super().is_set() or self._outside.is_set()

    def complain(self) -> None:
        if super().is_set():
            limit = self._scratch.budget.disk_bytes
            raise TooBig(
                f"The dump grew past {limit // MIB} MiB while being loaded into a throw-away "
                "database. Give restores more room, or look at what the dump does.",
                limit=limit,
            )

    def _look(self) -> None:
        while not self._over.wait(0.5):
            if _size(self._scratch.data) > self._scratch.budget.disk_bytes:
                self.set()
                return


@contextmanager
def _served(place: Place, budget: Budget, wanted: Path) -> Iterator[tuple[Cluster, list[str]]]:
    files.make_private(wanted.parent)
    try:
        rooms = quarters.settle(wanted, account=place.account)
        superuser, password = _copy_template(place, rooms)
        options = _options(superuser, budget)
        server = _Walled(rooms, password=password, log=wanted / "log", options=options)
        server.budget = budget
        notes = [] if wall(rooms.account) else [NO_NETWORK]
        try:
            server.start()
            yield server, notes
        finally:
            if server.running is not None:
                server.running.signal(signal.SIGQUIT)  # nobody will miss a clean end
            server.stop()
    finally:
        _remove(wanted, place)


def _options(superuser: str, budget: Budget) -> Options:
    return Options(
        superuser=superuser,
        durable=False,
        settings={
            "autovacuum": "off",
            "client_connection_check_interval": "1s",
            "jit": "off",
            "maintenance_work_mem": "128MB",
            "max_connections": str(CONNECTIONS),
            "max_locks_per_transaction": str(LOCKS),
            "max_wal_senders": "0",
            "max_wal_size": "256MB",
            "shared_buffers": "64MB",
            "synchronous_commit": "off",
            "temp_file_limit": f"{budget.temporary_bytes // 1024}kB",
            "wal_level": "minimal",
        },
        limits=AS_IS,
    )


def _copy_template(place: Place, rooms: quarters.Quarters) -> tuple[str, str]:
    """An empty cluster in the quarters; made by initdb once, by copying from then on.

    Gives back its superuser, whose name is of this machine only, and the password.
    """
    files.make_private(place.template)
    with (place.template / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = quarters.settle(place.template / "cluster", account=place.account)
        secret = place.template / "superuser"
        if not secret.exists():
            shutil.rmtree(kept.data, ignore_errors=True)  # it has another superuser
            files.write(secret, f"keeper_{secrets.token_hex(6)} {secrets.token_hex(24)}".encode())
        superuser, password = secret.read_text().split()
        options = Options(superuser=superuser, durable=False, limits=AS_IS)
        model = Cluster(kept, password=password, log=place.template / "log", options=options)
        if not _fits(kept, rooms):
            shutil.rmtree(kept.data, ignore_errors=True)
            model.create()
    copying = Command(
        ["cp", "-a", "--reflink=auto", "--", str(kept.data), str(rooms.data)],
        folder=Path("/"),
        environment={"PATH": os.defpath},
        account=rooms.account,
        limits=AS_IS,
    )
    finished = program.run(copying, timeout=60)
    if finished.code != 0:
        raise files.NotStored(
            f"Wanted to copy an empty cluster to {rooms.data}, but: {finished.stderr}. "
            "Make room there.",
            path=str(rooms.data),
        )
    return superuser, password


def _fits(kept: quarters.Quarters, rooms: quarters.Quarters) -> bool:
    """Whether the kept cluster is of the version that will serve it."""
    try:
        made_by = (kept.data / "PG_VERSION").read_text().strip()
    except OSError:
        return False
    command = Command([str(rooms.programs / "postgres"), "--version"], folder=Path("/"))
    said = program.run(command, timeout=30).stdout
    return said.split()[-1].partition(".")[0] == made_by


def _furnish(server: Cluster, expected: Manifest, owner: Login, notes: list[str]) -> None:
    """The superuser's only work: a role, a database of its own, and what a dump takes for given.

    Raises WillNotLoad: names of roles and encodings are the source's, and may be impossible.
    """
    try:
        with server.connect() as line:
            _create_roles(line, expected, owner)
            notes += _create_database(line, expected, owner)
            line.execute(sql.SQL("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC"))
        if expected.schema is not None:
            _prepare_for_schema(server, expected, owner)
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        raise WillNotLoad(
            "No throw-away database can be made as this dump needs it, so nothing live was "
            f"touched. PostgreSQL said: {said}",
            said=said,
        ) from error


def _create_roles(line: fingerprint.Line, expected: Manifest, owner: Login) -> None:
    password = owner.access.password or b""
    line.execute(
        # BYPASSRLS: in its own database, and nowhere else, it has to read every row.
        sql.SQL(
            "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS"
            " PASSWORD {}"
        ).format(sql.Identifier(owner.user), sql.Literal(password.decode()))
    )
    there = {str(name) for (name,) in line.execute("SELECT rolname FROM pg_roles")}
    for role in expected.roles:
        if role not in there and not role.startswith("pg_"):  # those are PostgreSQL's own to make
            line.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))


def _create_database(line: fingerprint.Line, expected: Manifest, owner: Login) -> list[str]:
    """The codes of what had to be done without."""
    from_where = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} ").format(
        sql.Identifier(owner.database),
        sql.Identifier(owner.user),
        sql.Literal(expected.locale.encoding),
    )
    try:
        line.execute(from_where + locale_words(expected.locale))
    except psycopg.Error:
        utf8 = expected.locale.encoding == "UTF8"
        words = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'" if utf8 else "LOCALE 'C'"
        line.execute(from_where + sql.SQL(words))
        return [OTHER_LOCALE]
    return []


def locale_words(locale: manifest.Locale) -> sql.Composable:
    """The part of CREATE DATABASE that makes text sort as in the source."""
    words: list[sql.Composable] = [
        sql.SQL("LC_COLLATE {} LC_CTYPE {}").format(
            sql.Literal(locale.collate), sql.Literal(locale.ctype)
        )
    ]
    if locale.provider == "i" and locale.locale is not None:
        words.append(
            sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(locale.locale))
        )
    elif locale.provider == "b" and locale.locale is not None:
        words.append(
            sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(sql.Literal(locale.locale))
        )
    else:
        words.append(sql.SQL("LOCALE_PROVIDER libc"))
    return sql.SQL(" ").join(words)


def _prepare_for_schema(server: Cluster, expected: Manifest, owner: Login) -> None:
    """A dump of one schema brings that schema along, but not the extensions it leans on."""
    if expected.schema == "public":
        with server.connect(owner.database) as line:
            line.execute("DROP SCHEMA public")
    # As the plain role: PostgreSQL itself lets it have trusted extensions only.
    with server.connect(owner.database) as line:
        line.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(owner.user)))
        for name, schema in expected.extensions:
            if schema == expected.schema:
                continue
            with suppress(psycopg.Error):  # what then misses it will say so
                line.execute(
                    sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
                )
                line.execute(
                    sql.SQL("CREATE EXTENSION {} SCHEMA {}").format(
                        sql.Identifier(name), sql.Identifier(schema)
                    )
                )


def _login(server: Cluster, role: str, password: str) -> Login:
    return Login(
        host=str(server.quarters.socket),
        port=SOCKET_NUMBER,
        user=role,
        database=DATABASE,
        access=Access(password.encode()),
    )


def give(descriptor: int, account: Account | None) -> None:
    """Let the cluster's account open what the descriptor stands for."""
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)


def _remove(wanted: Path, place: Place) -> None:
    with suppress(quarters.QuartersError):
        rooms = quarters.settle(wanted, account=place.account)
        left = processes.working_in(rooms.data, program="postgres")
        processes.end(left, first=signal.SIGQUIT, grace=5)
        shutil.rmtree(rooms.folder, ignore_errors=True)
    quarters.clear(wanted)


def _size(folder: Path) -> int:
    """Bytes on the disk; files that vanish while we look count as nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118
    return total
