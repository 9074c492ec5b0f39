"""Databases given back through real restic and PostgreSQL: whole or chosen tables, anywhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backup.models import Point, Source
from backup.sources import manifest
from backup.sources.manifest import Manifest
from restore import databases
from restore.going import Going
from restore.states import Destination
from strongroom.errors import BadValue, NotFound
from strongroom.runtime import Runtime
from strongroom.stack.quarters import bin_folder
from tenants import sourcing
from tenants.models import Tenant
from tenants.sourcing import NewSource
from tests import cast
from tests.cast import SourceDatabase
from tests.restore.asking import (
    ask,
    carry_out,
    current,
    failure,
    give_back,
    report,
    safety_runs,
    stored,
    take_back,
)

Line = psycopg.Connection[Any]


@dataclass(frozen=True)
class Shop:
    """A database of Acme, and a point of it."""

    runtime: Runtime
    tenant: Tenant
    source: Source
    database: SourceDatabase
    point: Point
    server: Line

    def state(self, name: str | None = None) -> Manifest:
        password = self.database.password.encode()
        login = databases.Login(
            "127.0.0.1",
            self.database.port,
            self.database.user,
            name or self.database.name,
            access=databases.connection.Access(password),
        )
        return databases.look(login)

    def names(self) -> set[str]:
        """Every database of this one's family on the server."""
        query = "SELECT datname FROM pg_database WHERE datname LIKE %s"
        rows = self.server.execute(query, (f"{self.database.name}%",))
        return {name for (name,) in rows if name.removeprefix(self.database.name)[:1] in ("", "_")}

    def damage(self) -> None:
        self.database.run("DELETE FROM orders WHERE id % 2 = 0; CREATE TABLE extra (id integer)")


@pytest.fixture
def shop(
    runtime: Runtime,
    acme: Tenant,
    new_database: Callable[..., SourceDatabase],
    superuser: Line,
) -> Any:
    database = new_database()
    superuser.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(database.user)))
    source = cast.add_database(runtime, acme, database)
    made = Shop(runtime, acme, source, database, stored(runtime, acme), superuser)
    yield made
    for name in made.names() - {database.name}:
        superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def same(one: Manifest, other: Manifest) -> bool:
    return manifest.compare(one, other) == []


def test_in_place_brings_back_every_row_and_undo_takes_it_back(shop: Shop) -> None:
    intact = shop.state()
    shop.damage()
    damaged = shop.state()

    row = give_back(shop.runtime, shop.point, shop.source)
    assert same(intact, shop.state())
    assert same(damaged, shop.state(report(row)["before"]))
    assert [run.id for run in safety_runs(shop.runtime, shop.tenant)] == [row.safety_run_id]

    shop.runtime.clock.forward(minutes=1)  # type: ignore[attr-defined]  # the tests' clock
    take_back(shop.runtime, row)
    assert same(damaged, shop.state())
    assert not list(shop.runtime.folder("clusters").glob("scratch-*"))


