"""Processes: what they get, what they say, and that none of them outlives what it was for."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from strongroom import program
from strongroom.program import (
    LINE_LIMIT,
    STDERR_LINE_BYTES,
    STDOUT_LINE_BYTES,
    TAIL_LINES,
    Command,
    Finished,
    Limits,
    LineTooLong,
    OutputHeld,
    ProgramMissing,
    Stopped,
    TimedOut,
    run,
    secret_file,
    secret_pipe,
    start,
)
from tests.platform.stack_cast import until

ROOT = Path(__file__).parents[2]


def shell(script: str, **more: object) -> Command:
    return Command(["/bin/sh", "-c", script], environment={"PATH": "/usr/bin:/bin"}, **more)  # type: ignore[arg-type]


def finished(script: str, **more: object) -> Finished:
    return run(shell(script, **more), timeout=120)


def alive(pid: int) -> bool:
    """It runs, and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def written(path: Path) -> int:
    """A number that another process writes, waited for."""
    assert until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_what_a_program_says_and_how_it_ends_is_told_and_raises_nothing() -> None:
    ended = finished("echo out; echo err >&2; exit 7")
    assert (ended.code, ended.stdout, ended.stderr, ended.name) == (7, "out", "err", "sh")


def test_a_program_that_was_killed_tells_the_signal() -> None:
    assert finished("kill -9 $$").code == -signal.SIGKILL


def test_a_child_gets_no_environment_but_the_one_it_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY", "secret")
    ended = run(Command(["env"], environment={"WORD": "مرحبا"}), timeout=120)
    assert ended.stdout.splitlines() == ["WORD=مرحبا"]


def test_arguments_are_never_read_by_a_shell() -> None:
    ended = run(Command(["echo", "$HOME; `id` && *"]), timeout=120)
    assert ended.stdout == "$HOME; `id` && *"


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "./no-such-program"])
def test_a_program_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ProgramMissing, match="no-such-program|program") as caught:
        run(Command([name], folder=Path("/")), timeout=120)
    assert caught.value.params["program"] == Path(name).name
    assert "strongroom doctor" in caught.value.message


def test_a_program_beside_its_folder_is_found_from_there(tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "hello").chmod(0o700)
    assert run(Command(["./hello"], folder=tmp_path), timeout=120).stdout == "hello"


def test_who_runs_past_the_deadline_is_ended_with_all_its_children(tmp_path: Path) -> None:
    child = start(shell(f"sleep 600 & echo $! > {tmp_path}/child; wait"))
    grandchild = written(tmp_path / "child")
    with pytest.raises(TimedOut, match="within 1 seconds"):
        child.finish(timeout=0.6)
    assert until(lambda: not alive(grandchild))


def test_who_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    child = start(shell(f"trap '' TERM; echo $$ > {tmp_path}/ready; while :; do sleep 1; done"))
    assert written(tmp_path / "ready") == child.pid
    child.end(grace=0.3)
    assert child.process.returncode == -signal.SIGKILL
    child.end()  # and again does no harm


def test_grandchildren_that_outlive_their_parent_are_ended_too(tmp_path: Path) -> None:
    finished(f"sleep 600 >/dev/null 2>&1 & echo $! > {tmp_path}/child")
    assert until(lambda: not alive(written(tmp_path / "child")))


def test_an_event_from_outside_ends_the_program() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped, match="sh was stopped"):
        run(shell("sleep 600"), timeout=200, stop=stop)


def test_a_flood_of_output_keeps_its_last_lines_and_blocks_nobody() -> None:
    ended = finished("seq 1 200000; seq 1 200000 >&2")
    last = [str(number) for number in range(200_000 - TAIL_LINES + 1, 200_001)]
    assert ended.stdout.splitlines() == ended.stderr.splitlines() == last


def test_a_line_without_an_end_is_cut_and_bytes_that_are_no_text_do_no_harm() -> None:
    ended = finished("head -c 300000 /dev/zero | tr '\\0' x; printf '\\377\\n'")
    assert ended.stdout == "x" * LINE_LIMIT
    assert finished("printf 'a\\377b\\n'").stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_every_line_is_handed_over_whole_as_it_comes() -> None:
    seen: list[str] = []
    run(shell("echo one; printf two; exit 1"), timeout=120, on_line=seen.append)
    assert seen == ["one", "two"]


def test_a_slow_listener_hears_every_line_after_the_end_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program, "SETTLE_SECONDS", 0.01)
    heard: list[str] = []

    def listen(line: str) -> None:
        time.sleep(0.05)
        heard.append(line)

    run(shell("seq 40"), timeout=120, on_line=listen)
    assert heard == [str(number) for number in range(1, 41)]


def test_output_that_somebody_holds_open_is_no_whole_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SETTLE_SECONDS", 0.2)
    with pytest.raises(OutputHeld):
        run(shell(f"setsid sleep 600 & echo $! > {tmp_path}/holder; sleep 0.5"), timeout=120)
    os.kill(written(tmp_path / "holder"), signal.SIGKILL)


