"""Recovery into a database of one's own, as settings name it: no home, no embedded stack."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import text

from strongroom import runtime as runtimes
from strongroom import schema
from strongroom.db import Database, Role
from strongroom.runtime import Runtime
from strongroom.settings import from_environment
from tenants.onboarding import NewTenant
from tests.backup.vaults import digest, restored, vaults
from tests.cast import ACME, add_folder, add_tenant, back_up, fill
from tests.end_to_end.losses import Company, company, given, upkeep
from tests.end_to_end.test_recovery import newest, tenants_of
from tests.web.command_line import Said, run
from web import parts
from web.models import METADATA

CLIO = NewTenant("clio", "Clio", "starter", "Asia/Riyadh", "SA", "ar-SA")


@dataclass(frozen=True)
class Lost:
    """A company without machines, and what it has put by."""

    company: Company
    shares: list[Path]
    keys: Path  # a backup of the key store
    record_key: str
    files: Path


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    place = tmp_path_factory.mktemp("production")
    with company(place / "company") as made:
        with made.platform("home") as before:
            acme = add_tenant(before, ACME)
            add_folder(before, acme, place / "files")
            back_up(before, acme)
            shares = made.ceremony(before)
            upkeep(before)
            fill(place / "files", files=5, words="since")
            back_up(before, acme)
            shutil.copytree(before.settings.keys, place / "keys")
            record_key = before.settings.record_key
        made.lose("home")
        yield Lost(made, shares, place / "keys", record_key, place / "files")


@pytest.fixture
def settings(
    empty_database: Mapping[Role, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """As a machine of one's own has them: secrets in files, a key store that is empty."""
    found = {
        "STRONGROOM_KEYS_FOLDER": str(tmp_path / "keys"),
        "STRONGROOM_WORK_FOLDER": str(tmp_path / "work"),
    }
    for role in (Role.MIGRATOR, Role.OPERATOR, Role.WORKER, Role.DUMPER):
        file = tmp_path / f"database-{role}"
        file.write_text(empty_database[role])
        found[f"STRONGROOM_DATABASE_URL_{role.upper()}_FILE"] = str(file)
    for name in [name for name in os.environ if name.startswith("STRONGROOM_")]:
        monkeypatch.delenv(name)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def recover(lost: Lost, *more: str | Path) -> Said:
    words = lost.company.words("none")
    assert words[-2] == "--home"
    return run(*words[:-2], *more, "--json")


@pytest.fixture
def platform(lost: Lost, settings: dict[str, str]) -> Iterator[Runtime]:
    """What the services of that machine would work with; the record key lies where it was put."""
    published = {region.name: dict(region.published()) for region in lost.company.regions}
    there = {**settings, "STRONGROOM_REGIONS": json.dumps(published)}
    there["STRONGROOM_RECORD_KEY"] = lost.record_key
    made = parts.make_runtime(from_environment(there))
    made = replace(made, clock=lost.company.clock)
    runtimes.use(made)
    yield made
    runtimes.use(None)
    made.database.close()
    made.app.close()


def tables(urls: Mapping[Role, str]) -> int:
    """How many there are in the database, in any schema of ours."""
    database = Database(urls)
    with database.session(Role.MIGRATOR) as session:
        found: int = session.execute(
            text(
                "select count(*) from pg_tables where schemaname not in "
                "('pg_catalog', 'information_schema')"
            )
        ).scalar_one()
    database.close()
    return found


def test_shares_and_an_empty_database_are_a_platform_again(
    lost: Lost, platform: Runtime, tmp_path: Path
) -> None:
    key = tmp_path / "record-key"

    said = recover(lost, *given(lost.shares[:3]), "--record-key-to", key)

    assert said.code == 0, said
    report = said.document
    assert (report["tenants"], report["points_known"], report["points_adopted"]) == (1, 2, 1)
    assert report["opened_by_escrow"] > 0
    assert (key.read_text(), key.stat().st_mode & 0o777) == (lost.record_key, 0o600)
    assert not schema.differences(platform.settings.databases[Role.MIGRATOR], METADATA)
    acme = tenants_of(platform)["acme"]
    for held in vaults(platform, acme):
        assert restored(held, newest(platform, acme), tmp_path / "back") == [digest(lost.files)]
    point = back_up(platform, acme)
    assert point.number == 3
    upkeep(platform)  # dumps, wraps and records go on, signed with the key that the shares name
    again = recover(lost, *given(lost.shares[:3]), "--record-key-to", key)
    assert again.code == 0
    assert again.document == {**report, "already": True}


@pytest.mark.long
def test_a_backup_of_the_key_store_becomes_the_key_store(
    lost: Lost, platform: Runtime, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_RECORD_KEY", lost.record_key)

    said = recover(lost, "--key-store", lost.keys)

    assert said.code == 0, said
    assert (said.document["opened_by_escrow"], said.document["closed"]) == (0, [])
    there = Path(settings["STRONGROOM_KEYS_FOLDER"])
    assert {each.name for each in lost.keys.glob("*.kek")} <= {
        each.name for each in there.iterdir()
    }
    add_tenant(platform, CLIO)


@pytest.mark.long
def test_a_key_store_that_outlived_the_database_is_enough(
    lost: Lost, platform: Runtime, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_RECORD_KEY", lost.record_key)
    shutil.copytree(lost.keys, settings["STRONGROOM_KEYS_FOLDER"])

    said = recover(lost)

    assert (said.code, said.document["opened_by_escrow"]) == (0, 0), said
    assert set(tenants_of(platform)) == {"acme"}


def test_what_is_missing_is_said_before_anything_is_written(
    lost: Lost,
    empty_database: Mapping[Role, str],
    settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = given(lost.shares[:3])
    refused = recover(lost, *shares)  # with which key would it sign?
    assert (refused.code, refused.error["code"]) == (4, "record-key-needed")
    monkeypatch.setenv("STRONGROOM_RECORD_KEY", "ab" * 32)  # one that nobody's share names
    assert recover(lost, *shares).error["code"] == "record-key-needed"
    monkeypatch.delenv("STRONGROOM_RECORD_KEY")
    assert recover(lost).error["code"] == "bad-value"  # nothing that opens it
    looked = recover(lost, *shares, "--dry-run")
    assert (looked.code, looked.document["tenants"]) == (0, 1)
    monkeypatch.delenv("STRONGROOM_DATABASE_URL_OPERATOR_FILE")
    unnamed = recover(lost, *shares, "--record-key-to", tmp_path / "key")
    assert (unnamed.code, unnamed.error["code"]) == (2, "no-database-url")
    assert "STRONGROOM_DATABASE_URL_OPERATOR" in unnamed.error["message"]

    assert tables(empty_database) == 0
    assert not (tmp_path / "key").exists()
    assert not Path(settings["STRONGROOM_KEYS_FOLDER"]).exists()


def test_a_database_in_use_is_left_as_it_is(
    lost: Lost,
    database_urls: Mapping[Role, str],
    settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for role in (Role.MIGRATOR, Role.OPERATOR, Role.WORKER):
        monkeypatch.setenv(f"STRONGROOM_DATABASE_URL_{role.upper()}", database_urls[role])
    before = tables(database_urls)

    said = recover(
        lost, *given(lost.shares[:3]), "--key-store", lost.keys, "--record-key-to", tmp_path / "key"
    )

    assert (said.code, said.error["code"]) == (4, "database-not-empty")
    assert tables(database_urls) == before
    assert not (tmp_path / "key").exists()
    assert not Path(settings["STRONGROOM_KEYS_FOLDER"]).exists()
