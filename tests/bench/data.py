"""Data to back up: random bytes of a fixed seed, which no compression and no luck makes smaller."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path


def fill(folder: Path, *, files: int, size: int, seed: str) -> None:
    """So many files of `size` bytes, in folders of up to 100."""
    chance = random.Random(seed)
    for number in range(files):
        path = folder / f"{number // 100:03}" / f"{number:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))


def digest(folder: Path) -> str:
    """Of all paths below and what is in the files."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path.relative_to(folder)).encode() + b"\0")
        if path.is_file():
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()
