"""A dump and its manifest: of one moment, and good only when both are whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup.sources import connection, dump, fingerprint, manifest
from backup.sources.manifest import Manifest
from strongroom.errors import BadValue
from strongroom.stack import processes
from tests.backup.source_database import PASSWORD, Server, serving, take_dump

# Slow enough to be caught in the middle, on any machine: pg_dump waits for this lock.
HOLD = "LOCK TABLE audit IN ACCESS EXCLUSIVE MODE"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def take(server: Server, name: str, to: Path, **words: object) -> dump.Verdict:
    return take_dump(server, server.source(name, **words), to)


def manifest_now(server: Server, name: str, *, schema: str | None = None) -> Manifest:
    with connection.connect(server.source(name).login(server.access)) as line:
        fingerprint.fix(line, statement_seconds=60)
        return fingerprint.take(line, schema=schema)


def test_a_dump_comes_with_the_manifest_of_its_snapshot(server: Server, tmp_path: Path) -> None:
    name = server.business()
    verdict = take(server, name, tmp_path / "dump")
    assert verdict.good, verdict
    assert verdict.manifest is not None
    rows = {table.title: table.rows for table in verdict.manifest.tables}
    assert rows == {"public.customers": 20, "public.invoices": 200, "public.audit": 0}
    assert (tmp_path / "dump").read_bytes().startswith(b"PGDMP")


def test_what_is_written_during_the_dump_is_in_neither(server: Server, tmp_path: Path) -> None:
    name = server.business()
    reading, writing = os.pipe()
    verdicts: list[dump.Verdict] = []
    tools = dump.Tools(server.programs, timeout=200)
    work = threading.Thread(
        target=lambda: verdicts.append(
            dump.take(server.source(name), server.access, into=writing, tools=tools)
        )
    )
    work.start()
    first = os.read(reading, 5)  # pg_dump runs: its snapshot is fixed
    server.run(name, "INSERT INTO customers (name) VALUES ('late'); DELETE FROM invoices")
    with os.fdopen(reading, "rb") as stream:
        (tmp_path / "dump").write_bytes(first + stream.read())
    work.join()
    assert verdicts[0].manifest is not None
    assert [table.rows for table in verdicts[0].manifest.tables] == [0, 20, 200]
    command = [server.programs / "pg_restore", "--data-only", "-t", "invoices", "-f", "-"]
    with (tmp_path / "dump").open("rb") as archive:
        text = subprocess.run(command, stdin=archive, capture_output=True, check=True).stdout
    assert b"late" not in text
    assert text.count(b"2026-01-05") == 200


def test_a_schema_is_dumped_alone(server: Server, tmp_path: Path) -> None:
    script = 'CREATE SCHEMA "Acme.*"; CREATE TABLE "Acme.*".t AS SELECT 1 AS a; CREATE TABLE u ()'
    name = server.business(script=script)
    verdict = take(server, name, tmp_path / "dump", schema="Acme.*")
    assert verdict.manifest is not None
    assert [table.title for table in verdict.manifest.tables] == ["Acme.*.t"]


def held(server: Server, name: str) -> psycopg.Connection[tuple[object, ...]]:
    line = server.connect(name)
    line.autocommit = False
    line.execute(HOLD)
    return line


def dumping(server: Server, name: str) -> int:
    """The pid of pg_dump, once it waits in this database."""
    wanted = name.encode()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for entry in processes.PROC.glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes()
            except OSError:
                continue
            if b"/pg_dump\0" in words and wanted in words and not words.startswith(b"setpriv"):
                return int(entry.parent.name)
        time.sleep(0.01)
    raise AssertionError("pg_dump did not start")


def broken_off(server: Server, to: Path, break_it: object) -> dump.Verdict:
    name = server.business()
    verdicts: list[dump.Verdict] = []
    with held(server, name) as line:
        work = threading.Thread(target=lambda: verdicts.append(take(server, name, to)))
        work.start()
        pid = dumping(server, name)
        break_it(name, pid)  # type: ignore[operator]
        work.join(120)
        assert not work.is_alive()
        line.rollback()
    return verdicts[0]


def test_a_killed_pg_dump_is_no_dump(server: Server, tmp_path: Path) -> None:
    def kill(name: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    verdict = broken_off(server, tmp_path / "dump", kill)
    assert (verdict.good, verdict.reason, verdict.manifest) == (False, "pg-dump-killed", None)


def test_a_dropped_connection_is_no_dump(server: Server, tmp_path: Path) -> None:
    def drop(name: str, pid: int) -> None:
        server.rows(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            f"'{name}' AND application_name <> ''",
        )

    verdict = broken_off(server, tmp_path / "dump", drop)
    assert not verdict.good
    assert verdict.reason in ("source-unreachable", "pg-dump-failed", "manifest-failed")


def test_rows_hidden_by_a_policy_are_an_error(server: Server, tmp_path: Path) -> None:
    name = server.business(
        script="CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        f"CREATE ROLE ben LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data"
    )
    verdict = take(server, name, tmp_path / "dump", user="ben")
    assert (verdict.good, verdict.manifest) == (False, None)
    assert verdict.reason in ("pg-dump-failed", "manifest-failed")


def test_a_reader_that_goes_away_is_no_dump(server: Server) -> None:
    name = server.business()
    reading, writing = os.pipe()
    os.close(reading)
    tools = dump.Tools(server.programs, timeout=200)
    verdict = dump.take(server.source(name), server.access, into=writing, tools=tools)
    assert not verdict.good
    assert verdict.reason in ("pg-dump-killed", "pg-dump-failed")


def test_a_stop_from_outside_ends_it(server: Server, tmp_path: Path) -> None:
    name = server.business()
    stop = threading.Event()
    tools = dump.Tools(server.programs, timeout=200, stop=stop)
    into = os.open(tmp_path / "dump", os.O_WRONLY | os.O_CREAT)
    with held(server, name):
        stop.set()
        verdict = dump.take(server.source(name), server.access, into=into, tools=tools)
    assert (verdict.good, verdict.reason) == (False, "program-stopped")


def test_no_password_is_in_a_process_list_or_environment(server: Server, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look(name: str, pid: int) -> None:
        folder = processes.PROC / str(pid)
        seen.append((folder / "cmdline").read_bytes() + (folder / "environ").read_bytes())
        os.kill(pid, signal.SIGTERM)

    broken_off(server, tmp_path / "dump", look)
    assert PASSWORD.encode() not in seen[0]
    assert b"PGPASSFILE=/proc/self/fd/" in seen[0]


def test_content_counts_in_any_order_and_tells_a_changed_row(server: Server) -> None:
    name = server.business()
    before = manifest_now(server, name)
    server.run(name, "CREATE TABLE copy AS SELECT * FROM invoices ORDER BY id DESC")
    tables = {table.name: table for table in manifest_now(server, name).tables}
    assert tables["copy"].content == tables["invoices"].content
    server.run(name, "UPDATE invoices SET amount = amount + 0.001 WHERE id = 7")
    after = {table.name: table for table in manifest_now(server, name).tables}
    assert after["invoices"].content != tables["invoices"].content
    assert after["invoices"].rows == 200
    assert {table.name for table in before.tables} == {"customers", "invoices", "audit"}


@pytest.mark.parametrize(
    ("columns", "one", "other"),
    [
        ("a text, b text", "('ab', 'c')", "('a', 'bc')"),
        ("a text, b text", "('', 'c')", "(NULL, 'c')"),
        ("a text, b text", "('c', NULL)", "(NULL, 'c')"),
        ("a text, b text", "('a', NULL)", "('a', '')"),
        ("a numeric", "(1.0)", "(1.00)"),
        ("a int[]", "('{1,NULL}')", "('{1}')"),
        ("a json", """('{"a":1}')""", """('{"a": 1}')"""),
        ("a timestamptz", "('2026-01-01 00:00+00')", "('2026-01-01 00:00+01')"),
    ],
)
def test_rows_that_are_not_alike_have_another_sum(
    server: Server, columns: str, one: str, other: str
) -> None:
    name = server.business(script="SELECT 1")
    for table, values in (("one", one), ("same", one), ("other", other)):
        server.run(name, f"CREATE TABLE {table} ({columns}); INSERT INTO {table} VALUES {values}")
    content = {table.name: table.content for table in manifest_now(server, name).tables}
    assert content["one"] == content["same"] != content["other"]


def test_values_that_change_places_between_rows_are_told(server: Server) -> None:
    name = server.business(script="SELECT 1")
    server.run(name, "CREATE TABLE one AS VALUES (1, 'a'), (2, 'b')")
    server.run(name, "CREATE TABLE other AS VALUES (1, 'b'), (2, 'a')")
    first, second = manifest_now(server, name).tables
    assert first.content != second.content


def test_a_table_may_be_as_wide_as_postgresql_lets_it_or_have_no_column(server: Server) -> None:
    name = server.business(script="SELECT 1")
    wide = ", ".join(f"c{number} smallint" for number in range(1600))
    server.run(name, f"CREATE TABLE wide ({wide}); INSERT INTO wide (c0, c1599) VALUES (1, 2)")
    server.run(name, "CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES")
    before = {table.name: table for table in manifest_now(server, name).tables}
    server.run(name, "UPDATE wide SET c1599 = NULL, c1598 = 2")
    after = {table.name: table for table in manifest_now(server, name).tables}
    assert before["bare"].rows == before["wide"].rows == 1
    assert before["wide"].content != after["wide"].content


def test_a_cast_that_the_tenant_made_is_never_called(server: Server) -> None:
    name = server.business(script="SELECT 1")
    server.run(
        name,
        "CREATE TYPE mood AS ENUM ('good');"
        "CREATE FUNCTION loud(mood) RETURNS text LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'called'; END$$;"
        "CREATE CAST (mood AS text) WITH FUNCTION loud(mood) AS IMPLICIT;"
        "CREATE TABLE moods AS SELECT 'good'::mood AS mood",
    )
    assert [table.rows for table in manifest_now(server, name).tables] == [1]


@pytest.mark.parametrize(("form", "remedy"), [(1, "back up again"), (9, "update this one")])
def test_a_manifest_of_another_form_is_refused_with_what_to_do(
    server: Server, form: int, remedy: str
) -> None:
    taken = manifest_now(server, server.business()).to_json()
    other = json.dumps(json.loads(taken) | {"form": form})
    with pytest.raises(BadValue, match=remedy):
        manifest.from_json(other)
