"""The gate: a stream that breaks off leaves no snapshot."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backup.restic import commands, errors, streams
from backup.restic.flags import Stream
from backup.restic.outputs import BackupReport
from strongroom import program
from strongroom.program import Command, Running, TimedOut
from tests.backup.restic_stage import Stage, stage
from tests.workers import until

PATH = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def ready(tmp_path: Path) -> Stage:
    return stage(tmp_path)


@dataclass
class Producer:
    """A shell script that writes a stream, as pg_dump would."""

    running: Running
    source: int

    def ended_well(self) -> bool:
        return self.running.finish(timeout=120).code == 0


def producer(script: str) -> Producer:
    reading, writing = os.pipe()
    running = program.start(Command(["/bin/sh", "-c", script], PATH), stdout=writing)
    os.close(writing)
    return Producer(running, reading)


def stored(
    ready: Stage, made: Producer, verdict: Callable[[], bool] | None = None, **options: str
) -> BackupReport:
    wanted = Stream(options.get("filename", "erp.dump"), "acme", ("run:1",))
    try:
        return streams.backup_stream(
            ready.repository,
            ready.here,
            wanted,
            source=made.source,
            verdict=verdict or made.ended_well,
        )
    finally:
        made.running.end()


def content(ready: Stage, snapshot: str | None, path: str) -> bytes:
    assert snapshot
    with (ready.folder / "out").open("w+b") as out:
        commands.dump(ready.repository, ready.here, snapshot=snapshot, path=path, to=out)
        out.seek(0)
        return out.read()


def none_is_left(ready: Stage) -> bool:
    return commands.snapshots(ready.repository, ready.here) == ()


def test_a_stream_that_ends_well_is_kept_whole(ready: Stage) -> None:
    report = stored(ready, producer("head -c 5000000 /dev/zero; printf end"))
    assert (report.bytes, report.complete) == (5_000_003, True)
    assert content(ready, report.snapshot, "erp.dump") == bytes(5_000_000) + b"end"


def test_a_producer_that_ends_before_anybody_reads_is_kept_whole(ready: Stage) -> None:
    made = producer("printf short")
    made.running.process.wait()
    report = stored(ready, made)
    assert content(ready, report.snapshot, "erp.dump") == b"short"


@pytest.mark.parametrize("first", [0, 10, 32, 37, 48, 92, 255])
def test_a_stream_may_begin_with_any_byte(ready: Stage, first: int) -> None:
    made = producer(f"printf '\\{first:03o}rest\n'")
    report = stored(ready, made)
    assert content(ready, report.snapshot, "erp.dump") == bytes([first]) + b"rest\n"


def test_a_stream_of_one_byte_is_not_empty(ready: Stage) -> None:
    assert stored(ready, producer("printf x")).bytes == 1


def test_a_producer_that_ends_with_exit_code_one_leaves_no_snapshot(ready: Stage) -> None:
    with pytest.raises(errors.StreamBroken):
        stored(ready, producer("head -c 3000000 /dev/urandom; exit 1"))
    assert none_is_left(ready)


def test_a_producer_that_is_killed_leaves_no_snapshot(ready: Stage) -> None:
    made = producer("head -c 30000000 /dev/urandom; sleep 60")
    killer = threading.Timer(0.7, made.running.signal, [signal.SIGKILL])
    killer.start()
    with pytest.raises(errors.StreamBroken):
        stored(ready, made)
    assert none_is_left(ready)


@pytest.mark.parametrize("script", ["exit 0", "exit 1", "kill -9 $$"])
def test_an_empty_stream_leaves_no_snapshot(ready: Stage, script: str) -> None:
    with pytest.raises(errors.StreamBroken) as caught:
        stored(ready, producer(script))
    assert isinstance(caught.value, errors.StreamEmpty) is (script == "exit 0")
    assert none_is_left(ready)


def test_what_the_verdict_raises_comes_through_and_no_snapshot_remains(ready: Stage) -> None:
    def verdict() -> bool:
        raise LookupError("the manifest does not match")

    with pytest.raises(LookupError, match="manifest"):
        stored(ready, producer("printf content"), verdict)
    assert none_is_left(ready)


def test_the_verdict_is_asked_for_once_and_only_after_the_last_byte(ready: Stage) -> None:
    made, asked = producer("head -c 2000000 /dev/zero; sleep 0.3; printf end"), []

    def verdict() -> bool:
        asked.append(made.running.process.poll() is not None or made.ended_well())
        return True

    stored(ready, made, verdict)
    assert asked == [True]


def test_no_verdict_is_asked_for_when_restic_fails_early(ready: Stage) -> None:
    wrong = replace(ready, repository=replace(ready.repository, password=b"wrong"))
    with pytest.raises(errors.WrongKey):
        stored(wrong, producer("head -c 90000000 /dev/zero"), lambda: pytest.fail("was asked"))


def test_a_producer_that_hangs_is_ended_by_the_deadline(ready: Stage) -> None:
    hurried = replace(ready, here=ready.here.within(1.5))
    with pytest.raises(TimedOut):
        stored(hurried, producer("printf begin; sleep 60"))
    assert none_is_left(ready)


@pytest.mark.parametrize("name", ["--password-command=touch X", "two\nlines.dump", "dir/erp.dump"])
def test_hostile_file_names_are_only_names(ready: Stage, name: str) -> None:
    report = stored(ready, producer("printf content"), filename=name)
    assert content(ready, report.snapshot, name) == b"content"
    assert not list(ready.folder.rglob("X"))


def test_no_descriptor_is_left_open(ready: Stage) -> None:
    before = pipes()
    for _ in range(3):
        stored(ready, producer("printf more"))
        with pytest.raises(errors.StreamBroken):
            stored(ready, producer("exit 1"))
    # What other threads of this process hold for a moment is none of ours.
    assert until(lambda: not pipes() - before)


def pipes() -> set[str]:
    """The pipes and files in memory that this process holds, by what they are."""
    held = set[str]()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            held.add(str(each.readlink()))
    return {each for each in held if each.startswith(("pipe:", "/memfd:"))}
