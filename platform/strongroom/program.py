"""The only module that starts processes.

Every child gets an argv list, an environment made from scratch, a process group of its own, and
dies with the process that started it (`setpriv --pdeathsig`; start children from a thread that
lives as long as the work). Secrets travel by descriptor: `secret_pipe` for what is read once,
`secret_file` for what is opened by name (`/proc/self/fd/N`).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NoReturn

from strongroom import closed_view
from strongroom.closed_view import View
from strongroom.errors import StrongroomError

TAIL_LINES = 40
LINE_LIMIT = 4000  # characters of one line that are kept in a tail
STDOUT_LINE_BYTES = 64 * 1024 * 1024  # of one line of output: a list in JSON may be one line
STDERR_LINE_BYTES = 64 * 1024
GRACE_SECONDS = 30.0  # between SIGTERM and SIGKILL
SETTLE_SECONDS = 5.0  # of silence after the end of its processes, until a stream is given up
PAUSE_SECONDS = 0.25  # between two looks at what may end a program early
PR_SET_PDEATHSIG = 1  # linux/prctl.h
M_ARENA_MAX = -8  # malloc.h of glibc


class ProgramError(StrongroomError):
    """A program could not be started, or did not end as it should."""

    code = "program-failed"


class ProgramMissing(ProgramError):
    """The program is not on this machine."""

    code = "program-missing"
    permanent = True


class TimedOut(ProgramError):
    """The program ran past its deadline and was ended."""

    code = "program-timed-out"


class LineTooLong(ProgramError):
    """A line of output that somebody reads grew past all reason; half of it would mislead."""

    code = "program-line-too-long"


class OutputHeld(ProgramError):
    """Its output stayed open after its end: something that left its group may still write."""

    code = "program-output-held"


class Stopped(ProgramError):
    """We were told to stop, and ended the program."""

    code = "program-stopped"


@dataclass(frozen=True)
class Account:
    """The system account a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Limits:
    """Resource limits of a child, each as setrlimit(2) knows it; None leaves it as it is."""

    cpu_seconds: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None
    memory_bytes: int | None = None  # RLIMIT_AS
    core_bytes: int | None = None


@dataclass(frozen=True)
class Command:
    """What to run, and in which surroundings."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    descriptors: Sequence[int] = ()  # kept open in the child under the same numbers
    account: Account | None = None
    limits: Limits = Limits()
    view: View | None = None  # None: all that the account may see

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name


@dataclass(frozen=True)
class Finished:
    """How a program ended; tails are the last lines, each cut at LINE_LIMIT characters."""

    name: str
    code: int  # negative: killed by that signal
    stdout: str
    stderr: str
    seconds: float


def become(argv: Sequence[str]) -> NoReturn:
    """Go on as another program of ours: same process, same environment, nothing of this one left."""
    os.execv(argv[0], list(argv))  # noqa: S606 - no shell


def run(
    command: Command,
    *,
    timeout: float,
    on_line: Callable[[str], None] | None = None,
    on_error_line: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Run to the end. Raises TimedOut, Stopped or ProgramMissing; an exit code raises nothing.

    `on_line` sees every line of stdout without its newline; if it raises, the program is ended and
    the exception goes on. The program is never waited for longer than `timeout` seconds.
    """
    child = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return child.finish(timeout=timeout, on_line=on_line, on_error_line=on_error_line, stop=stop)


def start(
    command: Command,
    *,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Running:
    """Start without waiting; None means /dev/null for each of the three streams."""
    argv = ["setpriv", "--pdeathsig", "KILL", "--", *_limited(command.limits), *command.argv]
    account = _other_account(command.account)
    found = _found(command)
    if found is None:  # else only setpriv's exit code would tell, as one of the program's
        raise _missing(command, "no such program")

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            env=dict(command.environment),
            cwd=command.folder,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            pass_fds=tuple(command.descriptors),
            process_group=0,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    try:
        if command.view is None:
            process = begin()
        else:
            view = replace(command.view, run=(*command.view.run, found))
            process = closed_view.start_inside(view, begin)
    except OSError as error:
        raise _missing(command, str(error.strerror)) from error
    return Running(command.name, process)


class Running:
    """A child process and its whole process group."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    def finish(
        self,
        *,
        timeout: float,
        on_line: Callable[[str], None] | None = None,
        on_error_line: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Finished:
        """Wait for the end, reading what is piped; see `run`."""
        readers = [
            _Reader(self.process.stdout, on_line, STDOUT_LINE_BYTES, whole=True),
            _Reader(self.process.stderr, on_error_line, STDERR_LINE_BYTES, whole=False),
        ]
        try:
            self._wait(timeout, readers, stop)
        finally:
            self.end()
            for reader in readers:
                reader.close()
        for reader in readers:
            if reader.failure is not None:
                raise reader.failure
        code = self.process.returncode
        return Finished(
            self.name, code, readers[0].tail, readers[1].tail, time.monotonic() - self.started
        )

    def _wait(
        self, timeout: float, readers: Sequence[_Reader], stop: threading.Event | None
    ) -> None:
        with _told_of_the_end(self.process) as pause:
            while self.process.poll() is None:
                self._require_time(timeout, stop)
                if any(reader.failure for reader in readers):
                    return
                pause()

    def _require_time(self, timeout: float, stop: threading.Event | None) -> None:
        if stop is not None and stop.is_set():
            raise Stopped(f"{self.name} was stopped before its end.", program=self.name)
        if time.monotonic() - self.started > timeout:
            raise TimedOut(
                f"{self.name} did not end within {timeout:.0f} seconds and was ended.",
                program=self.name,
                seconds=round(timeout),
            )

    def end(self, *, grace: float = GRACE_SECONDS) -> None:
        """SIGTERM to the group, SIGKILL after the grace; safe to call on what has ended."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()
        self.signal(signal.SIGKILL)  # grandchildren that outlived their parent

    def signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


@contextmanager
def _told_of_the_end(process: subprocess.Popen[bytes]) -> Iterator[Callable[[], object]]:
    """A pause of PAUSE_SECONDS that is over with the process: short programs are not slept over."""
    if process.poll() is not None:
        yield lambda: None
        return
    descriptor = os.pidfd_open(process.pid)
    try:
        ends = select.poll()
        ends.register(descriptor, select.POLLIN)
        yield lambda: ends.poll(PAUSE_SECONDS * 1000)
    finally:
        os.close(descriptor)


@contextmanager
def secret_pipe(secret: bytes) -> Iterator[int]:
    """A descriptor that gives the secret once and then ends; at most 64 KiB."""
    reading, writing = os.pipe()
    try:
        os.write(writing, secret)
        os.close(writing)
        writing = -1
        yield reading
    finally:
        if writing >= 0:
            os.close(writing)
        os.close(reading)


@contextmanager
def secret_file(secret: bytes) -> Iterator[int]:
    """A descriptor of an anonymous file with mode 0600, for programs that open it by name."""
    descriptor = os.memfd_create("secret")
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, secret)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


