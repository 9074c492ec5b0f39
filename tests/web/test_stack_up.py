"""`strongroom up` for real: it starts, answers, stops without a trace, and recovers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom import heartbeats, signs_of_life
from strongroom.db import Database, Role
from strongroom.stack import embedded
from strongroom.stack import home as homes
from tests.platform import stack_cast
from tests.platform.stack_cast import processes_of, until
from tests.web.command_line import run
from web.notices import troubles
from web.places import find_settings

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
    "LANG": "C.UTF-8",
}
PROGRAM = [sys.executable, "-m", "web.cli"]
SECONDS = 180  # a start on a busy machine


@dataclass(frozen=True)
class Up:
    """An `up` in a process of its own."""

    home: Path
    process: subprocess.Popen[str]
    web: str

    def command(self, *words: str) -> Any:
        done = call(*words, "--home", str(self.home), "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def healthy(self) -> bool:
        with urllib.request.urlopen(f"{self.web}/healthz", timeout=60) as answer:
            return bool(answer.status == 200)

    def end(self, number: signal.Signals) -> int:
        """Send the signal to it alone; its exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=SECONDS)
        return self.process.returncode


def call(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words],
        cwd="/",
        env=ENVIRONMENT | more.pop("environment", {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **more,
    )


@contextmanager
def up(home: Path, *words: str) -> Iterator[Up]:
    """Running, and its page answers."""
    argv = [*PROGRAM, "up", "--home", str(home), "--regions", "1", "--json", *words]
    process = subprocess.Popen(
        argv, cwd="/", env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        yield Up(home, process, json.loads(line)["web"])
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=SECONDS)


def refused(*words: str, **more: Any) -> tuple[int, str]:
    """Exit code and error code of an `up` that says one sentence and starts nothing."""
    done = call("up", "--json", *words, **more)
    document = json.loads(done.stdout)
    assert document["error"]["message"] in done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, str(document["error"]["code"])


@pytest.fixture
def place() -> Iterator[Path]:
    with stack_cast.new_home(prefix="strongroom-up-") as path:
        yield path


def test_it_starts_answers_and_keeps_what_was_there_through_stops_and_kills(place: Path) -> None:
    with up(place) as first:
        assert first.healthy()
        words = "--name Acme --plan alone --timezone Asia/Dubai --country AE --locale ar-AE"
        apply_plan(first)
        first.command("tenant", "add", "acme", *words.split())
        assert first.end(signal.SIGTERM) == 0
        assert processes_of(place) == []
    with up(place) as second:
        assert second.web == first.web
        assert [each["slug"] for each in second.command("tenant", "list")] == ["acme"]
        second.end(signal.SIGKILL)
        assert until(lambda: processes_of(place) == [])
    with up(place) as third:
        assert third.healthy()
        assert [each["slug"] for each in third.command("tenant", "list")] == ["acme"]
        assert third.end(signal.SIGINT) == 0
        assert processes_of(place) == []


def silent_parts(home: Path) -> set[str]:
    """Parts of the platform that gave no sign of life lately."""
    database = Database(find_settings(home).databases)
    try:
        with database.session(Role.OPERATOR) as session:
            return {*troubles.PARTS, *signs_of_life.CARRIERS} - set(heartbeats.alive(session))
    finally:
        database.close()


def apply_plan(stack: Up) -> None:
    """A plan of one region."""
    shipped = (ROOT / "tenants" / "shipped_plans.toml").read_text()
    head = shipped[shipped.index("[starter") : shipped.index("[business")]
    plans = stack.home.parent / "plans.toml"
    plans.write_text(head.replace("[starter", "[alone").replace("regions = 2", "regions = 1"))
    stack.command("plan", "apply", str(plans))


@pytest.mark.long
def test_two_homes_run_side_by_side_and_one_home_only_once(place: Path) -> None:
    with stack_cast.new_home(prefix="strongroom-up-") as other, up(place) as one, up(other) as two:
        assert one.web != two.web
        assert one.healthy()
        assert two.healthy()
        assert refused("--home", str(place)) == (1, "home-busy")
        assert one.healthy()


@pytest.mark.long
def test_children_that_die_are_started_again(place: Path) -> None:
    with up(place) as stack:
        pids = {line.split()[0] for line in processes_of(place) if "serve web" in line}
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)

        assert until(lambda: answers(stack), seconds=SECONDS)
        assert until(lambda: silent_parts(place) == set())


def answers(stack: Up) -> bool:
    try:
        return stack.healthy()
    except OSError:
        return False


def test_a_home_may_be_named_from_the_folder_one_is_in(place: Path) -> None:
    argv = [*PROGRAM, "up", "--home", place.name, "--regions", "1"]
    process = subprocess.Popen(
        argv, cwd=place.parent, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert any("Strongroom runs" in line for line in process.stdout)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)


@pytest.mark.parametrize(
    ("number", "begun"),
    [
        pytest.param(signal.SIGINT, "log", marks=pytest.mark.long),  # nothing runs yet
        (signal.SIGTERM, "postgres"),  # the database is being made
        (signal.SIGINT, homes.STACK),  # our own processes are being started
    ],
)
def test_an_up_that_is_ended_while_it_starts_leaves_no_process(
    place: Path, number: signal.Signals, begun: str
) -> None:
    argv = [*PROGRAM, "up", "--home", str(place), "--regions", "1"]
    process = subprocess.Popen(
        argv, cwd="/", env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert until((place / begun).exists, seconds=SECONDS)
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS)

    assert until(lambda: processes_of(place) == [])
    assert "Traceback" not in said
    with pytest.raises(homes.HomeError):
        homes.find_stack(place)


def test_a_taken_port_of_a_region_or_of_the_page_is_said_and_nothing_starts(place: Path) -> None:
    home = homes.prepare(place)
    region = embedded.make_seaweed(home, "region-a").ports.volume
    with socket.create_server(("127.0.0.1", region)):
        assert refused("--home", str(place), "--regions", "1") == (1, "port-taken")
        assert refused("--home", str(place), "--port", str(region)) == (1, "port-taken")
    assert processes_of(place) == []
    assert not (place / "postgres").exists()


def test_without_restic_nothing_starts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.settings.restic_program", lambda: "no-such-restic")

    said = run("up", "--home", place, "--json")

    assert (said.code, said.error["code"]) == (1, "no-restic")
    assert "make setup" in said.error["message"]
    assert not place.exists()


def test_a_home_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    assert refused("--home", str(tmp_path / "file")) == (2, "home-not-a-folder")
    assert refused("--home", str(tmp_path / "file" / "below"))[1] == "home-not-a-folder"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_home_that_is_closed_to_us_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)

    with stack_cast.acting_as_nobody():
        said = run("up", "--home", tmp_path / "home", "--json")
        asked = run("tenant", "list", "--home", tmp_path / "home", "--json")

    assert (said.code, said.error["code"]) == (1, "home-unreadable")
    assert (asked.code, asked.error["code"]) == (1, "home-unreadable")
    assert list((tmp_path / "home").iterdir()) == []