def test_the_bytes_that_come_are_counted_on_their_way(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    real = Going.note

    def note(going: Going, **values: Any) -> None:
        told.append(values.get("progress") or {})
        real(going, **values)

    monkeypatch.setattr(Going, "note", note)
    row = give_back(shop.runtime, shop.point, shop.source, Destination.ASIDE)

    [first, *_] = [each for each in told if each]
    assert 0 < first["bytes"] <= first["total"] == report(row)["bytes"]
    assert row.progress is None


def test_aside_is_a_new_database_and_the_live_one_is_not_touched(shop: Shop) -> None:
    intact = shop.state()
    shop.damage()
    damaged = shop.state()

    row = give_back(shop.runtime, shop.point, shop.source, Destination.ASIDE)

    assert same(intact, shop.state(report(row)["where"]))
    assert same(damaged, shop.state())
    assert shop.names() == {shop.database.name, report(row)["where"]}


def test_chosen_tables_in_place_leave_the_others_as_they_are(shop: Shop) -> None:
    shop.damage()
    shop.database.run("UPDATE customers SET name = 'changed'")

    row = give_back(shop.runtime, shop.point, shop.source, tables=("public.orders",))

    assert report(row)["tables"] == {"public.orders": 500}
    assert shop.database.rows("SELECT count(*) FROM orders") == [(500,)]
    assert shop.database.rows("SELECT DISTINCT name FROM customers") == [("changed",)]
    assert row.safety_run_id is not None


def test_chosen_tables_aside_come_alone(shop: Shop) -> None:
    row = give_back(
        shop.runtime, shop.point, shop.source, Destination.ASIDE, tables=("public.customers",)
    )

    [table] = shop.state(report(row)["where"]).tables
    assert (table.title, table.rows) == ("public.customers", 20)


def test_into_a_folder_goes_a_dump_that_loads(shop: Shop, tmp_path: Path) -> None:
    row = give_back(shop.runtime, shop.point, shop.source, tmp_path / "target")

    file = Path(report(row)["where"])
    listed = subprocess.run(
        [bin_folder() / "pg_restore", "--list", file], capture_output=True, text=True, check=True
    )
    assert "TABLE DATA public orders" in listed.stdout
    assert (file.stat().st_mode & 0o777, report(row)["bytes"]) == (0o600, file.stat().st_size)
    assert list(file.parent.iterdir()) == [file]


def test_a_dump_that_is_there_already_is_not_overwritten(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / f"{shop.source.name}.dump").write_text("mine")

    row = carry_out(shop.runtime, ask(shop.runtime, shop.point, shop.source, tmp_path))

    assert failure(row) == "unsafe-target"
    assert (tmp_path / f"{shop.source.name}.dump").read_text() == "mine"


def test_a_schema_whose_name_is_a_path_does_not_lead_out_of_the_folder(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase], tmp_path: Path
) -> None:
    database = new_database('CREATE SCHEMA "../../out"; CREATE TABLE "../../out".t AS SELECT 1')
    options = {"dsn": database.dsn, "schema": "../../out"}
    new = NewSource("postgres", "sales", options, database.password.encode())
    source = sourcing.add(runtime, acme, new, by=cast.ADA)
    target = tmp_path / "deep" / "er" / "target"

    row = give_back(runtime, stored(runtime, acme), source, target)

    assert report(row)["where"] == str(target / "sales.dump")
    assert [path.name for path in (tmp_path / "deep").rglob("*.dump")] == ["sales.dump"]


def test_a_folder_for_a_dump_that_is_reached_by_a_link_is_refused(
    shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "elsewhere")

    for target in (tmp_path / "way", tmp_path / "way" / "below"):
        row = carry_out(shop.runtime, ask(shop.runtime, shop.point, shop.source, target))
        assert failure(row) == "unsafe-target"

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_dry_run_in_place_names_what_would_change_and_changes_nothing(shop: Shop) -> None:
    shop.damage()
    before, names = shop.state(), shop.names()

    row = give_back(shop.runtime, shop.point, shop.source, dry_run=True)

    changes = {
        each["table"]: (each["now"], each["then"], each["change"]) for each in report(row)["tables"]
    }
    assert changes == {
        "public.customers": (20, 20, "stays"),
        "public.extra": (0, None, "disappears"),
        "public.orders": (250, 500, "changes"),
    }
    assert (same(before, shop.state()), shop.names()) == (True, names)
    assert safety_runs(shop.runtime, shop.tenant) == []


def test_a_dry_run_aside_counts_what_was_chosen(shop: Shop) -> None:
    row = give_back(
        shop.runtime,
        shop.point,
        shop.source,
        Destination.ASIDE,
        tables=("public.customers",),
        dry_run=True,
    )

    assert (report(row)["rows"], report(row)["tables"]) == (20, 1)
    assert shop.names() == {shop.database.name}


@pytest.mark.parametrize("to", [Destination.ASIDE, Destination.IN_PLACE])
def test_a_table_that_the_point_has_not_is_an_error_at_once(shop: Shop, to: Destination) -> None:
    wanted = ("public.orders", "public.nothing")

    with pytest.raises(NotFound, match=r"no table public\.nothing\.") as caught:
        ask(shop.runtime, shop.point, shop.source, to, tables=wanted)

    assert caught.value.code == "table-not-in-point"