class _Reader:
    """Drains one stream in a thread of its own, so that a full pipe never stops the child.

    No line is held past `limit` bytes: the rest of it is dropped. Who listens gets the beginning,
    or with `whole` LineTooLong.
    """

    def __init__(
        self,
        stream: IO[bytes] | None,
        on_line: Callable[[str], None] | None,
        limit: int,
        *,
        whole: bool,
    ) -> None:
        self._limit = limit
        self._whole = whole
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self.failure: BaseException | None = None
        self._read = 0  # lines
        self._listening = False  # whoever listens is at work on a line
        self._stream = stream
        self._thread = threading.Thread(target=self._drain, daemon=True)
        if stream is not None:
            self._thread.start()

    def _drain(self) -> None:
        assert self._stream is not None
        with self._stream as stream:
            self._read_all(stream)

    def _read_all(self, stream: IO[bytes]) -> None:
        while raw := stream.readline(self._limit):
            self._read += 1
            line = raw.decode("utf-8", "replace").rstrip("\n")
            cut = len(raw) == self._limit and not raw.endswith(b"\n")
            self._lines.append(line[:LINE_LIMIT])
            if self._on_line is not None and self.failure is None:
                self._hand_over(line, broken=cut and self._whole)
            if cut:
                self._drop_rest(stream)

    def _hand_over(self, line: str, *, broken: bool) -> None:
        assert self._on_line is not None
        self._listening = True
        try:
            if broken:
                raise self._too_long()
            self._on_line(line)
        except BaseException as error:  # noqa: BLE001 - raised again by finish()
            self.failure = error
        finally:
            self._listening = False

    def _drop_rest(self, stream: IO[bytes]) -> None:
        rest = b"?"
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(STDERR_LINE_BYTES)

    def _too_long(self) -> LineTooLong:
        return LineTooLong(
            f"A program wrote a line of more than {self._limit} bytes, which is not read. "
            "See what it was asked for.",
            limit=self._limit,
        )

    @property
    def tail(self) -> str:
        return "\n".join(self._lines)

    def close(self) -> None:
        """After the end of its processes: what is still in the pipe is read, however long that takes
        whoever listens. A stream that something else holds open is left to its thread."""
        if self._stream is None:
            return
        seen = -1
        while self._thread.is_alive() and (self._listening or self._read != seen):
            seen = self._read
            self._thread.join(SETTLE_SECONDS)
        if self._thread.is_alive() and self.failure is None:
            self.failure = OutputHeld(
                "A program has ended, and something that it started holds its output open, so "
                "nobody knows whether all of it was read. See what it starts."
            )


def _other_account(account: Account | None) -> Account | None:
    return None if account is None or account.uid == os.geteuid() else account


def _found(command: Command) -> Path | None:
    """As execvp(3) will look for it: a name in the child's PATH, a path from its folder."""
    name = command.argv[0]
    if "/" in name:
        path = (command.folder or Path()) / name
        return path if os.access(path, os.X_OK) else None
    found = shutil.which(name, path=command.environment.get("PATH", os.defpath))
    return None if found is None else Path(found)


def _missing(command: Command, said: str) -> ProgramMissing:
    return ProgramMissing(
        f"Wanted to start {command.name}, but the system said: {said}. "
        "Run `strongroom doctor` to see what is missing.",
        program=command.name,
    )


def _limited(limits: Limits) -> list[str]:
    """As words before the command: a process of another account cannot be limited from outside."""
    wanted = {
        "cpu": limits.cpu_seconds,
        "fsize": limits.file_bytes,
        "nofile": limits.open_files,
        "as": limits.memory_bytes,
        "core": limits.core_bytes,
    }
    flags = [f"--{name}={value}" for name, value in wanted.items() if value is not None]
    return ["prlimit", *flags, "--"] if flags else []


def no_core_dumps() -> None:
    """Memory holds keys: neither this process nor its children leave it on a disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def share_heaps() -> None:
    """Let all threads share two heaps (mallopt(3), M_ARENA_MAX).

    Threads come and go with every child; each would leave a heap of its own behind, half empty.
    """
    ctypes.CDLL(None, use_errno=True).mallopt(M_ARENA_MAX, 2)


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that forked it ends (prctl(2)).

    For children that others fork for us, such as a worker's pool; ours get it from `setpriv`.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
