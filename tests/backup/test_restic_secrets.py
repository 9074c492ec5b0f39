"""Secrets reach restic by descriptor and are seen nowhere else."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backup.restic import calls, commands, errors
from backup.restic.calls import Call, Repository
from backup.restic.flags import FolderBackup
from strongroom import program
from strongroom.errors import BadValue
from tests.backup.restic_stage import stage

CANARY = "canary-4Yx9-secret"


@dataclass(frozen=True)
class Shared:
    """Credentials with canaries in them."""

    name: str = "one"

    def shared_file(self) -> bytes:
        return (
            f"[default]\naws_access_key_id = AKIA{self.name}\n"
            f"aws_secret_access_key = {CANARY}\naws_session_token = {CANARY}-token\n"
        ).encode()


def test_a_running_restic_shows_no_secret_to_who_looks(tmp_path: Path) -> None:
    ready = stage(tmp_path)
    repository = Repository(
        address="s3:http://127.0.0.1:9/bucket/prefix",
        password=ready.password.text,
        key_hint="ab" * 32,
        credentials=Shared(),
    )
    call = Call("cat", ["cat", "config", "--no-lock"], repository, source=ready.repository)
    with calls.prepared(call, ready.here) as command:
        child = program.start(command)
        seen = _what_can_be_read(child, wait_for=b"RESTIC_PASSWORD_FILE")
        child.end(grace=5)
    assert b"--key-hint=" in seen
    for secret in (CANARY.encode(), ready.password.text):
        assert secret not in seen


def test_nothing_of_our_own_environment_reaches_restic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = stage(tmp_path)
    monkeypatch.setenv("RESTIC_PASSWORD", "another")
    monkeypatch.setenv("RESTIC_HOST", "another")
    with calls.prepared(Call("cat", ["cat"], ready.repository), ready.here) as command:
        assert sorted(command.environment) == [
            *["GOMAXPROCS", "HOME", "PATH", "RESTIC_PASSWORD_FILE"],
            *["RESTIC_PROGRESS_FPS", "TMPDIR", "TZ"],
        ]
    commands.open_check(ready.repository, ready.here)


def test_s3_has_its_region_and_its_credentials_by_descriptor(tmp_path: Path) -> None:
    ready = stage(tmp_path)
    repository = Repository("s3:http://127.0.0.1:9/b/p", b"password", credentials=Shared())
    with calls.prepared(Call("cat", ["cat"], repository), ready.here) as command:
        environment = command.environment
        assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
        path = environment["AWS_SHARED_CREDENTIALS_FILE"]
        assert Path(path).read_bytes() == Shared().shared_file()
        assert "--option=s3.bucket-lookup=path" in command.argv


def test_two_sets_of_credentials_do_not_fit_into_one_call(tmp_path: Path) -> None:
    here = stage(tmp_path).here
    one = Repository("s3:http://127.0.0.1:9/b/p", b"password", credentials=Shared())
    other = replace(one, credentials=Shared("two"))
    with pytest.raises(BadValue, match="one set of credentials"):
        commands.copy(one, other, here, ["0" * 64])


def test_secrets_are_masked_in_what_an_error_says(tmp_path: Path) -> None:
    ready = stage(tmp_path)
    secret = f"{ready.folder}/{CANARY}"
    repository = replace(ready.repository, address=secret, password=secret.encode())
    with pytest.raises(errors.NoRepository) as caught:
        commands.open_check(repository, ready.here)
    assert CANARY not in str(caught.value) and "***" in str(caught.value)
    assert CANARY not in repr(replace(repository, address="/x"))
    assert "Shared" not in repr(Repository("/x", b"p", credentials=Shared()))


def test_an_error_is_bounded_however_much_restic_says() -> None:
    heard = calls.Heard()
    for number in range(1000):
        heard.line(f"{number} " + "x" * 10_000)
    error = errors.failed("backup", 1, "\n".join(heard.words))
    assert len(str(error)) < 1500
    assert len(heard.words) == 20


def test_every_exit_code_has_one_exception() -> None:
    kinds = {code: type(errors.failed("x", code, "")) for code in (1, 2, 3, 10, 11, 12, 130, -9)}
    assert kinds == {
        1: errors.ResticError,
        2: errors.ResticError,
        -9: errors.ResticError,
        3: errors.SomeUnread,
        10: errors.NoRepository,
        11: errors.RepositoryLocked,
        12: errors.WrongKey,
        130: errors.Interrupted,
    }


def test_the_command_behind_a_stream_sees_no_secret(tmp_path: Path) -> None:
    ready = stage(tmp_path)
    ready.write("a", os.urandom(1000))
    wanted = FolderBackup(folder=ready.source, host="acme")
    commands.backup_folder(ready.repository, ready.here, wanted)
    script = "env"  # of processes, even its own, the closed view shows nothing
    flags = ["backup", "--json", "--stdin-filename=x", "--stdin-from-command", "--"]
    call = Call("backup", [*flags, "/bin/sh", "-c", script], ready.repository)
    lines: list[str] = []
    calls.run(call, ready.here, on_line=lines.append)
    [made] = commands.snapshots(ready.repository, ready.here)[-1:]
    with (ready.folder / "out").open("w+b") as out:
        commands.dump(ready.repository, ready.here, snapshot=made.id, path="x", to=out)
        out.seek(0)
        seen = out.read()
    assert b"RESTIC_PASSWORD_FILE=/dev/fd/" in seen
    assert ready.password.text not in seen


def _what_can_be_read(child: program.Running, *, wait_for: bytes) -> bytes:
    """argv and environment of the child, once it is restic and not yet what starts it."""
    folder = Path(f"/proc/{child.pid}")
    while b"restic" not in (folder / "cmdline").read_bytes().split(b"\0")[0]:
        assert child.process.poll() is None
        threading.Event().wait(0.005)
    seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    assert wait_for in seen
    return seen
