"""One PostgreSQL cluster: made, started, stopped, and brought back after a crash.

The core under the control database, the clusters of tests, and the throw-away clusters in which
dumps are tried. Every connection needs a password (scram), also on the socket.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from strongroom import program
from strongroom.errors import StrongroomError
from strongroom.program import Command, Limits
from strongroom.stack import files, processes
from strongroom.stack.quarters import Quarters

FAST_SECONDS = 30.0  # for a clean stop, with its checkpoint
IMMEDIATE_SECONDS = 6.0  # the server itself kills what has not ended after 5
SOCKET_NUMBER = 5432  # only part of the socket's name where TCP is off
SURROUNDINGS = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
# Limiting a process of another account takes a right that root in a container may not have.
AS_IS = Limits(core_bytes=None)
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "idle_in_transaction_session_timeout": "60s",
    # A backend at work looks no other way whether its client or the server is still there.
    "client_connection_check_interval": "2s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    # What failed is not repeated in the log: it may hold a tenant's data or a secret.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class ClusterError(StrongroomError):
    """A PostgreSQL cluster could not be made or started."""

    code = "postgres-failed"


class ClusterBusy(ClusterError):
    """Somebody who is alive looks after a server on this data."""

    code = "postgres-busy"


@dataclass(frozen=True)
class Options:
    """How a cluster differs from the ordinary one."""

    superuser: str = "postgres"
    tcp_port: int | None = None  # on 127.0.0.1; None: the socket only
    settings: Mapping[str, str] = field(default_factory=dict)  # on top of SETTINGS
    limits: Limits = AS_IS
    durable: bool = True  # False: no fsync at all, for data nobody will miss


class Cluster:
    """A cluster in its quarters; start it from a thread that lives as long as it shall run."""

    def __init__(
        self, quarters: Quarters, *, password: str, log: Path, options: Options | None = None
    ) -> None:
        self.quarters = quarters
        self.log = log.with_suffix(".log")
        self.options = options or Options()
        self.running: program.Running | None = None
        self._password = password

    def create(self) -> bool:
        """Make the data folder unless it is there; True when it was made now."""
        if self.quarters.data.exists():
            return False
        fresh = self.quarters.folder / "data.new"
        processes.end(_servers(fresh), first=signal.SIGQUIT, grace=IMMEDIATE_SECONDS)
        with files.storing(self.quarters.folder):
            shutil.rmtree(fresh, ignore_errors=True)
        self._initdb(fresh)
        with files.storing(self.quarters.folder):
            fresh.rename(self.quarters.data)
        return True

    def start(self, *, timeout: float = 60.0) -> None:
        """Serve, and return when connections are taken. Raises ClusterError or ClusterBusy."""
        self._clear_away()
        with files.open_log(self.log.parent, self.log.stem) as log:
            written = os.fstat(log.fileno()).st_size
            self.running = program.start(self._command(), stdout=log, stderr=log)
        processes.leave_mark(self.quarters.mark, self.running.pid)
        try:
            self._await_ready(written, timeout)
        except BaseException:
            self._end(signal.SIGQUIT, IMMEDIATE_SECONDS)
            raise

    def stop(self) -> None:
        """End cleanly: clients are cut off, everything is on the disk. Safe to call twice."""
        self._end(signal.SIGINT, FAST_SECONDS)

    def alive(self) -> bool:
        return self.running is not None and self.running.process.poll() is None

    def url(self, role: str, password: str, database: str) -> str:
        """A libpq URL; by TCP where the cluster has it, else by socket."""
        who = f"{quote(role, safe='')}:{quote(password, safe='')}"
        if self.options.tcp_port is not None:
            return f"postgresql://{who}@127.0.0.1:{self.options.tcp_port}/{quote(database)}"
        where = urlencode({"host": str(self.quarters.socket), "port": str(SOCKET_NUMBER)})
        return f"postgresql://{who}@/{quote(database)}?{where}"

    def superuser_url(self, database: str = "postgres") -> str:
        return self.url(self.options.superuser, self._password, database)

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection as superuser, by socket, committing each statement."""
        return psycopg.connect(
            host=str(self.quarters.socket),
            port=self._number,
            user=self.options.superuser,
            password=self._password,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    @property
    def _number(self) -> int:
        return self.options.tcp_port or SOCKET_NUMBER

    def _initdb(self, target: Path) -> None:
        account = self.quarters.account
        with program.secret_file(self._password.encode()) as secret:
            if account is not None:
                os.fchown(secret, account.uid, account.gid)
            command = Command(
                [
                    *(str(self.quarters.programs / "initdb"), "--pgdata", str(target)),
                    *("--username", self.options.superuser, "--pwfile", f"/proc/self/fd/{secret}"),
                    *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
                    *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
                    *("--no-instructions", *([] if self.options.durable else ["--no-sync"])),
                ],
                environment=SURROUNDINGS,
                folder=Path("/"),
                descriptors=(secret,),
                account=account,
                limits=AS_IS,
            )
            finished = program.run(command, timeout=120)
        if finished.code != 0:
            shutil.rmtree(target, ignore_errors=True)
            raise self._failed("make a PostgreSQL cluster", finished.stderr)

    def _command(self) -> Command:
        settings = {
            **SETTINGS,
            **({} if self.options.durable else {"fsync": "off", "full_page_writes": "off"}),
            "listen_addresses": "127.0.0.1" if self.options.tcp_port else "",
            "port": str(self._number),
            "unix_socket_directories": str(self.quarters.socket),
            **self.options.settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = [str(self.quarters.programs / "postgres"), "-D", str(self.quarters.data), *flags]
        return Command(
            # A server that is killed leaves backends behind that may go on for a while; on
            # SIGQUIT it takes them along, and to the data it is the same: a crash.
            ["setpriv", "--pdeathsig", "QUIT", "--", *server],
            environment=SURROUNDINGS,
            folder=Path("/"),
            account=self.quarters.account,
            limits=self.options.limits,
        )

    def _await_ready(self, written: int, timeout: float) -> None:
        assert self.running is not None
        deadline = time.monotonic() + timeout
        while not self._says_ready(self.running.pid):
            if self.running.process.poll() is not None or time.monotonic() > deadline:
                raise self._failed("start PostgreSQL", files.tail(self.log, since=written))
            time.sleep(0.01)

    def _says_ready(self, pid: int) -> bool:
        """The eighth line of the server's own pid file, as pg_ctl reads it."""
        try:
            lines = (self.quarters.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _clear_away(self) -> None:
        """End what a dead keeper or a killed server left, and only that."""
        mark = processes.read_mark(self.quarters.mark)
        servers = _servers(self.quarters.data)
        if mark is not None and mark.server in servers and processes.is_alive(mark.keeper):
            raise ClusterBusy(
                f"Wanted to start PostgreSQL on {self.quarters.data}, but process "
                f"{mark.keeper.pid} already runs one there. Stop that process first.",
                pid=mark.keeper.pid,
            )
        processes.end(servers, first=signal.SIGQUIT, grace=IMMEDIATE_SECONDS)
        with files.storing(self.quarters.folder):
            # Nobody serves here now, so this can only mislead: its number may be another's.
            (self.quarters.data / "postmaster.pid").unlink(missing_ok=True)

    def _end(self, first: signal.Signals, seconds: float) -> None:
        running, self.running = self.running, None
        if running is None:
            return
        for number, grace in ((first, seconds), (signal.SIGQUIT, IMMEDIATE_SECONDS)):
            if running.process.poll() is None:
                running.signal(number)
                try:
                    running.process.wait(grace)
                except subprocess.TimeoutExpired:
                    continue
        running.end(grace=0)
        processes.end(_servers(self.quarters.data), first=signal.SIGQUIT, grace=IMMEDIATE_SECONDS)
        self.quarters.mark.unlink(missing_ok=True)

    def _failed(self, wanted: str, said: str) -> StrongroomError:
        folder = self.quarters.folder
        if shutil.disk_usage(folder).free < 16 * 1024 * 1024:  # one WAL segment
            return files.disk_full(folder)
        return ClusterError(
            f"Wanted to {wanted} in {folder}, but it ended with: {said or 'no message'}. "
            f"The log {self.log} may say more.",
            folder=str(folder),
        )


def _servers(data: Path) -> list[processes.Identity]:
    """Every process of a server on this data: the first one and its backends."""
    return processes.working_in(data, program="postgres")
