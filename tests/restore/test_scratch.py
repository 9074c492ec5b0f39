"""The throw-away cluster: a dump is what its manifest says, and can reach nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup.sources import connection
from backup.sources.manifest import Manifest, What, from_json
from restore import scratch
from restore.errors import NotAsItWas, TooBig, WillNotLoad
from restore.scratch import Budget, Place, Scratch
from strongroom.program import Account
from strongroom.stack import processes
from tests.backup.source_database import BUSINESS, Server, serving, take_dump

BUDGET = Budget(seconds=60)


@dataclass(frozen=True)
class Stage:
    """A live server, and a place for scratch clusters."""

    server: Server
    place: Place

    def dump(self, name: str, *, schema: str | None = None) -> tuple[Path, Manifest]:
        path = self.place.folder.parent / f"{name}.dump"
        verdict = take_dump(self.server, self.server.source(name, schema=schema), path)
        assert verdict.manifest is not None, verdict
        return path, from_json(verdict.manifest.to_json())

    @contextmanager
    def loaded(
        self, script: str, *, schema: str | None = None, budget: Budget = BUDGET
    ) -> Iterator[tuple[Scratch, Manifest]]:
        path, expected = self.dump(self.server.business(script=script), schema=schema)
        with scratch.cluster(self.place, budget, expected) as made, path.open("rb") as archive:
            scratch.load(made, archive.fileno())
            yield made, expected


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-scratch-"))
    folder.chmod(0o711)
    try:
        with serving() as server:
            yield Stage(server, Place(folder / "scratch", folder / "template"))
    finally:
        for place in (folder / "scratch", folder / "template"):
            for left in place.glob("*"):
                if left.is_dir():
                    scratch.quarters.clear(left)
        shutil.rmtree(folder)


def test_a_dump_comes_back_as_its_manifest_says(stage: Stage) -> None:
    with stage.loaded(BUSINESS) as (made, expected):
        assert scratch.prove(made, expected).rows == 220
        assert made.notes == []
    assert list(stage.place.folder.glob("*")) == []


def test_what_differs_is_named(stage: Stage) -> None:
    with stage.loaded(BUSINESS) as (made, expected):
        with connection.connect(made.login) as line:
            line.execute("DELETE FROM invoices WHERE id = 3")
            line.execute("UPDATE customers SET name = 'other' WHERE id = 3")
            line.execute("ALTER TABLE audit ADD extra text")
        with pytest.raises(
            NotAsItWas, match=r"table public\.invoices: rows, expected 200, found 1"
        ):
            scratch.prove(made, expected)
        with pytest.raises(NotAsItWas) as caught:
            scratch.prove(made, expected)
    found = {(each.thing, each.what) for each in caught.value.differences}
    assert ("table public.customers", What.CONTENT) in found
    assert ("table public.audit", What.DEFINITION) in found


@pytest.mark.parametrize("schema", ["public", "acme"])
def test_a_schema_comes_back(stage: Stage, schema: str) -> None:
    script = "CREATE SCHEMA acme; CREATE SCHEMA more; CREATE EXTENSION citext SCHEMA more;" + (
        f"CREATE TABLE {schema}.t (a serial, b more.citext); INSERT INTO {schema}.t (b) VALUES ('x')"
    )
    with stage.loaded(script, schema=schema) as (made, expected):
        assert scratch.prove(made, expected).rows == 1


def test_row_policies_and_their_roles_come_back(stage: Stage) -> None:
    script = (
        "DO $$BEGIN IF to_regrole('clerk') IS NULL THEN CREATE ROLE clerk; END IF; END$$;"
        "CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY own ON t TO clerk USING (a = 2)"
    )
    with stage.loaded(script) as (made, expected):
        assert expected.roles == ("clerk",)
        assert scratch.prove(made, expected).rows == 1


def test_roles_of_any_name_come_back(stage: Stage) -> None:
    names = ("tenant", "keeper", "owner", "postgres", 'Ada\'s "own"')
    quoted = [sql.Identifier(name).as_string() for name in names]
    roles = ";".join(f"CREATE ROLE {role}" for role in quoted)
    own = ", ".join([*quoted, "pg_monitor", "pg_read_all_data"])
    script = f"{roles}; CREATE TABLE t AS SELECT 1 AS a; CREATE POLICY own ON t TO {own}"
    with stage.loaded(script) as (made, expected):
        assert {*names, "pg_monitor", "pg_read_all_data"} == set(expected.roles)
        assert scratch.prove(made, expected).rows == 1
        assert made.login.user not in names


def test_a_role_or_encoding_that_cannot_be_is_a_dump_that_does_not_load(stage: Stage) -> None:
    _, expected = stage.dump(stage.server.business(script="CREATE TABLE t ()"))
    for odd in (
        replace(expected, roles=("public",)),
        replace(expected, locale=replace(expected.locale, encoding="SJIS")),
    ):
        with (
            pytest.raises(WillNotLoad, match="PostgreSQL said") as caught,
            scratch.cluster(stage.place, BUDGET, odd),
        ):
            pass
        assert caught.value.params["said"]


HOSTILE = [
    "COPY (SELECT 1) TO '/tmp/strongroom-out'",
    "COPY t FROM '/etc/passwd'",
    "COPY t FROM PROGRAM 'id'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "CREATE ROLE other SUPERUSER",
    "ALTER ROLE {owner} SUPERUSER",
    "SET SESSION AUTHORIZATION {keeper}",
    "SET ROLE pg_execute_server_program",
    "SET temp_file_limit = -1",
    "ALTER SYSTEM SET fsync = on",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION file_fdw",
    "CREATE FUNCTION f() RETURNS void LANGUAGE c AS 'libc', 'system'",
    "LOAD 'dblink'",
    "CREATE DATABASE other",
]


def test_what_a_dump_holds_can_do_nothing_outside_its_database(stage: Stage) -> None:
    superuser = "SELECT rolname FROM pg_roles WHERE oid = 10"
    with stage.loaded("CREATE TABLE t (a text)") as (made, _):
        for statement in HOSTILE:
            with connection.connect(made.login, autocommit=True) as line:
                ((keeper,),) = line.execute(superuser)
                words = statement.format(owner=made.login.user, keeper=keeper)
                with pytest.raises(psycopg.Error) as caught:
                    line.execute(words.encode())
                assert caught.value.sqlstate in ("42501", "58P01"), (statement, caught.value)


def test_the_cluster_is_alone_in_its_network(stage: Stage) -> None:
    with stage.loaded("CREATE TABLE t (a text)") as (made, _):
        if scratch.NO_NETWORK in made.notes:
            pytest.skip("this system does not permit network namespaces")
        postmaster = (made.data / "postmaster.pid").read_text().split()[0]
        own = (processes.PROC / postmaster / "ns" / "net").readlink()
        assert own != Path("/proc/self/ns/net").readlink()
        listening = (processes.PROC / postmaster / "net" / "tcp").read_text()
        assert len(listening.splitlines()) == 1


def test_a_plain_user_can_cut_the_network_too() -> None:
    plain = Account(65534, 65534) if os.geteuid() == 0 else None
    assert scratch.wall(plain)[:1] in (("unshare",), ())


def test_a_dump_that_outgrows_its_budget_is_given_up(stage: Stage) -> None:
    # Small in the archive, large where it is loaded; COPY writes after each 64 KiB of its input.
    script = (
        "CREATE FUNCTION more(a int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN"
        " IF current_user NOT LIKE 'owner_%' THEN RETURN ''; END IF; PERFORM pg_sleep(0.05);"
        " RETURN repeat(md5(a::text), 100000); END$$;"
        "CREATE TABLE t (a int, pad text,"
        " b text STORAGE EXTERNAL GENERATED ALWAYS AS (more(a)) STORED);"
        "INSERT INTO t SELECT n, repeat('x', 7000) FROM generate_series(1, 1000) n"
    )
    path, expected = stage.dump(stage.server.business(script=script))
    budget = replace(BUDGET, disk_bytes=80 * scratch.MIB)
    with (
        scratch.cluster(stage.place, budget, expected) as made,
        path.open("rb") as archive,
        pytest.raises(TooBig, match="grew past 80 MiB"),
    ):
        scratch.load(made, archive.fileno())


def test_half_a_dump_does_not_load(stage: Stage) -> None:
    path, expected = stage.dump(stage.server.business())
    path.write_bytes(path.read_bytes()[:-4000])
    with (
        scratch.cluster(stage.place, BUDGET, expected) as made,
        path.open("rb") as archive,
        pytest.raises(WillNotLoad, match="nothing live was touched"),
    ):
        scratch.load(made, archive.fileno())


CHILD = """
import sys, time
from pathlib import Path
from backup.sources.manifest import from_json
from restore import scratch
place = scratch.Place(Path(sys.argv[1]), Path(sys.argv[2]))
with scratch.cluster(place, scratch.Budget(), from_json(sys.argv[3])) as made:
    print(made.data, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_leaves_is_swept_and_what_is_in_use_is_not(stage: Stage) -> None:
    _, expected = stage.dump(stage.server.business())
    words = [str(stage.place.folder), str(stage.place.template), expected.to_json()]
    with scratch.cluster(stage.place, BUDGET, expected) as kept:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(["", *sys.path]), "PATH": os.defpath},
        )
        assert child.stdout is not None
        data = Path(child.stdout.readline().decode().strip())
        child.kill()
        child.wait()
        child.stdout.close()
        assert len(scratch.sweep(stage.place)) == 1
        assert processes.working_in(data, program="postgres") == []
        assert not data.exists()
        connection.connect(kept.login).close()


def test_nothing_is_made_by_initdb_once_there_is_a_template(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = stage.dump(stage.server.business())
    with scratch.cluster(stage.place, BUDGET, expected):
        pass
    monkeypatch.setattr(scratch.Cluster, "create", lambda _: pytest.fail("made anew"))
    with scratch.cluster(stage.place, BUDGET, expected) as made:
        connection.connect(made.login).close()
