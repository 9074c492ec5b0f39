"""The schema: the models and the migrations say the same, and migrating is safe to repeat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text

from strongroom import schema
from strongroom.db import Role
from strongroom.schema import RolesMissing
from web.models import METADATA

ROOT = Path(__file__).parents[2]
MIGRATE = "import sys; from strongroom import schema; from web.models import METADATA; "
MIGRATE += "schema.upgrade(sys.stdin.read(), METADATA)"


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        with engine.connect() as line:
            query = "select tablename from pg_tables where schemaname = 'public'"
            return set(line.execute(text(query)).scalars())
    finally:
        engine.dispose()


def test_models_and_migrations_say_the_same(database_urls: Mapping[Role, str]) -> None:
    assert schema.differences(database_urls[Role.MIGRATOR], METADATA) == []


def test_a_difference_is_seen(database_urls: Mapping[Role, str]) -> None:
    engine = create_engine(database_urls[Role.MIGRATOR])
    with engine.begin() as line:
        line.execute(text("alter table holds drop column reason"))
    engine.dispose()
    (found,) = schema.differences(database_urls[Role.MIGRATOR], METADATA)
    assert found[0] == "add_column"


def test_an_empty_database_gets_every_table_and_a_second_time_changes_nothing(
    empty_database: Mapping[Role, str],
) -> None:
    url = empty_database[Role.MIGRATOR]
    schema.upgrade(url, METADATA)
    first = tables(url)
    schema.upgrade(url, METADATA)
    assert first == tables(url) == {*METADATA.tables, "alembic_version"}


def test_two_migrations_at_once_take_turns(empty_database: Mapping[Role, str]) -> None:
    url = empty_database[Role.MIGRATOR]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE],
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [job.communicate(url, timeout=180)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], said
    assert tables(url) == {*METADATA.tables, "alembic_version"}


def test_a_role_that_is_missing_is_named_and_nothing_is_made(
    empty_database: Mapping[Role, str], superuser: psycopg.Connection[Any]
) -> None:
    superuser.execute("ALTER ROLE web RENAME TO web_away")
    try:
        with pytest.raises(RolesMissing, match="no role web. Create each with LOGIN") as caught:
            schema.upgrade(empty_database[Role.MIGRATOR], METADATA)
    finally:
        superuser.execute("ALTER ROLE web_away RENAME TO web")
    assert caught.value.params["roles"] == ["web"]
    assert tables(empty_database[Role.MIGRATOR]) == set()


def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database: Mapping[Role, str], superuser: psycopg.Connection[Any]
) -> None:
    url = empty_database[Role.MIGRATOR]
    engine = create_engine(url)
    with engine.begin() as line:
        line.execute(text("create table restores (id int)"))  # in the way of the last part
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(url, METADATA)
    engine.dispose()
    assert tables(url) == {"restores"}


def test_no_role_but_the_migrator_can_migrate(empty_database: Mapping[Role, str]) -> None:
    with pytest.raises(Exception, match="permission denied"):
        schema.upgrade(empty_database[Role.WEB], METADATA)
    assert tables(empty_database[Role.MIGRATOR]) == set()
