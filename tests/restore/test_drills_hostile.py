"""A dump that is meant to do harm is rehearsed like any other: without rights, and without traces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.cast import SourceDatabase
from tests.restore.asking import stored
from tests.restore.drilling import drill, failed

FUNCTION = """
CREATE TABLE u (a text);
CREATE FUNCTION take(a int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN
  IF current_user LIKE 'owner%' THEN {what}; END IF; RETURN true; END$$;
CREATE TABLE t (a int CHECK (take(a)));
INSERT INTO t (a) VALUES (1)
"""
SHORT = ("a program", "a way up", "an extension")  # the others are kept off in the same way
# Each acts when the dump is loaded, and not where it comes from; and what the drill says of it.
HOSTILE = {
    "a program": (
        FUNCTION.format(what="COPY public.u FROM PROGRAM 'touch MARK'"),
        "permission denied",
    ),
    "a file": (FUNCTION.format(what="PERFORM pg_read_file('/etc/passwd')"), "permission denied"),
    "a way up": (FUNCTION.format(what="EXECUTE 'CREATE ROLE x SUPERUSER'"), "permission denied"),
    "an event trigger": (
        """CREATE TABLE t (a int); CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql
           AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()""",
        "permission denied to create event trigger",
    ),
    "an extension": (
        "CREATE TABLE t (a int); CREATE EXTENSION dblink",
        "permission denied to create extension",
    ),
}


@pytest.mark.parametrize(
    "trap",
    [pytest.param(each, marks=[] if each in SHORT else pytest.mark.long) for each in HOSTILE],
)
def test_it_fails_for_want_of_rights_and_does_nothing(
    runtime: Runtime,
    acme: Tenant,
    tmp_path: Path,
    new_database: Callable[..., SourceDatabase],
    superuser: psycopg.Connection[Any],
    trap: str,
) -> None:
    script, said = HOSTILE[trap]
    database, mark = new_database("SELECT 1"), tmp_path / "mark"
    _run_with_rights(superuser, database, script.replace("MARK", str(mark)))
    cast.add_database(runtime, acme, database)

    row = drill(runtime, acme, stored(runtime, acme))

    failed(row)
    assert said in row.report["sources"][0]["said"]  # type: ignore[index]
    assert not mark.exists()


def _run_with_rights(server: psycopg.Connection[Any], of: SourceDatabase, script: str) -> None:
    """What only a superuser can put there; everything is the tenant's own afterwards."""
    info = server.info
    with psycopg.connect(
        host=info.host,
        port=info.port,
        user=info.user,
        password=info.password,
        dbname=of.name,
        autocommit=True,
    ) as line:
        line.execute(script.encode())
        line.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {of.user}".encode())
