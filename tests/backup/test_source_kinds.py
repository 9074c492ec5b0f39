"""Sources as they are added: bad input gets a clear error at once, and no error a password."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backup.sources import connection, kinds
from backup.sources.allowance import Allowance
from backup.sources.connection import (
    Access,
    MayNotRead,
    NoSuchDatabase,
    NoSuchSchema,
    SignInRefused,
    Unreachable,
)
from backup.sources.directory import Directory
from backup.sources.postgres import Postgres
from strongroom.errors import BadValue, NotFound, Refused, StrongroomError
from strongroom.stack import ports
from tests.backup.source_database import PASSWORD, Server, serving

SECRET = "hunter2-very-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def check(source: kinds.Source, access: Access, home: Path) -> kinds.Found:
    return kinds.check(source, access, home=home)


def test_options_come_back_as_they_were_given() -> None:
    for kind, options in (
        ("directory", {"path": "/srv/acme", "exclude": ["*.tmp", "cache"]}),
        ("postgres", {"dsn": "postgresql://u%40x@db.example:5433/my%2Fdb?sslmode=require"}),
        ("postgres", {"dsn": "postgresql://u@[fd00::5]:5432/db", "schema": "Acme"}),
    ):
        source = kinds.parse(kind, options)
        assert source.kind == kind
        assert source.options() == options
        assert kinds.parse(kind, source.options()) == source


def test_an_unknown_kind_or_option_is_refused() -> None:
    with pytest.raises(BadValue, match="Kinds: directory, postgres"):
        kinds.parse("mysql", {})
    with pytest.raises(BadValue, match="no option password"):
        kinds.parse("postgres", {"dsn": "postgresql://u@h/d", "password": SECRET})


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{SECRET}@db.example/d",
        f"postgresql://u:{SECRET}#x@db.example/d",
        f"postgresql://u:{SECRET}",
        f"postgresql://u:{SECRET}/x@db.example/d",
        f"postgresql://u@db.example/d?password={SECRET}",
        f"postgresql://u@db.example/d?sslmode={SECRET}",
        f"postgresql://u@db.example/d?passfile=/{SECRET}",
        f"host=db.example password={SECRET}",
        f"postgresql://u@db.example/d#{SECRET}",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(BadValue) as caught:
        kinds.parse("postgres", {"dsn": dsn})
    assert SECRET not in str(caught.value) + repr(caught.value.params)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://u@h/d",
        "postgresql://h/d",
        "postgresql://u@/d",
        "postgresql://u@h",
        "postgresql://u@h/",
        "postgresql://u@h:0/d",
        "postgresql://u@h:99999/d",
        "postgresql://u@a,b/d",
        "postgresql://u@%2Frun%2Fpostgresql/d",
        "postgresql://u@127.1/d",
        "postgresql://u@h/d?service=x",
        "postgresql://u@h/d?hostaddr=127.0.0.1",
        "postgresql://u@h/d?options=-csearch_path%3Dx",
        "postgresql://u@h/d?sslrootcert=/etc/passwd",
        "postgresql://u@h/d%00",
        "postgresql://u@h/d\n",
        f"postgresql://u@h/{'d' * 64}",
    ],
)
def test_a_url_that_makes_no_sense_is_refused(dsn: str) -> None:
    with pytest.raises(BadValue):
        kinds.parse("postgres", {"dsn": dsn})


def test_a_readable_database_is_found(server: Server, home: Path) -> None:
    source = server.source(server.business())
    allowed = kinds.listing(source)
    access = kinds.admit(source, allowed, password=PASSWORD.encode())
    found = check(source, replace(access, address="127.0.0.1"), home)
    assert isinstance(found, kinds.PostgresFound)
    assert (found.server_version // 10000, found.database_bytes > 0) == (18, True)


def test_a_host_that_is_not_listed_is_not_reached(server: Server) -> None:
    with pytest.raises(Refused, match="not on the allow-list"):
        kinds.admit(server.source("x"), Allowance())


def wrong(server: Server, **changes: object) -> tuple[Postgres, Access]:
    source = replace(server.source(server.business()), **changes)  # type: ignore[arg-type]
    return source, Access(PASSWORD.encode(), "127.0.0.1")


def test_each_way_to_fail_has_its_own_error(server: Server, home: Path) -> None:
    (closed,) = ports.choose(1)
    access = Access(SECRET.encode(), "127.0.0.1")
    cases: list[tuple[type[StrongroomError], Postgres, Access]] = [
        (Unreachable, *wrong(server, port=closed)),
        (SignInRefused, wrong(server)[0], access),
        (SignInRefused, wrong(server)[0], Access(None, "127.0.0.1")),
        (SignInRefused, *wrong(server, user="nobody-here")),
        (NoSuchDatabase, *wrong(server, database="none")),
        (NoSuchSchema, *wrong(server, schema="PUBLIC")),
    ]
    for error, source, how in cases:
        with pytest.raises(error) as caught:
            check(source, how, home)
        shown = f"{caught.value!r} {caught.value} {caught.value.params} {caught.value.__context__}"
        assert SECRET not in shown
        assert PASSWORD not in shown


def test_a_table_that_is_closed_to_the_user_is_named(server: Server, home: Path) -> None:
    name = server.business()
    server.run(
        name,
        f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}';"
        "GRANT SELECT ON customers, audit, invoices_id_seq, customers_id_seq TO reader",
    )
    source = server.source(name, user="reader")
    with pytest.raises(MayNotRead, match=r"may not read public\.invoices\. GRANT"):
        check(source, server.access, home)
    server.run(name, "GRANT SELECT ON invoices TO reader")
    check(source, server.access, home)


def test_the_surroundings_decide_nothing(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server.source(server.business())
    passfile = tmp_path / ".pgpass"
    passfile.write_text("*:*:*:*:" + PASSWORD.replace("\\", "\\\\").replace(":", "\\:"))
    passfile.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")
    with pytest.raises(SignInRefused, match="asks for a password"):
        check(source, Access(None, "127.0.0.1"), home)
    assert "PGSERVICE" not in os.environ
    with connection.connect(source.login(server.access)) as line:
        assert line.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_a_folder_is_checked_at_adding_time(home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(home)
    found = check(Directory(tmp_path / "data"), Access(), home)
    assert isinstance(found, kinds.DirectoryFound)
    cases: list[tuple[Path, type[StrongroomError]]] = [
        (tmp_path / "missing", NotFound),
        (tmp_path / "file", BadValue),
        (home, Refused),
        (home / "inside", Refused),
        (tmp_path, Refused),
        (tmp_path / "link", Refused),
        (Path("/"), Refused),
    ]
    for path, error in cases:
        with pytest.raises(error):
            check(Directory(path), Access(), home)


@pytest.mark.parametrize("options", [{"path": "srv"}, {}, {"path": "/a", "exclude": ["a\nb"]}])
def test_a_folder_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(BadValue):
        kinds.parse("directory", options)
