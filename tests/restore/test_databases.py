"""Restored databases, schemas and tables in a live server: wholly old or wholly new."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest

from backup.sources import manifest
from backup.sources.connection import Login
from backup.sources.manifest import Manifest
from restore import databases, preview, scratch, tables
from restore.errors import NotAsItWas, NotSwapped, Unsafe, Violated
from strongroom.errors import NotFound
from tests.backup.source_database import BUSINESS, PASSWORD, Server
from tests.restore.test_scratch import Stage, stage

__all__ = ["stage"]
AT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
STAMP = "20260105_083000"


@pytest.fixture
def server(stage: Stage) -> Server:
    return stage.server


def login(server: Server, name: str, *, user: str = "ada") -> Login:
    return server.source(name, user=user).login(server.access)


def landed(stage: Stage, name: str, *, schema: str | None = None) -> databases.Landed:
    """The database as it is now, dumped, proven and loaded beside itself."""
    path, expected = stage.dump(name, schema=schema)
    with scratch.cluster(stage.place, scratch.Budget(), expected) as made:
        with path.open("rb") as archive:
            scratch.load(made, archive.fileno())
        scratch.prove(made, expected)
        return databases.load(made, login(stage.server, name), expected, at=AT)


def state(server: Server, name: str, *, schema: str | None = None) -> Manifest:
    return databases.look(login(server, name), schema=schema)


def test_aside_is_a_new_database_and_the_live_one_is_not_touched(stage: Stage) -> None:
    name = stage.server.business()
    before = state(stage.server, name)
    beside = landed(stage, name)
    stage.server.run(name, "DELETE FROM invoices")
    new = databases.aside(login(stage.server, name), beside, at=AT)
    assert new == f"{name}_restored_{STAMP}"
    assert manifest.compare(before, state(stage.server, new)) == []
    assert stage.server.rows(name, "SELECT count(*) FROM invoices") == [(0,)]


def test_in_place_swaps_and_keeps_the_old_one_aside(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    before = state(server, name)
    beside = landed(stage, name)
    server.run(name, "DELETE FROM invoices; DROP VIEW totals")
    damaged = state(server, name)
    with server.connect(name) as busy:  # a session of the tenant's program
        swapped = databases.in_place(login(server, name), beside, at=AT)
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")
    assert swapped == databases.Swapped(name, f"{name}_before_{STAMP}")
    assert manifest.compare(before, state(server, name)) == []
    assert manifest.compare(damaged, state(server, f"{name}_before_{STAMP}")) == []


def test_programs_that_reconnect_at_once_do_not_hinder_the_swap(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    beside = landed(stage, name)
    over = threading.Event()

    def insist() -> None:
        while not over.is_set():
            with suppress(psycopg.Error), server.connect(name) as line:
                line.execute("SELECT pg_sleep(0.2)")

    pool = [threading.Thread(target=insist) for _ in range(4)]
    for each in pool:
        each.start()
    try:
        assert databases.in_place(login(server, name), beside, at=AT).before is not None
    finally:
        over.set()
        for each in pool:
            each.join()


def test_who_may_do_what_stays_as_it_is(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    beside = landed(stage, name)
    server.run(
        name,
        f"CREATE ROLE {name}_app; GRANT SELECT, INSERT ON customers TO {name}_app;"
        f"ALTER TABLE invoices OWNER TO {name}_app; GRANT CONNECT ON DATABASE {name} TO {name}_app;"
        f"ALTER DATABASE {name} SET work_mem TO '7MB'; ALTER DATABASE {name} CONNECTION LIMIT 9;"
        f"COMMENT ON DATABASE {name} IS 'ours'; REVOKE EXECUTE ON FUNCTION note() FROM PUBLIC",
    )
    databases.in_place(login(server, name), beside, at=AT)
    question = (
        f"SELECT has_table_privilege('{name}_app', 'customers', 'INSERT'), (SELECT tableowner"
        " FROM pg_tables WHERE tablename = 'invoices'), current_setting('work_mem'),"
        " datconnlimit, shobj_description(oid, 'pg_database'),"
        f" has_function_privilege('{name}_app', 'note()', 'EXECUTE')"
        " FROM pg_database WHERE datname = current_database()"
    )
    assert server.rows(name, question) == [(True, f"{name}_app", "7MB", 9, "ours", False)]


def test_a_database_that_is_gone_comes_back(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    before = state(server, name)
    path, expected = stage.dump(name)
    server.run("postgres", f"DROP DATABASE {name}")
    with scratch.cluster(stage.place, scratch.Budget(), expected) as made:
        with path.open("rb") as archive:
            scratch.load(made, archive.fileno())
        beside = databases.load(made, login(server, name), expected, at=AT)
    assert databases.in_place(login(server, name), beside, at=AT).before is None
    assert manifest.compare(before, state(server, name)) == []


SCHEMA = """
CREATE SCHEMA acme; COMMENT ON SCHEMA acme IS 'of Acme';
CREATE TYPE acme.mood AS ENUM ('calm', 'cross');
CREATE TABLE acme.a (id serial PRIMARY KEY, m acme.mood DEFAULT 'calm');
CREATE TABLE acme.b (a integer REFERENCES acme.a); CREATE VIEW acme.v AS SELECT * FROM acme.a;
INSERT INTO acme.a (id) VALUES (1), (2); INSERT INTO acme.b VALUES (1);
CREATE TABLE other AS SELECT 1 AS a;
"""


def test_a_schema_is_restored_aside_and_in_place(stage: Stage) -> None:
    server, name = stage.server, stage.server.business(script=SCHEMA)
    before = state(server, name, schema="acme")
    live = login(server, name)
    new = databases.aside(live, landed(stage, name, schema="acme"), at=AT)
    assert new == f"acme_restored_{STAMP}"
    found = state(server, name, schema=new)
    assert manifest.compare(manifest.under(before, new), found) == []
    beside = landed(stage, name, schema="acme")
    server.run(name, "DROP TABLE acme.b; UPDATE other SET a = 2")
    assert databases.in_place(live, beside, at=AT).before == f"acme_before_{STAMP}"
    assert manifest.compare(before, state(server, name, schema="acme")) == []
    assert server.rows(name, "SELECT obj_description('acme'::regnamespace), a FROM other") == [
        ("of Acme", 2)
    ]


def test_a_user_who_may_not_restore_is_told_the_remedy(server: Server) -> None:
    name = server.business()
    server.run(name, f"CREATE ROLE {name}_ben LOGIN PASSWORD '{PASSWORD}'")
    ben = login(server, name, user=f"{name}_ben")
    with pytest.raises(Unsafe, match=f'ALTER ROLE "{name}_ben" CREATEDB'):
        databases.check(ben, schema=None, in_place=False)
    server.run(name, f"ALTER ROLE {name}_ben CREATEDB")
    databases.check(ben, schema=None, in_place=False)
    with pytest.raises(Unsafe, match="OWNER TO"):
        databases.check(ben, schema=None, in_place=True)
    with pytest.raises(Unsafe, match="GRANT CREATE ON DATABASE"):
        databases.check(ben, schema="public", in_place=False)


def test_a_user_without_superuser_restores_its_own_database(stage: Stage) -> None:
    server, name = stage.server, stage.server.business(script="SELECT 1")
    owner = f"{name}_owner"
    server.run(
        name,
        f"CREATE ROLE {owner} LOGIN CREATEDB PASSWORD '{PASSWORD}';"
        f"ALTER DATABASE {name} OWNER TO {owner}; SET SESSION AUTHORIZATION {owner};" + BUSINESS,
    )
    path, expected = stage.dump(name)
    live = login(server, name, user=owner)
    databases.check(live, schema=None, in_place=True)
    with scratch.cluster(stage.place, scratch.Budget(), expected) as made:
        with path.open("rb") as archive:
            scratch.load(made, archive.fileno())
        beside = databases.load(made, live, expected, at=AT)
    server.run(name, "DELETE FROM invoices")
    databases.in_place(live, beside, at=AT)
    assert manifest.compare(expected, state(server, name)) == []


def test_what_differs_or_does_not_load_leaves_nothing_behind(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    path, expected = stage.dump(name)
    with scratch.cluster(stage.place, scratch.Budget(), expected) as made:
        with path.open("rb") as archive:
            scratch.load(made, archive.fileno())
        with scratch.connection.connect(made.login) as line:
            line.execute("DELETE FROM invoices WHERE id = 1")
        present = server.databases()
        with pytest.raises(NotAsItWas):
            databases.load(made, login(server, name), expected, at=AT)
    assert server.databases() == present


def test_what_the_server_refuses_is_said_and_changes_nothing(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    beside = landed(stage, name)
    server.run("postgres", f"CREATE DATABASE {name}_before_{STAMP}")
    before = state(server, name)
    with pytest.raises(NotSwapped, match="already exists"):
        databases.in_place(login(server, name), beside, at=AT)
    assert manifest.compare(before, state(server, name)) == []
    databases.discard(login(server, name), beside)
    assert beside.name not in server.databases()
    databases.discard(login(server, name), databases.Landed(name, None, before))
    assert name in server.databases()


def test_the_preview_counts_rows_now_and_then(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    point = state(server, name)
    server.run(name, "DELETE FROM invoices WHERE id < 11; DROP TABLE audit; CREATE TABLE n ()")
    changes = preview.of_tables(state(server, name), point)
    said = [(each.name, each.now, each.then, str(each.change)) for each in changes]
    assert said == [
        ("audit", None, 0, "appears"),
        ("invoices", 190, 200, "changes"),
        ("n", 0, None, "disappears"),
        ("customers", 20, 20, "stays"),
    ]


def replaced(stage: Stage, name: str, damage: str, chosen: list[str]) -> tables.Replaced:
    path, expected = stage.dump(name)
    stage.server.run(name, damage)
    with scratch.cluster(stage.place, scratch.Budget(), expected) as made:
        with path.open("rb") as archive:
            scratch.load(made, archive.fileno())
        wanted = [("public", each) for each in chosen]
        return tables.replace_in(made, login(stage.server, name), wanted)


def test_chosen_tables_are_replaced_and_no_trigger_fires(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    before = state(server, name)
    damage = "ALTER TABLE invoices DISABLE TRIGGER noted; DELETE FROM invoices WHERE id > 5"
    found = replaced(stage, name, damage, ["invoices"])
    assert [(each.name, each.rows) for each in found.tables] == [("invoices", 200)]
    assert found.keys == ("public.invoices.invoices_customer_fkey",)
    assert manifest.compare(before, state(server, name)) == []
    assert server.rows(name, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'noted'") == [("D",)]


def test_a_broken_reference_rolls_everything_back_and_is_named(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    damage = (
        "INSERT INTO customers (name) VALUES ('late');"
        "INSERT INTO invoices (customer, amount) VALUES (21, 1); DELETE FROM audit"
    )
    with pytest.raises(Violated, match="'invoices_customer_fkey' on 'invoices'"):
        replaced(stage, name, damage, ["customers"])
    assert server.rows(name, "SELECT count(*) FROM customers") == [(21,)]
    server.run(name, "INSERT INTO customers (name) VALUES ('next')")
    assert server.rows(name, "SELECT max(id) FROM customers") == [(22,)]


def test_a_dropped_table_is_made_again(stage: Stage) -> None:
    server, name = stage.server, stage.server.business()
    before = state(server, name)
    with pytest.raises(NotFound, match=r"no table public\.nothing"):
        replaced(stage, name, "SELECT 1", ["nothing"])
    found = replaced(stage, name, "DROP TABLE invoices CASCADE", ["invoices"])
    assert found.made == (("public", "invoices"),)
    left = manifest.compare(before, state(server, name))
    assert [str(each.thing) for each in left] == ["view public.totals"]


def test_a_table_with_other_columns_is_refused(stage: Stage) -> None:
    name = stage.server.business()
    with pytest.raises(Unsafe, match="columns of public.audit have changed"):
        replaced(stage, name, "ALTER TABLE audit ADD more text", ["audit"])


def test_only_chosen_tables_come_aside(stage: Stage) -> None:
    name = stage.server.business()
    path, expected = stage.dump(name)
    with scratch.cluster(stage.place, scratch.Budget(), expected) as made:
        with path.open("rb") as archive:
            scratch.load(made, archive.fileno())
        scratch.keep_only(made, [("public", "invoices")])
        left = made.manifest()
        beside = databases.load(made, login(stage.server, name), left, at=AT)
    assert [each.title for each in beside.found.tables] == ["public.invoices"]


CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from backup.sources.connection import Access, Login
from backup.sources.manifest import from_json
from restore import databases, scratch, tables

words = sys.argv[1:]
dump, port, name, moment, expected = words[0], int(words[1]), words[2], words[3], words[4]
password = sys.stdin.readline().rstrip("\\n").encode()
live = Login("localhost", port, "ada", name, (), Access(password, "127.0.0.1"))
place = scratch.Place(Path(words[5]), Path(words[6]))
at = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
wanted = from_json(expected)

def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

def dying(module: object, function: str, *, after: bool) -> None:
    real = getattr(module, function)
    def run(*words, **options):
        found = real(*words, **options) if after else None
        die()
        return found
    setattr(module, function, run)

module, function, when = moment.split(":")
dying({"databases": databases, "tables": tables}[module], function, after=when == "after")
with scratch.cluster(place, scratch.Budget(), wanted) as made, open(dump, "rb") as archive:
    scratch.load(made, archive.fileno())
    if module == "tables":
        tables.replace_in(made, live, [("public", "invoices"), ("public", "customers")])
    else:
        databases.in_place(live, databases.load(made, live, wanted, at=at), at=at)
"""
MOMENTS = [
    *("databases:_pour:before", "databases:_pour:after", "databases:_take_over:before"),
    *("databases:_take_over:after", "databases:_swap_databases:after"),
    *("tables:_copy:after", "tables:_set_sequences:after", "tables:_proven:after"),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_is_wholly_old_or_wholly_new(stage: Stage, moment: str) -> None:
    server, name = stage.server, stage.server.business()
    path, expected = stage.dump(name)
    server.run(name, "DELETE FROM invoices WHERE id > 9; UPDATE customers SET feels = 'cross'")
    damaged = state(server, name)
    words = [str(path), str(server.port), name, moment, expected.to_json()]
    places = [str(stage.place.folder), str(stage.place.template)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words, *places],
        input=PASSWORD.encode() + b"\n",
        env={"PYTHONPATH": os.pathsep.join(["", *sys.path]), "PATH": os.defpath},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    wanted = expected if moment.endswith("_swap_databases:after") else damaged
    assert manifest.compare(wanted, state(server, name)) == []
    scratch.sweep(stage.place)
    databases.sweep(login(server, name))
    assert not [each for each in server.databases() if each.startswith(f"{name}_loading")]
