"""The command line's contract: help, one JSON document, exit codes, no traceback, no change."""

from __future__ import annotations

import getpass
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import update

from backup import runs
from restore.models import Restore
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tests import cast
from tests.backup.vaults import set_policy
from tests.platform.stack_cast import until
from tests.web.command_line import Desk, run, sit_down
from web import contract, following
from web.cli import COMMANDS as COMMAND_LINES
from web.cli import WHERE, main

COMMANDS = [tuple(words.split()) for words, _command in contract.commands()]
PROMISED = """
up, demo, doctor, status, plan list, plan apply, plan show, region list, region add,
region check, tenant list, tenant add, tenant show, tenant plan, source list, source add,
source test, source remove, backup, points, verify, drill, browse, find, diff, restore, undo,
restores list, key rotate, key status, restores cancel, retention preview, hold place,
hold release, hold list, kit export, schedule
"""


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outside of the home."""
    made = tmp_path_factory.mktemp("srv") / "files"
    cast.fill(made)
    return made


def test_every_command_that_was_promised_is_there() -> None:
    words = {" ".join(name) for name in COMMANDS}

    assert {word.strip() for word in PROMISED.split(",")} - words == set()


def test_the_list_of_commands_is_of_their_own_words() -> None:
    """It is shown without loading them."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert COMMAND_LINES[WHERE[name]][name] == command.get_short_help_str(limit=1000)


def test_help_is_there_without_loading_the_platform() -> None:
    """Nothing that every call would pay for: help takes a tenth of a second, not a whole one."""
    look = "import sys; from web.cli import main; main(['--help'])"
    watched = (
        f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {look}"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched], capture_output=True, text=True, check=True
    )

    assert "Usage:" in done.stdout
    assert not {"sqlalchemy", "celery", "botocore", "structlog", "psycopg"} & set(
        done.stderr.split()
    )


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_a_home_and_json(name: tuple[str, ...]) -> None:
    said = run(*name, "--help")

    assert (said.code, said.err) == (0, "")
    assert all(word in said.out for word in ("Example: strongroom", "--home", "--json"))


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_refuses_an_unknown_option_in_json_too(name: tuple[str, ...]) -> None:
    said = run(*name, "--no-such-option", "--json")

    assert (said.code, said.error["code"]) == (2, "usage")
    assert run(*name, "--no-such-option").out == ""


def test_a_word_that_is_no_command_is_an_error_of_usage() -> None:
    assert run("frobnicate", "--json").error["code"] == "usage"


def test_without_a_home_a_command_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    said = run("tenant", "list", "--json")

    assert (said.code, said.error["code"]) == (2, "no-platform")
    assert "--home" in said.error["message"]


def test_the_home_may_come_from_the_environment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_HOME", str(desk.home))

    assert run("plan", "list", "--json").code == 0


def test_a_home_without_a_stack_is_named(tmp_path: Path) -> None:
    assert run("points", "acme", "--home", tmp_path, "--json").error["code"] == "not-running"
    assert (
        run("points", "acme", "--home", tmp_path / "no", "--json").error["code"] == "home-missing"
    )


def test_a_database_that_is_away_is_said_in_one_sentence(desk: Desk) -> None:
    file = desk.home / "stack.json"
    port = file.read_text().split("@127.0.0.1:")[1].split("/")[0]
    file.write_text(file.read_text().replace(f":{port}/", ":9/"))

    said = desk("tenant", "list", "--json")

    assert (said.code, said.error["code"]) == (1, "database-away")
    assert "Traceback" not in said.err