def test_tables_do_not_go_into_a_folder(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="pg_restore --table"):
        ask(shop.runtime, shop.point, shop.source, tmp_path, tables=("public.orders",))


@pytest.mark.parametrize("dry_run", [False, True], ids=["for real", "dry run"])
def test_a_dropped_database_comes_back_without_a_safety_point(shop: Shop, dry_run: bool) -> None:
    intact = shop.state()
    shop.server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(shop.database.name)))

    row = give_back(shop.runtime, shop.point, shop.source, dry_run=dry_run)

    if dry_run:
        assert {each["change"] for each in report(row)["tables"]} == {"appears"}
        assert shop.names() == set()
        return
    assert same(intact, shop.state())
    assert report(row)["no_safety_point"] == "source-gone"
    assert shop.names() == {shop.database.name}


def test_a_database_that_is_closed_to_us_is_not_gone_and_not_replaced(shop: Shop) -> None:
    name = sql.Identifier(shop.database.name)
    shop.damage()
    shop.server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))

    row = carry_out(shop.runtime, ask(shop.runtime, shop.point, shop.source))

    shop.server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    assert failure(row) == "no-safety-point"
    assert shop.database.rows("SELECT count(*) FROM orders") == [(250,)]
    assert shop.names() == {shop.database.name}


def test_who_may_not_carry_it_through_is_told_before_anything_is_done(shop: Shop) -> None:
    shop.server.execute(
        sql.SQL("ALTER ROLE {} NOCREATEDB").format(sql.Identifier(shop.database.user))
    )

    row = carry_out(shop.runtime, ask(shop.runtime, shop.point, shop.source))

    assert failure(row) == "restore-not-permitted"
    assert safety_runs(shop.runtime, shop.tenant) == []


def test_no_failure_holds_the_password(shop: Shop) -> None:
    row = ask(shop.runtime, shop.point, shop.source)
    shop.server.execute(
        sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(sql.Identifier(shop.database.user))
    )

    carry_out(shop.runtime, row)

    shop.server.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(
            sql.Identifier(shop.database.user), sql.Literal(shop.database.password)
        )
    )
    said = json.dumps(current(shop.runtime, row).failure)
    assert shop.database.user in said
    assert shop.database.password not in said


SCHEMAS = """
CREATE SCHEMA sales; CREATE SCHEMA other;
CREATE TABLE sales.orders AS SELECT n AS id FROM generate_series(1, 30) n;
CREATE TABLE other.kept AS SELECT 1 AS id
"""


@pytest.mark.parametrize("to", [Destination.ASIDE, Destination.IN_PLACE])
def test_one_schema_comes_back_and_the_others_stay(
    runtime: Runtime,
    acme: Tenant,
    new_database: Callable[..., SourceDatabase],
    to: Destination,
) -> None:
    database = new_database(SCHEMAS)
    options = {"dsn": database.dsn, "schema": "sales"}
    new = NewSource("postgres", "sales", options, database.password.encode())
    source = sourcing.add(runtime, acme, new, by=cast.ADA)
    point = stored(runtime, acme)
    database.run("DELETE FROM sales.orders WHERE id > 10; UPDATE other.kept SET id = 2")

    seen = report(give_back(runtime, point, source, to))

    old = seen["before"] if to is Destination.IN_PLACE else "sales"
    assert database.rows(f"SELECT count(*) FROM {seen['where']}.orders") == [(30,)]
    assert database.rows(f"SELECT count(*) FROM {old}.orders") == [(10,)]
    assert database.rows("SELECT id FROM other.kept") == [(2,)]
    if to is Destination.IN_PLACE:
        database.run("DROP SCHEMA sales CASCADE")
        assert report(give_back(runtime, point, source))["no_safety_point"] == "source-gone"
        assert database.rows("SELECT count(*) FROM sales.orders") == [(30,)]
