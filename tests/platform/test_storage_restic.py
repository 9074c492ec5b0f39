"""restic itself with credentials cut to one act: what each act has to allow, and what not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom import program
from strongroom.program import Command, Finished
from strongroom.stack.seaweed import RegionServer
from strongroom.storage import Act, Store, assume
from tests.platform.regions import new_prefix, running_region

BESIDE = Path(sys.executable).with_name("restic")
RESTIC = str(BESIDE) if BESIDE.exists() else shutil.which("restic")


@dataclass(frozen=True)
class Repository:
    server: RegionServer
    prefix: str
    folder: Path  # caches and what is backed up

    def restic(self, act: Act, arguments: Sequence[str]) -> Finished:
        """Run it with credentials for that act, an empty cache, and nothing from outside."""
        given = assume(
            self.server.region, self.server.root, prefix=self.prefix, act=act, seconds=900
        )
        address = f"s3:{self.server.region.endpoint}/{self.server.region.bucket}/{self.prefix}"
        with program.secret_file(given.shared_file()) as keys, program.secret_pipe(b"pw") as word:
            environment = {
                "AWS_SHARED_CREDENTIALS_FILE": f"/proc/self/fd/{keys}",
                "AWS_DEFAULT_REGION": self.server.region.location,
                "HOME": str(self.folder),
                "PATH": "/usr/bin:/bin",
                "RESTIC_PASSWORD_FILE": f"/dev/fd/{word}",
                "RESTIC_REPOSITORY": address.rstrip("/"),
            }
            argv = [str(RESTIC), "--no-cache", "-o", "s3.bucket-lookup=path", *arguments]
            return program.run(
                Command(argv, environment, self.folder, descriptors=(keys, word)), timeout=60
            )

    def works(self, act: Act, arguments: Sequence[str]) -> None:
        done = self.restic(act, arguments)
        assert done.code == 0, done

    def fails(self, act: Act, arguments: Sequence[str]) -> None:
        assert self.restic(act, arguments).code != 0


@pytest.fixture(scope="module")
def server() -> Iterator[RegionServer]:
    with running_region() as started:
        yield started


@pytest.fixture
def repository(server: RegionServer, tmp_path: Path) -> Repository:
    made = Repository(server, new_prefix(), tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    made.works(Act.CREATE, ["init"])
    return made


def test_the_whole_life_of_a_repository_works_act_by_act(repository: Repository) -> None:
    repository.works(Act.BACKUP, ["backup", "source"])
    (repository.folder / "source" / "file").write_bytes(b"more content" * 1000)
    repository.works(Act.BACKUP, ["backup", "source"])
    repository.works(Act.READ, ["--no-lock", "check", "--read-data"])
    repository.works(Act.READ, ["--no-lock", "restore", "latest", "--target", "back"])
    repository.works(Act.FORGET, ["forget", "--keep-last", "1"])
    repository.works(Act.PRUNE, ["prune", "--max-unused", "0"])
    repository.works(Act.READ, ["--no-lock", "check", "--read-data"])
    restored = next((repository.folder / "back").rglob("file"))
    assert restored.read_bytes() == b"more content" * 1000


def test_healing_repairs_an_index_and_a_snapshot(repository: Repository) -> None:
    repository.works(Act.BACKUP, ["backup", "source"])
    repository.works(Act.HEAL, ["repair", "index"])
    repository.works(Act.HEAL, ["repair", "snapshots"])


def test_each_act_is_too_little_for_the_next(repository: Repository) -> None:
    repository.works(Act.BACKUP, ["backup", "source"])
    repository.fails(Act.READ, ["backup", "source"])
    repository.fails(Act.CREATE, ["backup", "source"])
    repository.fails(Act.FORGET, ["backup", "source"])
    repository.fails(
        Act.BACKUP, ["forget", "--keep-last", "1", "--unsafe-allow-remove-all", "latest"]
    )
    repository.fails(Act.FORGET, ["prune"])
    repository.fails(Act.SWEEP, ["--no-lock", "snapshots"])
    repository.works(Act.READ, ["--no-lock", "check", "--read-data"])


def test_a_prune_with_rights_for_backup_destroys_nothing(repository: Repository) -> None:
    repository.works(Act.BACKUP, ["backup", "source"])
    repository.works(Act.FORGET, ["forget", "latest"])
    repository.fails(Act.BACKUP, ["prune", "--max-unused", "0"])
    store = Store(repository.server.region, repository.server.root)
    assert not [v for v in store.versions(repository.prefix + "data/") if v.marker]


def test_no_repository_is_made_below_a_neighbours_prefix(
    server: RegionServer, repository: Repository
) -> None:
    """Credentials for one prefix, the address of another."""
    given = assume(
        server.region, server.root, prefix=repository.prefix, act=Act.CREATE, seconds=900
    )
    other = new_prefix()
    with program.secret_file(given.shared_file()) as keys, program.secret_pipe(b"pw") as word:
        environment = {
            "AWS_SHARED_CREDENTIALS_FILE": f"/proc/self/fd/{keys}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "RESTIC_PASSWORD_FILE": f"/dev/fd/{word}",
        }
        address = f"s3:{server.region.endpoint}/{server.region.bucket}/{other.rstrip('/')}"
        argv = [str(RESTIC), "--no-cache", "-r", address, "init"]
        done = program.run(Command(argv, environment, descriptors=(keys, word)), timeout=60)
    assert done.code != 0
    assert list(Store(server.region, server.root).versions(other)) == []
