"""One call of restic: a fresh environment, secrets by descriptor, a deadline, an exit code read.

The environment is made from nothing, so that no RESTIC_PASSWORD or RESTIC_HOST of ours can win.
The password goes through a pipe; S3 credentials lie in an anonymous file, since restic opens that
one more than once. Neither is in argv nor in the environment.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Protocol

from backup.restic import errors
from strongroom import program
from strongroom.closed_view import Place, View
from strongroom.errors import BadValue

Message = dict[str, Any]
STUCK_SECONDS = 30  # a request in which nothing moves for so long is sent again; restic waits 300


class SharedCredentials(Protocol):
    """Credentials for an object store."""

    def shared_file(self) -> bytes:
        """The text of an AWS shared credentials file."""
        ...


@dataclass(frozen=True)
class Repository:
    """One tenant's repository in one region, and how to open it."""

    address: str  # "s3:http://host:port/bucket/prefix", or an absolute path
    password: bytes = field(repr=False)
    key_hint: str | None = None  # full id of the low-cost key file
    cache: Path | None = None  # of this tenant alone; None keeps nothing on disk
    credentials: SharedCredentials | None = field(default=None, repr=False)
    location: str = "us-east-1"  # AWS region name; without one every call asks for it
    path_style: bool = True  # bucket in the path, not in the host name
    upload_kib: int | None = None  # per second
    download_kib: int | None = None  # per second

    def __post_init__(self) -> None:
        # Anything else could start a program: sftp: and rclone: do.
        if not self.address.startswith(("s3:http://", "s3:https://", "/")):
            raise BadValue(
                "A repository's address is s3:http(s)://… or an absolute path; "
                f"{self.address.partition(':')[0]!r} is neither."
            )

    @property
    def on_s3(self) -> bool:
        return self.address.startswith("s3:")


@dataclass(frozen=True)
class Surroundings:
    """Where and for how long restic may run."""

    scratch: Path  # its HOME and TMPDIR; made by the caller with mode 0700
    timeout: float  # seconds for one call
    restic: str = "restic"  # name or absolute path of the program
    path: str = "/usr/local/bin:/usr/bin:/bin"
    processors: int = 1  # GOMAXPROCS; 1 saves a quarter of the CPU of short calls
    stop: threading.Event | None = None
    account: program.Account | None = None
    limits: program.Limits = field(default_factory=program.Limits)

    def within(self, seconds: float) -> Surroundings:
        """The same with another deadline."""
        return replace(self, timeout=seconds)


@dataclass(frozen=True)
class Call:
    """What to ask restic for."""

    command: str  # its name in messages
    flags: Sequence[str]  # everything after the flags that every call has
    repository: Repository
    source: Repository | None = None  # the other repository, of copy and init
    source_address: str | None = None  # when the other one is reached by a detour
    folder: Path | None = None
    descriptors: Sequence[int] = ()
    accepted: Sequence[int] = (0,)
    reads: tuple[Place, ...] = ()  # of the file system, beside what every call needs
    writes: tuple[Place, ...] = ()

    @property
    def secrets(self) -> list[bytes]:
        return secrets_of(self.repository) + (secrets_of(self.source) if self.source else [])


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    command: str
    code: int
    said: tuple[str, ...]  # what restic said went wrong, masked and bounded
    seconds: float

    @property
    def failure(self) -> errors.ResticError:
        """The exception for this exit code."""
        return errors.failed(self.command, self.code, "\n".join(self.said))


def run(
    call: Call,
    here: Surroundings,
    *,
    on_line: Callable[[str], None] | None = None,
) -> Answer:
    """Run to the end; raises the exception of any exit code that is not accepted."""
    heard = Heard()
    with prepared(call, here) as command:
        finished = program.run(
            command,
            timeout=here.timeout,
            on_line=on_line,
            on_error_line=heard.line,
            stop=here.stop,
        )
    return judged(call, finished, heard)


def run_into(call: Call, here: Surroundings, to: IO[bytes]) -> Answer:
    """As `run`, with restic's output going straight into an open file."""
    heard = Heard()
    with prepared(call, here) as command:
        child = program.start(command, stdout=to, stderr=-1)
        finished = child.finish(timeout=here.timeout, on_error_line=heard.line, stop=here.stop)
    return judged(call, finished, heard)


def judged(call: Call, finished: program.Finished, heard: Heard) -> Answer:
    """The one place where an exit code becomes an answer or an exception."""
    answer = answered(call, finished, heard)
    if answer.code not in call.accepted:
        raise answer.failure
    return answer


def answered(call: Call, finished: program.Finished, heard: Heard) -> Answer:
    """How a call ended, not judged yet, without secrets."""
    words = tuple(errors.masked(word, call.secrets) for word in heard.words)
    return Answer(call.command, finished.code, words, finished.seconds)


class Heard:
    """What restic says on stderr: the words of its errors, the last KEPT of them."""

    KEPT = 20
    WIDTH = 500

    def __init__(self) -> None:
        self.words: list[str] = []

    def line(self, line: str) -> None:
        message = parse(line)
        said = line if message is None else _error_text(message)
        if said.strip():
            self.words = [*self.words, said[: self.WIDTH]][-self.KEPT :]


