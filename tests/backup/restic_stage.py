"""What the restic tests share: repositories in local folders, made without restic's own init."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backup.keyfile import MachinePassword, Stamp
from backup.restic import creation
from backup.restic.calls import Repository, Surroundings

ROOT = Path(__file__).parents[2]
STAMP = Stamp(created=datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
RESTIC = shutil.which("restic", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}") or "restic"


class FolderStore:
    """The objects of a repository that lies in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def part(self, key: str, first: int, last: int | None) -> tuple[int, list[bytes]]:
        found = self.get(key)[first : None if last is None else last + 1]
        return len(found), [found]

    def put(self, key: str, data: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(data)

    def list(self, prefix: str) -> list[str]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        keys = (str(path.relative_to(self.root)) for path in files)
        return sorted(key for key in keys if key.startswith(prefix))

    def sizes(self, prefix: str) -> list[tuple[str, int]]:
        return [(key, (self.root / key).stat().st_size) for key in self.list(prefix)]

    def delete(self, key: str) -> None:
        (self.root / key).unlink()


@dataclass(frozen=True)
class Stage:
    """A folder to work in, with one repository."""

    folder: Path
    here: Surroundings
    password: MachinePassword
    repository: Repository
    store: FolderStore

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def write(self, name: str, content: bytes | str = "content") -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def packs(self) -> list[Path]:
        """Whole ones; what is being written has a longer name."""
        return sorted((self.store.root / "data").rglob("?" * 64))


def surroundings(folder: Path) -> Surroundings:
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700, exist_ok=True)
    return Surroundings(scratch=scratch, timeout=180, restic=RESTIC)


def stage(folder: Path) -> Stage:
    password = MachinePassword.make()
    repository, store = new_repository(folder / "repository", password)
    (folder / "source").mkdir()
    return Stage(folder, surroundings(folder), password, repository, store)


def new_repository(
    root: Path, password: MachinePassword, *, polynomial: int | None = None
) -> tuple[Repository, FolderStore]:
    store = FolderStore(root)
    root.mkdir()
    made = creation.create(store, password, STAMP, polynomial=polynomial)
    repository = Repository(
        address=str(root),
        password=password.text,
        key_hint=made.key_id,
        cache=root.with_name(f"{root.name}-cache"),
    )
    return repository, store


def unhinted(repository: Repository) -> Repository:
    return replace(repository, key_hint=None)
