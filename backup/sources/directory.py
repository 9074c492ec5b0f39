"""A folder as a source. Counts and bytes of what was in it come from restic."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.sources import walk
from backup.sources.allowance import overlap, resolved
from backup.sources.connection import MayNotRead
from backup.sources.options import reject_unknown, text_of, texts_of
from strongroom.errors import BadValue, NotFound, Refused

KIND = "directory"


@dataclass(frozen=True)
class Directory:
    """A folder, without what the patterns name."""

    path: Path
    exclude: tuple[str, ...] = ()  # restic's exclude patterns, in the order given

    @property
    def kind(self) -> str:
        return KIND

    def options(self) -> dict[str, str | list[str]]:
        """What is stored of it, and what `parse` reads."""
        return {"path": str(self.path), "exclude": list(self.exclude)}


@dataclass(frozen=True)
class DirectoryFound:
    """What the look at adding time found."""

    path: Path  # with links resolved; this is what is read


def parse(options: Mapping[str, object]) -> Directory:
    """`path` (absolute) and `exclude` (a list of patterns). Looks at no file."""
    reject_unknown(options, known=("path", "exclude"), kind=KIND)
    path = text_of(options, "path")
    if not path.startswith("/") or "\0" in path:
        raise BadValue(f"--path {path!r} is not absolute. Write the folder from / on.")
    patterns = texts_of(options, "exclude")
    for pattern in patterns:
        if not pattern or any(sign in pattern for sign in "\0\n\r"):
            raise BadValue(f"--exclude {pattern!r} is empty or holds a line break.")
    return Directory(Path(os.path.normpath(path)), patterns)


def require_elsewhere(folder: Path, own: Sequence[Path]) -> None:
    """Raises Refused when a resolved folder holds, or lies in, one of the platform's own."""
    for each in map(resolved, own):
        if overlap(folder, each):
            raise Refused(
                f"{folder} overlaps with the platform's own folder {each}: a backup would hold "
                "other tenants' keys and data. Choose another folder.",
                code="source-in-home",
                folder=str(folder),
            )


def check(source: Directory, *, home: Path, folder: Path | None = None) -> DirectoryFound:
    """Raises unless it is a readable folder that neither holds nor lies in the platform's home.

    `folder` is the one that was checked against the allow-list; without it the path is resolved.
    """
    path = folder or resolved(source.path)
    require_elsewhere(path, [home])
    if not path.exists():
        raise NotFound(f"There is no folder {source.path}. Check --path.", code="folder-missing")
    if not path.is_dir():
        raise BadValue(
            f"{source.path} is no folder. Name the folder it lies in.", code="not-a-folder"
        )
    try:
        with walk.opened(path) as descriptor, os.scandir(descriptor) as entries:
            next(entries, None)
    except OSError as error:
        raise MayNotRead(
            f"{source.path} cannot be read: {error.strerror}. Let the platform's account read it.",
            folder=str(path),
        ) from error
    return DirectoryFound(path)