def test_a_mistake_of_ours_is_told_without_a_traceback(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.plans.newest", lambda _session: 1 / 0)

    said = desk("plan", "list", "--json")

    assert (said.code, said.error["code"]) == (1, "unexpected")
    assert "Traceback" not in said.err
    monkeypatch.setenv("STRONGROOM_TRACE", "1")
    assert "ZeroDivisionError" in desk("plan", "list").err


def test_people_get_tables_on_stdout_and_messages_on_stderr(desk: Desk, folder: Path) -> None:
    cast.add_folder(desk.runtime, cast.add_tenant(desk.runtime, cast.ACME), folder)

    said = desk("source", "list", "acme")
    error = desk("source", "list", "acmee")

    assert (said.code, said.err) == (0, "")
    assert str(folder) in said.out
    assert (error.code, error.out) == (2, "")
    assert error.err.startswith("strongroom: There is no tenant 'acmee'.")


def test_the_whole_job_by_commands(desk: Desk, folder: Path, tmp_path: Path) -> None:
    words = [
        "--plan",
        "starter",
        "--timezone",
        "Asia/Dubai",
        "--country",
        "AE",
        "--locale",
        "ar-AE",
    ]
    assert desk.json("tenant", "add", "acme", "--name", "Acme", *words)["slug"] == "acme"
    desk.json("source", "add", "acme", "directory", "files", "--path", folder, "--exclude", "*.tmp")
    assert desk.json("source", "test", "acme", "files")["ok"] is True
    with desk.working():
        said = desk("backup", "acme", "--wait", "--json")
        assert (said.code, said.document["whole"], said.document["outcome"]) == (
            0,
            True,
            "complete",
        )
        (folder / "letters" / "0.txt").write_text("changed")
        assert desk("backup", "acme", "--wait").code == 0
        [changed] = desk.json("diff", "acme", "1", "2")
        assert (changed["path"], changed["change"]) == ("/letters/0.txt", "changed")
        restored = desk(
            "restore", "acme", "--point", "1", "--source", "files", "--to", "in-place", "--json"
        )
        assert restored.code == 0, restored
        assert "safety point" in restored.err
        assert (folder / "letters" / "0.txt").read_text().startswith("ledger 0")
        assert desk("undo", restored.document["restore"]).code == 0
        assert (folder / "letters" / "0.txt").read_text() == "changed"
        [proof] = desk.json("verify", "acme", "--point", "2", "--region", "region-b")
        assert proof["state"] == "passed"
    assert [p["number"] for p in desk.json("points", "acme")] == [4, 3, 2, 1]
    assert "/letters" in {e["path"] for e in desk.json("browse", "acme", "1")}
    assert {e["path"] for e in desk.json("find", "acme", "*/0.txt")} == {"/letters/0.txt"}
    assert [r["state"] for r in desk.json("restores", "list", "acme")] == ["done", "done"]
    assert not any(p["goes"] for p in desk.json("retention", "preview", "acme"))
    assert "There is no sign of the dispatcher." in desk("status").err
    cast.alive(desk.runtime)
    assert desk("status").code == 0


def test_latest_names_the_newer_points_that_it_passes_over(desk: Desk, folder: Path) -> None:
    acme = cast.add_tenant(desk.runtime, cast.ACME)
    cast.add_folder(desk.runtime, acme, folder)
    cast.back_up(desk.runtime, acme)
    (folder / "new.txt").write_text("not read back yet")
    runs.make(desk.runtime, acme.id, cast.queue(desk.runtime, acme))

    words = ["--point", "latest", "--source", "files", "--to", "aside", "--dry-run"]
    with desk.working():
        said = desk("restore", "acme", *words)

    assert said.code == 0, said
    assert "The newest verified point is 1. Newer, but not verified or not complete: 2." in said.err


def test_a_restore_that_fails_is_an_error_with_its_own_code(desk: Desk, folder: Path) -> None:
    acme = cast.add_tenant(desk.runtime, cast.ACME)
    cast.add_folder(desk.runtime, acme, folder)
    cast.back_up(desk.runtime, acme)
    words = ["restore", "acme", "--point", "1", "--source", "files"]

    with desk.working():
        nothing = desk(*words, "--path", "/nothing", "--to", "aside", "--json")
        full = desk(*words, "--to", folder, "--json")

    assert (nothing.code, nothing.error["code"]) == (2, "path-not-in-point")
    assert (full.code, full.error["code"]) == (4, "target-not-empty")
    assert full.error["params"]["state"] == "failed"


def test_waiting_ends_after_its_time_and_the_work_goes_on(desk: Desk, folder: Path) -> None:
    cast.add_folder(desk.runtime, cast.add_tenant(desk.runtime, cast.ACME), folder)

    said = desk("backup", "acme", "--wait", "--timeout", "0.1", "--json")

    assert (said.code, said.error["code"]) == (3, "still-going")
    assert desk.counts()["backup_runs"] == 1


def test_ctrl_c_while_waiting_ends_the_waiting_only(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.add_folder(desk.runtime, cast.add_tenant(desk.runtime, cast.ACME), folder)
    waiting = following._wait

    def pressed(look: Callable[[], object], **more: Any) -> object:
        def looks() -> object:
            signal.raise_signal(signal.SIGINT)
            return look()

        return waiting(looks, **more)

    with monkeypatch.context() as keyboard:
        keyboard.setattr(following, "_wait", pressed)
        said = desk("backup", "acme", "--wait", "--json")

    assert (said.code, said.error["code"]) == (130, "stopped")
    assert "the backup goes on" in said.error["message"]
    with desk.working():
        assert desk("backup", "acme", "--wait").code == 0
        assert until(lambda: desk.counts()["points"] == 2)  # the first one's may come after


def test_a_broker_that_is_away_delays_and_loses_nothing(desk: Desk, folder: Path) -> None:
    cast.add_folder(desk.runtime, cast.add_tenant(desk.runtime, cast.ACME), folder)
    file = desk.home / "stack.json"
    broker = desk.runtime.settings.broker
    file.write_text(file.read_text().replace(broker, "redis://:x@127.0.0.1:9/0"))

    with desk.working():
        assert desk("backup", "acme", "--wait").code == 0


def test_the_schedule_shows_the_next_times_where_the_tenant_is(desk: Desk) -> None:
    cast.add_tenant(desk.runtime, cast.BOLT)

    found = desk.json("schedule", "bolt", "show")

    assert {each["cadence"] for each in found["next"]} == {"daily", "weekly"}
    assert all(each["local"].endswith(("EET", "EEST")) for each in found["next"])
    assert found["last"] == []


def test_a_hold_stands_until_it_is_released(desk: Desk) -> None:
    cast.add_tenant(desk.runtime, cast.ACME)
    placed = desk.json("hold", "place", "acme", "--reason", "dispute", "--until", "2099-01-31")

    [standing] = desk.json("hold", "list")
    assert (standing["hold"], standing["until"]) == (placed["hold"], "2099-01-31 19:59:59")
    desk.json("hold", "release", placed["hold"])
    assert desk.json("hold", "list") == []
    assert desk.refused("hold", "release", placed["hold"]) == (2, "not-found")


def test_doctor_and_regions_tell_what_is_up(desk: Desk) -> None:
    assert all(each["ok"] for each in desk.json("doctor"))
    assert [each["name"] for each in desk.json("region", "check")] == ["region-a", "region-b"]


def test_a_restore_that_waits_is_cancelled(desk: Desk, folder: Path) -> None:
    acme = cast.add_tenant(desk.runtime, cast.ACME)
    cast.add_folder(desk.runtime, acme, folder)
    cast.back_up(desk.runtime, acme)
    words = ["--point", "1", "--source", "files", "--to", "aside", "--timeout", "0"]
    assert desk("restore", "acme", *words).code == 3

    [row] = desk.json("restores", "list")
    assert desk.json("restores", "cancel", row["restore"])["state"] == "cancelled"
    assert desk.refused("restores", "cancel", row["restore"]) == (4, "ended")
    assert desk.refused("undo", row["restore"]) == (4, "not-undoable")


def test_a_large_restore_in_place_is_allowed_by_somebody_else(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = cast.add_tenant(desk.runtime, cast.ACME)
    cast.add_folder(desk.runtime, acme, folder)
    cast.back_up(desk.runtime, acme)
    set_policy(desk.runtime, acme, last=5, approve_restore_bytes=1)
    words = ["--point", "1", "--source", "files", "--to", "in-place", "--reason", "month end"]
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    assert desk("restore", "acme", *words).code == 3

    [row] = desk.json("restores", "list")
    assert (row["state"], row["reason"]) == ("asked", "month end")
    assert desk.refused("restores", "approve", row["restore"]) == (4, "own-restore")
    monkeypatch.setattr(getpass, "getuser", lambda: "ben")
    for asker, code in ((f"person:{new_id()}", "asker-may-not"), ("operator:ada", None)):
        with desk.runtime.database.session(Role.WORKER, tenant=acme.id) as session:
            session.execute(update(Restore).values(asked_by=asker))
        if code is not None:
            assert desk.refused("restores", "approve", row["restore"]) == (4, code)
    allowed = desk.json("restores", "approve", row["restore"])

    assert (allowed["state"], allowed["decided_by"]) == ("waiting", "operator:ben")
    assert desk.refused("restores", "decline", row["restore"]) == (4, "not-asked")
