"""Looking after children: started, started again, stopped in reverse order."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.program import Command
from strongroom.stack import children, files, processes
from strongroom.stack.children import Child, ChildFailed, Children
from tests.platform.stack_cast import until

NOTE = "open('{notes}', 'a').write('{word}\\n')"


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kept(tmp_path: Path, clock: FakeClock) -> Iterator[Children]:
    made = Children(tmp_path, clock=clock)
    yield made
    made.stop()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the children of these tests write what they did."""
    path = tmp_path / "notes"
    path.touch()
    return path


def python(name: str, script: str) -> Child:
    return Child(name, Command([sys.executable, "-c", script]))


def short_lived(notes: Path) -> Child:
    return python("short", NOTE.format(notes=notes, word="lived"))


def tended(kept: Children, holds: Callable[[], bool], *, seconds: float = 90.0) -> bool:
    """Tend until it holds."""

    def once() -> bool:
        kept.tend()
        return holds()

    return until(once, seconds=seconds)


def lives(notes: Path) -> int:
    return len(notes.read_text().splitlines())


def long_lived(name: str, notes: Path) -> Child:
    """Says in the notes when it is ready, and when it was asked to end."""
    ready, ended = (NOTE.format(notes=notes, word=f"{name} {word}") for word in ("up", "down"))
    script = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        f"{ready}\nsignal.sigwait([signal.SIGTERM])\n{ended}"
    )
    return Child(
        name,
        Command([sys.executable, "-c", script]),
        ready=lambda: f"{name} up" in notes.read_text(),
    )


def test_children_stop_in_reverse_order(kept: Children, notes: Path) -> None:
    for name in ("first", "second", "third"):
        kept.start(long_lived(name, notes))

    kept.stop()

    assert notes.read_text().split("\n")[3:6] == ["third down", "second down", "first down"]


def test_a_child_that_dies_is_started_again_at_once(kept: Children, notes: Path) -> None:
    kept.start(short_lived(notes))

    assert tended(kept, lambda: lives(notes) == 2)


def test_a_child_that_keeps_dying_has_to_wait(
    kept: Children, notes: Path, clock: FakeClock
) -> None:
    kept.start(short_lived(notes))
    assert tended(kept, lambda: lives(notes) == 2)

    assert tended(kept, lambda: kept._kept[0].failures == 2)

    for _ in range(20):
        kept.tend()
    waited = kept._kept[0].again_at
    clock.seconds += 1.0

    assert (waited, lives(notes)) == (1.0, 2)
    assert tended(kept, lambda: lives(notes) == 3)


def test_pauses_grow_up_to_a_minute() -> None:
    assert [children.pause(n) for n in (1, 2, 3, 4, 9, 50)] == [0, 1, 2, 4, 60, 60]


def test_a_child_that_does_not_listen_is_killed(kept: Children, notes: Path) -> None:
    note = NOTE.format(notes=notes, word="up")
    script = f"import signal, time; signal.signal(15, signal.SIG_IGN); {note}; time.sleep(600)"
    deaf = Child(
        "deaf",
        Command([sys.executable, "-c", script]),
        ready=lambda: bool(notes.read_text()),
        grace=0.1,
    )
    kept.start(deaf)

    kept.stop()

    assert not running(script)


def test_a_child_that_never_becomes_ready_is_said_and_ended(kept: Children) -> None:
    script = "import time; time.sleep(601)"
    child = Child(
        "slow", Command([sys.executable, "-c", script]), ready=lambda: False, ready_seconds=0.2
    )

    with pytest.raises(ChildFailed, match=r"slow.*did not become ready.*slow\.log"):
        kept.start(child)

    assert not running(script)


def test_what_a_child_says_is_in_its_log(kept: Children, tmp_path: Path) -> None:
    kept.start(python("talker", "print('out', flush=True); raise SystemExit('err')"))

    path = tmp_path / "talker.log"
    assert until(lambda: path.read_text() == "out\nerr\n")
    assert path.stat().st_mode & 0o077 == 0


def test_a_large_log_is_set_aside_when_its_child_starts(kept: Children, tmp_path: Path) -> None:
    (tmp_path / "talker.log").write_bytes(bytes(files.LOG_LIMIT + 1))

    kept.start(python("talker", ""))

    assert (tmp_path / "talker.log").stat().st_size == 0
    assert (tmp_path / "talker.log.1").stat().st_size == files.LOG_LIMIT + 1


def test_watching_ends_when_told_to(kept: Children) -> None:
    stop = threading.Event()
    stop.set()

    kept.watch(stop)


def test_a_child_cannot_be_started_from_a_thread_that_may_end(kept: Children) -> None:
    raised: list[BaseException] = []

    def start() -> None:
        try:
            kept.start(python("any", ""))
        except AssertionError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert raised


def test_one_that_cannot_be_stopped_keeps_no_other_running(kept: Children, notes: Path) -> None:
    kept.start(long_lived("first", notes))
    kept.start(Stubborn())

    with pytest.raises(RuntimeError, match="will not"):
        kept.stop()

    assert "first down" in notes.read_text()


def test_ending_a_process_spares_a_later_one_with_its_number(kept: Children, notes: Path) -> None:
    kept.start(long_lived("bystander", notes))
    (pid,) = running("bystander up")
    found = processes.identify(pid)
    assert found is not None

    processes.end([processes.Identity(pid, found.started - 1)], first=signal.SIGKILL, grace=0.1)

    assert processes.is_alive(found)


class Stubborn:
    """A service whose stop fails."""

    name = "stubborn"

    def start(self) -> None:
        pass

    def stop(self) -> None:
        raise RuntimeError("will not")

    def alive(self) -> bool:
        return True


def running(text: str) -> list[int]:
    """Processes with this in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(int(entry.name))
    return found
