"""The exit kit: plain restic, in a clean environment, and nothing of ours."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update

from backup.models import Source
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.lifecycle import Step
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.stack.quarters import bin_folder
from strongroom.storage_errors import StorageError
from tenants import exit_kit
from tenants.models import Tenant
from tests import cast
from tests.cast import ADA, SourceDatabase, rows_of
from tests.restore.asking import faces


@dataclass(frozen=True)
class Leaving:
    """Acme with both kinds of source, backed up everywhere, and its kit."""

    runtime: Runtime
    tenant: Tenant
    folder: Path
    database: SourceDatabase
    kit: Path
    files: Source
    orders: Source

    def restic(self, *words: str, region: str = "region-a") -> subprocess.CompletedProcess[str]:
        """As the README says, with nothing in the environment but what the file sets."""
        script = 'set -a; . "$1"; set +a; shift; exec "$@"'
        program = [self.runtime.settings.restic, "--no-cache", *words]
        return subprocess.run(
            ["/bin/sh", "-c", script, "kit", str(self.kit / f"restic-{region}.env"), *program],
            env={"PATH": os.defpath, "HOME": str(self.kit)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def leaving(
    runtime: Runtime, acme: Tenant, tmp_path: Path, new_database: Callable[..., SourceDatabase]
) -> Leaving:
    database = new_database()
    files = cast.add_folder(runtime, acme, tmp_path / "srv")
    orders = cast.add_database(runtime, acme, database)
    cast.back_up(runtime, acme)
    exit_kit.export(runtime, acme, tmp_path / "kit", by=ADA)
    return Leaving(runtime, acme, tmp_path / "srv", database, tmp_path / "kit", files, orders)


def test_only_its_owner_reads_a_kit_and_it_is_on_record(leaving: Leaving) -> None:
    names = {path.name: path.stat().st_mode & 0o777 for path in leaving.kit.iterdir()}

    assert names == dict.fromkeys(
        ["README.md", "restic-region-a.env", "restic-region-b.env"], 0o600
    )
    assert leaving.kit.stat().st_mode & 0o777 == 0o700
    [first, second] = rows_of(leaving.runtime, leaving.tenant, Step, Step.code == "kit-exported")
    assert first.by == second.by == str(ADA)


@pytest.mark.parametrize("region", ["region-a", "region-b"])
def test_plain_restic_restores_the_folder_byte_for_byte(
    leaving: Leaving, tmp_path: Path, region: str
) -> None:
    words = [
        "restore",
        "latest",
        "--host",
        str(leaving.files.id),
        "--target",
        str(tmp_path / "out"),
    ]

    done = leaving.restic(*words, region=region)

    assert done.returncode == 0, done.stderr
    assert faces(tmp_path / "out") == faces(leaving.folder)


def test_plain_restic_and_pg_restore_bring_the_database_back(
    leaving: Leaving, tmp_path: Path, new_database: Callable[..., SourceDatabase]
) -> None:
    words = [
        "restore",
        "latest",
        "--host",
        str(leaving.orders.id),
        "--target",
        str(tmp_path / "out"),
    ]
    assert leaving.restic(*words).returncode == 0
    empty = new_database("SELECT 1")

    subprocess.run(
        [
            *(bin_folder() / "pg_restore", "--no-owner", "--exit-on-error"),
            *("--dbname", empty.dsn, tmp_path / "out" / "database.dump"),
        ],
        env={"PGPASSWORD": empty.password},
        check=True,
    )

    query = "SELECT * FROM orders JOIN customers ON customers.id = customer ORDER BY 1"
    assert empty.rows(query) == leaving.database.rows(query)


def test_the_readme_names_every_source_as_restic_does(leaving: Leaving) -> None:
    readme = (leaving.kit / "README.md").read_text(encoding="utf-8")
    hosts = set(re.findall(r"\| `([0-9a-f-]{36})` \|", readme))

    listed = leaving.restic("snapshots", "--json")

    assert hosts == {str(leaving.files.id), str(leaving.orders.id)}
    assert all(host in listed.stdout for host in hosts)
    assert ". ./restic-region-a.env" in readme


def test_a_kit_can_read_and_neither_write_nor_delete(leaving: Leaving) -> None:
    forgotten = leaving.restic("forget", "--keep-last", "1", "--group-by", "", "--prune")
    written = leaving.restic("backup", str(leaving.folder))
    key = leaving.restic("key", "remove", "0000")

    assert all(done.returncode != 0 for done in (forgotten, written, key))
    snapshots = leaving.restic("snapshots", "--json").stdout
    assert snapshots.count('"short_id"') == 2
    assert leaving.restic("check", "--read-data").returncode == 0


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(leaving: Leaving) -> None:
    before = faces(leaving.kit)

    with pytest.raises(BadValue, match="is not an empty folder"):
        exit_kit.export(leaving.runtime, leaving.tenant, leaving.kit, by=ADA)

    assert faces(leaving.kit) == before


def test_without_a_repository_there_is_no_kit_and_no_folder(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="make a backup first"):
        exit_kit.export(runtime, acme, tmp_path / "kit", by=ADA)

    assert not (tmp_path / "kit").exists()


def test_a_region_that_is_away_leaves_no_half_of_a_kit(leaving: Leaving, tmp_path: Path) -> None:
    with leaving.runtime.database.session(Role.MIGRATOR) as session:
        session.execute(
            update(Region).where(Region.name == "region-b").values(endpoint="http://127.0.0.1:9")
        )

    with pytest.raises(StorageError):
        exit_kit.export(leaving.runtime, leaving.tenant, tmp_path / "again", by=ADA)

    assert not (tmp_path / "again").exists()
