"""Databases as downloads: a table as CSV, the dump, a portable set, the first rows."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

from backup.models import Point, Source
from backup.restic.errors import ResticError
from restore import fetching
from restore.delivery import archives, contents
from restore.delivery.states import DeliveryState, End, Kind
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.cast import ORDERS, SourceDatabase
from tests.restore.delivering import Counter, listed

ODD = (
    ORDERS
    + """
CREATE SCHEMA "we,ird";
CREATE TABLE "we,ird"."=evil ""t"" (x" (
    "=1+1" text, n numeric(8,2), big bigint, ok boolean, doc jsonb, at timestamptz, raw bytea,
    "not" double precision DEFAULT 1.5 NOT NULL, words text[] );
INSERT INTO "we,ird"."=evil ""t"" (x" VALUES
    ('=cmd|''x''', -1.50, 9007199254740993, true, '{"a": [1, "é"]}', '2026-01-02 03:04:05+00',
     '\\xdeadbeef', 2.5, '{a,b}'),
    (E'tab\\tnew\\nline \\\\ back', NULL, NULL, NULL, NULL, NULL, NULL, 'NaN', NULL),
    ('', 0, -7, false, 'null', NULL, '', 1e300, '{}');
CREATE TABLE empty (id integer, note text);
CREATE SEQUENCE counter START 7;
"""
)
EVIL = '=evil "t" (x'


@pytest.fixture
def database(new_database: Callable[..., SourceDatabase]) -> SourceDatabase:
    return new_database(ODD)


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, database: SourceDatabase) -> Source:
    return cast.add_database(runtime, acme, database)


@pytest.fixture
def point(runtime: Runtime, acme: Tenant, source: Source) -> Point:
    return listed(runtime, acme)


@pytest.fixture
def counter(runtime: Runtime, acme: Tenant) -> Counter:
    return Counter(runtime, acme)


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_a_database_in_every_form(counter: Counter, point: Point, source: Source) -> None:
    evil = f"we,ird.{EVIL}"
    table = counter.download(point, source, tables=[evil])
    assert (table.kind, table.name) == (Kind.TABLE, "we,ird.=evil _t_ (x-1.csv")
    found = rows(counter.content(table))
    assert found[0] == ["'=1+1", "n", "big", "ok", "doc", "at", "raw", "not", "words"]
    assert found[1][:5] == ["'=cmd|'x'", "-1.50", "9007199254740993", "t", '{"a": [1, "é"]}']
    assert found[2][:2] == ["tab\tnew\nline \\ back", ""]
    assert found[3][0] == ""
    assert counter.content(table).splitlines()[-1].startswith(b'"",0.00,-7,')  # no NULL

    dump = counter.download(point, source)
    assert counter.content(dump).startswith(b"PGDMP")

    as_json = counter.download(point, source, kind=Kind.SET_JSON)
    assert as_json.name == "orders-1.json.zip"
    packed = zipfile.ZipFile(io.BytesIO(counter.content(as_json)))
    assert packed.testzip() is None
    told = json.loads(packed.read("manifest.json"))
    by_name = {each["name"]: each for each in told["tables"]}
    assert set(by_name) == {"customers", "orders", "empty", EVIL}
    assert {name: each["rows"] for name, each in by_name.items()} == {
        "customers": 20,
        "orders": 500,
        "empty": 0,
        EVIL: 3,
    }
    assert by_name[EVIL]["columns"] == [
        {"name": "=1+1", "type": "text"},
        {"name": "n", "type": "numeric(8,2)"},
        {"name": "big", "type": "bigint"},
        {"name": "ok", "type": "boolean"},
        {"name": "doc", "type": "jsonb"},
        {"name": "at", "type": "timestamp with time zone"},
        {"name": "raw", "type": "bytea"},
        {"name": "not", "type": "double precision"},
        {"name": "words", "type": "text[]"},
    ]
    lines = [json.loads(each) for each in packed.read(by_name[EVIL]["file"]).splitlines()]
    assert lines[0]["=1+1"] == "=cmd|'x'"
    assert (lines[0]["n"], lines[0]["big"], lines[0]["ok"]) == ("-1.50", 9007199254740993, True)
    assert lines[0]["doc"] == {"a": [1, "é"]}
    assert (lines[1]["not"], lines[1]["doc"], lines[2]["doc"]) == ("NaN", None, None)
    for each in told["tables"]:
        assert hashlib.sha256(packed.read(each["file"])).hexdigest() == each["sha256"]
    assert {"schema": "public", "name": "counter", "next": 7} in told["sequences"]
    assert b"CREATE TABLE public.orders" in packed.read("schema.sql")
    sums = packed.read("SHA256SUMS").decode()
    assert f"{hashlib.sha256(packed.read('manifest.json')).hexdigest()}  manifest.json" in sums

    some = counter.download(point, source, tables=["public.orders", "public.empty"])
    assert (some.kind, some.name) == (Kind.SET_CSV, "orders-1.csv.zip")
    packed = zipfile.ZipFile(io.BytesIO(counter.content(some)))
    assert rows(packed.read("tables/public.orders.csv"))[:2] == [
        ["id", "customer", "amount"],
        ["1", "2", "1.125"],
    ]
    assert packed.read("tables/public.empty.csv") == b"id,note\r\n"
    assert list(counter.runtime.folder("deliveries").iterdir()) == []

    look = counter.looked(point, source, tables=["public.orders"])
    seen = json.loads(counter.content(look))
    assert seen["columns"] == ["id", "customer", "amount"]
    assert len(seen["rows"]) == contents.LOOK_ROWS
    assert seen["rows"][0] == ["1", "2", "1.125"]


def test_what_came_out_short_is_not_given_out(
    counter: Counter,
    point: Point,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dump on its way loses a row: nothing tells but the count that was taken with it."""
    kept = contents.copied._rows

    def short(*given: object) -> object:
        found = kept(*given)  # type: ignore[arg-type]
        next(found, None)
        return found

    monkeypatch.setattr(contents.copied, "_rows", short)
    for kind in (Kind.TABLE, Kind.SET_CSV):
        row = counter.choose(point, source, tables=["public.orders"])
        made = counter.make(counter.confirm(row, kind))

        assert (made.state, made.ended_as) == (DeliveryState.ENDING, End.FAILED)
        assert made.failure is not None
        assert made.failure["code"] == "not-as-it-was"
        assert counter.end(made).state is DeliveryState.ENDED
    assert counter.lying() == []


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"PGDMP" * 500]
)
def test_a_dump_that_cannot_be_read_fails_and_hangs_nothing(
    counter: Counter,
    point: Point,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    """restic's part goes well; what it gives is hostile or broke off when it was made."""
    real = fetching.commands.dump

    def damaged(*given: Any, to: IO[bytes], **more: Any) -> None:
        whole = Path(counter.runtime.folder("scratch") / "whole")
        with whole.open("wb") as file:
            real(*given, to=file, **more)
        with suppress(BrokenPipeError):
            to.write(damage(whole.read_bytes()))

    monkeypatch.setattr(fetching.commands, "dump", damaged)
    for kind in (Kind.TABLE, Kind.SET_JSON):
        row = counter.confirm(counter.choose(point, source, tables=["public.orders"]), kind)
        assert counter.make(row).ended_as is End.FAILED
    looked = counter.make(counter.look(point, source, tables=[f"we,ird.{EVIL}"]))
    assert looked.ended_as is End.FAILED


def test_a_region_that_dies_under_a_dump_is_not_the_dumps_fault(
    counter: Counter, point: Point, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetching.commands.dump

    def dying(*given: Any, to: IO[bytes], **more: Any) -> None:
        whole = Path(counter.runtime.folder("scratch") / "whole")
        with whole.open("wb") as file:
            real(*given, to=file, **more)
        to.write(whole.read_bytes()[:-3000])
        to.flush()
        raise ResticError("the region fell silent")

    monkeypatch.setattr(fetching.commands, "dump", dying)
    for kind in (Kind.TABLE, Kind.SET_CSV, Kind.DUMP):
        tables = () if kind is Kind.DUMP else ["public.orders"]
        row = counter.confirm(counter.choose(point, source, tables=tables), kind)
        made = counter.make(row)
        assert (made.state, made.ended_as) == (DeliveryState.WAITING, None), (kind, made.failure)
    monkeypatch.undo()
    counter.ready(row)


def test_pg_restore_sees_little_and_gets_names_as_names() -> None:
    command = archives.command(archives.Wanted(only=("--dbname=x", "-f/etc/x")))

    assert "--schema=--dbname=x" in command.argv
    assert "--table=-f/etc/x" in command.argv
    assert command.view is not None
    assert command.view.read == command.view.write == ()
    assert not any("dbname" in each for each in command.argv if each != "--schema=--dbname=x")