def parse(line: str) -> Message | None:
    """A JSON object, or None: whatever else stands on a line is a log line."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def prepared(call: Call, here: Surroundings) -> Iterator[program.Command]:
    """The command with its secrets behind open descriptors; they close at the end."""
    with ExitStack() as stack:
        secrets = _Descriptors(stack, here.account)
        environment = _environment(call, here, secrets)
        yield program.Command(
            argv=[here.restic, *_common(call), *call.flags],
            environment=environment,
            folder=call.folder,
            descriptors=[*call.descriptors, *secrets.opened],
            account=here.account,
            limits=here.limits,
            view=_view(call, here),
        )


def secrets_of(repository: Repository) -> list[bytes]:
    """What must never be seen in a message."""
    found = [repository.password]
    if repository.credentials is not None:
        lines = repository.credentials.shared_file().splitlines()
        pairs = [line.partition(b"=") for line in lines]
        found += [v.strip() for k, _, v in pairs if k.strip() != b"region" and len(v.strip()) > 5]
    return found


class _Descriptors:
    """Opens secrets for one call, and hands them to the account that will read them."""

    def __init__(self, stack: ExitStack, account: program.Account | None) -> None:
        self.opened: list[int] = []
        self._stack = stack
        self._account = account

    def pipe(self, secret: bytes) -> str:
        return f"/dev/fd/{self._own(self._stack.enter_context(program.secret_pipe(secret)))}"

    def file(self, secret: bytes) -> str:
        return f"/proc/self/fd/{self._own(self._stack.enter_context(program.secret_file(secret)))}"

    def _own(self, descriptor: int) -> int:
        # Opening /dev/fd/N checks the owner again, who is us and not the child's account.
        if self._account is not None:
            os.fchown(descriptor, self._account.uid, self._account.gid)
        self.opened.append(descriptor)
        return descriptor


def _view(call: Call, here: Surroundings) -> View:
    """restic's own folders and what the call is about, whatever the data talk it into."""
    sides = [call.repository, *([call.source] if call.source else [])]
    folders = [here.scratch, *(_made(side.cache, here) for side in sides if side.cache)]
    direct = sides[:1] if call.source_address else sides
    local = [Path(side.address) for side in direct if not side.on_s3]
    folders += [each if each.exists() else each.parent for each in local]
    return View(read=call.reads, write=(*folders, *call.writes))


def _made(cache: Path, here: Surroundings) -> Path:
    """restic would make it, but may not touch the folder above."""
    with suppress(FileExistsError):
        cache.mkdir(mode=0o700)
        if here.account is not None:
            os.chown(cache, here.account.uid, here.account.gid)
    return cache


def _environment(call: Call, here: Surroundings, secrets: _Descriptors) -> dict[str, str]:
    made = {
        "PATH": here.path,
        "HOME": str(here.scratch),
        "TMPDIR": str(here.scratch),
        "TZ": "UTC",
        "GOMAXPROCS": str(here.processors),
        "RESTIC_PROGRESS_FPS": "1",
        "RESTIC_PASSWORD_FILE": secrets.pipe(call.repository.password),
    }
    if call.source is not None:
        made["RESTIC_FROM_PASSWORD_FILE"] = secrets.pipe(call.source.password)
    if call.repository.on_s3:
        made["AWS_DEFAULT_REGION"] = call.repository.location
    if call.source is not None and call.source.on_s3:
        made["RESTIC_FROM_AWS_DEFAULT_REGION"] = call.source.location
    if (credentials := _credentials(call)) is not None:
        made["AWS_SHARED_CREDENTIALS_FILE"] = secrets.file(credentials)
    return made


def _credentials(call: Call) -> bytes | None:
    sides = [call.repository, *([call.source] if call.source and not call.source_address else [])]
    texts = {side.credentials.shared_file() for side in sides if side.credentials is not None}
    if len(texts) > 1:
        raise BadValue(
            f"restic {call.command} takes one set of credentials for both sides, and these differ."
        )
    return texts.pop() if texts else None


def _common(call: Call) -> list[str]:
    repository = call.repository
    flags = [f"--repo={repository.address}"]
    if repository.key_hint:
        flags.append(f"--key-hint={repository.key_hint}")
    flags.append(f"--cache-dir={repository.cache}" if repository.cache else "--no-cache")
    if repository.on_s3 and repository.path_style:
        flags.append("--option=s3.bucket-lookup=path")
    if repository.on_s3:
        flags.append(f"--stuck-request-timeout={STUCK_SECONDS}s")
    if repository.upload_kib is not None:
        flags.append(f"--limit-upload={repository.upload_kib}")
    if repository.download_kib is not None:
        flags.append(f"--limit-download={repository.download_kib}")
    if call.source is not None:
        flags.append(f"--from-repo={call.source_address or call.source.address}")
        if call.source.key_hint:
            flags.append(f"--from-key-hint={call.source.key_hint}")
    return flags


def _error_text(message: Message) -> str:
    if message.get("message_type") == "exit_error":
        return str(message.get("message", ""))
    error = message.get("error")
    said = error.get("message", "") if isinstance(error, dict) else message.get("message", "")
    return f"{message.get('item', '')}: {said}" if message.get("item") else str(said)