def test_of_an_endless_line_of_errors_the_beginning_is_handed_over_and_the_next_line_too() -> None:
    seen: list[str] = []
    script = f"head -c {STDERR_LINE_BYTES * 3} /dev/zero | tr '\\0' x >&2; echo >&2; echo next >&2"
    run(shell(script), timeout=120, on_error_line=seen.append)
    assert seen == ["x" * STDERR_LINE_BYTES, "next"]


def test_an_endless_line_of_output_is_never_taken_for_a_whole_one() -> None:
    seen: list[str] = []
    script = f"head -c {STDOUT_LINE_BYTES + 9} /dev/zero | tr '\\0' x"
    with pytest.raises(LineTooLong, match="line of more than"):
        run(shell(script), timeout=200, on_line=seen.append)
    assert seen == []


def test_who_listens_and_fails_ends_the_program_and_is_heard() -> None:
    def listen(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError, match="one"):
        run(shell("echo one; sleep 600"), timeout=200, on_line=listen)


def test_a_secret_is_read_once_from_a_pipe_and_is_in_nobodys_arguments_or_environment() -> None:
    with secret_pipe(b"canary") as descriptor:
        script = f"cat /proc/$$/cmdline /proc/$$/environ /proc/self/fd/{descriptor}"
        ended = finished(script, descriptors=(descriptor,))
    assert ended.stdout.count("canary") == 1
    assert ended.stdout.endswith("canary")


def test_a_secret_file_opens_by_name_and_only_for_us() -> None:
    with secret_file(b"canary") as descriptor:
        was = os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino
        script = f"stat -L -c %a /proc/self/fd/{descriptor}; cat /proc/self/fd/{descriptor}"
        ended = finished(script, descriptors=(descriptor,))
        again = finished(script, descriptors=(descriptor,))
    assert ended.stdout == again.stdout == "600\ncanary"
    with suppress(OSError):  # its number may be another thread's by now
        assert (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino) != was


def test_a_child_has_no_descriptor_that_it_was_not_given(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as ours, secret_pipe(b"canary") as secret:
        os.set_inheritable(ours.fileno(), True)
        there = {str(Path(f"/proc/self/fd/{each}").readlink()) for each in (ours.fileno(), secret)}
        seen = finished("for each in /proc/self/fd/*; do readlink $each; done; echo end").stdout
        assert seen.endswith("end")
        assert there & set(seen.split()) == set()  # by what they are: numbers are used again
        os.set_inheritable(ours.fileno(), False)


def test_limits_hold_in_the_child(tmp_path: Path) -> None:
    limits = Limits(file_bytes=1024, open_files=32, core_bytes=0, cpu_seconds=9)
    asked = finished("ulimit -n; ulimit -c; ulimit -t; ulimit -f", limits=limits)
    assert asked.stdout.split() == ["32", "0", "9", "2"]  # files in blocks of 512 bytes
    big = finished(f"head -c 4096 /dev/zero > {tmp_path}/file", limits=limits)
    assert (tmp_path / "file").stat().st_size == 1024
    assert big.code != 0


def test_no_child_leaves_its_memory_on_the_disk() -> None:
    script = "import resource; from strongroom import program; program.no_core_dumps()\n"
    script += "print(resource.getrlimit(resource.RLIMIT_CORE))"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        check=True,
        text=True,
    )
    assert ended.stdout == "(0, 0)\n"


PARENT = """
import sys, time
from strongroom.program import Command, start
child = start(Command(["sleep", "600"], environment={"PATH": "/usr/bin:/bin"}))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_dies_with_the_process_that_started_it_even_by_kill_9() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT)],
        env={"PYTHONPATH": str(ROOT / "platform"), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    comm = Path(f"/proc/{child}/comm")
    assert until(lambda: comm.read_text() == "sleep\n")  # it is past setpriv
    parent.kill()
    parent.communicate()
    assert until(lambda: not alive(child))


STARTERS = re.compile(
    r"subprocess\.(run|Popen|call|check_\w+|getoutput|getstatusoutput)|multiprocessing\.\w+"
    r"|os\.(system|popen|exec\w+|spawn\w+|fork\w*|posix_spawn\w*)|pty\.(fork|spawn)"
)


def calls(source: str) -> set[str]:
    """What a module calls, as it is written there."""
    tree = ast.parse(source)
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_nothing_but_this_module_starts_processes() -> None:
    found = {
        str(path.relative_to(ROOT))
        for part in ("platform", "backup", "restore", "tenants", "web")
        for path in (ROOT / part).rglob("*.py")
        if any(STARTERS.fullmatch(call) for call in calls(path.read_text(encoding="utf-8")))
    }
    assert found == {"platform/strongroom/program.py"}
