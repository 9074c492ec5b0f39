"""kill -9 of a restore, wherever: wholly old or wholly new, finished by the next, nothing left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests import cast
from tests.cast import SourceDatabase
from tests.restore import killing
from tests.restore.asking import (
    ask,
    beside,
    carry_out,
    current,
    faces,
    report,
    safety_runs,
    stored,
)

Kill = Callable[[Restore, str], None]


@pytest.fixture
def kill(runtime: Runtime, stack: Embedded) -> Kill:
    """Carry a restore out in another process, which dies there; the dispatcher notices."""

    def carry_out_and_die(row: Restore, where: str) -> None:
        killing.kill(runtime, stack, row, driver="dying_restorer.py", where=where)

    return carry_out_and_die


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not in the home that `kill` works with."""
    return tmp_path_factory.mktemp("outside")


def finish(runtime: Runtime, row: Restore) -> Restore:
    ended = carry_out(runtime, row)
    assert ended.state is RestoreState.DONE, ended.failure
    return ended


def left_in(runtime: Runtime) -> list[str]:
    """What a restore might leave in the platform's own folders."""
    return [path.name for path in runtime.folder("clusters").glob("scratch-*")]


@pytest.mark.parametrize(
    ("where", "landed"),
    [
        pytest.param("in the safety point", False, marks=pytest.mark.long),
        pytest.param("after the safety point", False, marks=pytest.mark.long),
        pytest.param("after fetching", False, marks=pytest.mark.long),
        ("before the exchange", False),
        ("right after the exchange", True),
        pytest.param("after all but the report", True, marks=pytest.mark.long),
    ],
)
def test_a_folder_in_place_is_wholly_old_or_new_and_the_next_attempt_ends_it(
    runtime: Runtime, acme: Tenant, outside: Path, kill: Kill, where: str, landed: bool
) -> None:
    folder = outside / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    intact, point = faces(folder), stored(runtime, acme)
    (folder / "letters" / "0.txt").unlink()
    damaged = faces(folder)
    row = ask(runtime, point, source)

    kill(row, where)
    assert faces(folder) == (intact if landed else damaged)
    (folder / "since.txt").write_text("written after the crash")
    ended = finish(runtime, row)

    before = Path(report(ended)["before"])
    assert beside(folder) == {before.name}
    assert (folder if landed else before).joinpath("since.txt").exists()
    assert {n: f for n, f in faces(folder).items() if n != "since.txt"} == intact
    assert len(safety_runs(runtime, acme)) == 1


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("before the exchange", marks=pytest.mark.long),
        "right after the exchange",
        pytest.param("after all but the report", marks=pytest.mark.long),
    ],
)
def test_a_folder_aside_is_there_once(
    runtime: Runtime, acme: Tenant, outside: Path, kill: Kill, where: str
) -> None:
    folder = outside / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    row = ask(runtime, stored(runtime, acme), source, Destination.ASIDE)

    kill(row, where)
    ended = finish(runtime, row)

    assert beside(folder) == {Path(report(ended)["where"]).name}
    assert faces(Path(report(ended)["where"])) == faces(folder)


@pytest.mark.parametrize(
    "where",
    ["right after the exchange", pytest.param("after all but the report", marks=pytest.mark.long)],
)
def test_a_named_folder_is_filled_once(
    runtime: Runtime, acme: Tenant, outside: Path, kill: Kill, where: str
) -> None:
    source = cast.add_folder(runtime, acme, outside / "srv" / "office")
    target = outside / "target"
    target.mkdir()
    row = ask(runtime, stored(runtime, acme), source, target)

    kill(row, where)
    finish(runtime, row)

    assert faces(target) == faces(outside / "srv" / "office")
    assert beside(target) == {"srv"}


@pytest.fixture
def database(
    new_database: Callable[..., SourceDatabase], superuser: psycopg.Connection[Any]
) -> Any:
    made = new_database()
    role = sql.Identifier(made.user)
    superuser.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(role))
    yield made
    for name in family(superuser, made):
        words = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        superuser.execute(words.format(sql.Identifier(name)))


def family(server: psycopg.Connection[Any], database: SourceDatabase) -> list[str]:
    """Names of the databases beside it that were made from it."""
    query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
    return [name for (name,) in server.execute(query, (f"{database.name}_",))]


@pytest.mark.parametrize(
    ("where", "landed"),
    [
        pytest.param("while the throw-away cluster runs", False, marks=pytest.mark.long),
        pytest.param("while it is loaded beside", False, marks=pytest.mark.long),
        ("before the swap", False),
        ("right after the swap", True),
    ],
)
def test_a_database_in_place_is_wholly_old_or_new_and_the_next_attempt_ends_it(
    runtime: Runtime,
    acme: Tenant,
    database: SourceDatabase,
    superuser: psycopg.Connection[Any],
    kill: Kill,
    where: str,
    landed: bool,
) -> None:
    source = cast.add_database(runtime, acme, database)
    row = ask(runtime, stored(runtime, acme), source)
    database.run("DELETE FROM orders WHERE id % 2 = 0")

    kill(row, where)
    assert database.rows("SELECT count(*) FROM orders") == [(500 if landed else 250,)]
    database.run("INSERT INTO orders VALUES (1000, 1, 1)")
    ended = finish(runtime, row)

    assert database.rows("SELECT count(*) FROM orders") == [(501 if landed else 500,)]
    assert family(superuser, database) == [report(ended)["before"]]
    assert left_in(runtime) == []
    assert len(safety_runs(runtime, acme)) == 1


@pytest.mark.parametrize(
    "where",
    [pytest.param("while it is loaded beside", marks=pytest.mark.long), "right after it was named"],
)
def test_a_database_aside_is_there_once(
    runtime: Runtime,
    acme: Tenant,
    database: SourceDatabase,
    superuser: psycopg.Connection[Any],
    kill: Kill,
    where: str,
) -> None:
    source = cast.add_database(runtime, acme, database)
    row = ask(runtime, stored(runtime, acme), source, Destination.ASIDE)

    kill(row, where)
    ended = finish(runtime, row)

    assert family(superuser, database) == [report(ended)["where"]]
    assert left_in(runtime) == []


@pytest.mark.parametrize(
    "where", ["while the dump is written", "right after the dump has its name"]
)
def test_a_dump_in_a_folder_is_whole_and_there_once(
    runtime: Runtime,
    acme: Tenant,
    database: SourceDatabase,
    outside: Path,
    kill: Kill,
    where: str,
) -> None:
    source = cast.add_database(runtime, acme, database)
    target = outside / "target"
    row = ask(runtime, stored(runtime, acme), source, target)

    kill(row, where)
    ended = finish(runtime, row)

    file = Path(report(ended)["where"])
    assert list(target.iterdir()) == [file]
    assert file.read_bytes()[:5] == b"PGDMP"
    assert file.stat().st_size == report(ended)["bytes"]


def test_a_restore_that_takes_two_workers_down_is_quarantined_with_the_old_data(
    runtime: Runtime, acme: Tenant, outside: Path, kill: Kill
) -> None:
    folder = outside / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    row = ask(runtime, stored(runtime, acme), source)
    before = faces(folder)

    kill(row, "after fetching")
    kill(row, "after fetching")

    assert current(runtime, row).state is RestoreState.QUARANTINED
    assert faces(folder) == before
