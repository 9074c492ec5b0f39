"""What a tenant may name as a source: the operator's list of folders and hosts.

A list that is missing allows nothing. A root is the folder as it was resolved when it came on the
list, and is never resolved again: whoever owns the folder above may replace it by a link, and the
link's end was allowed by nobody. What is asked for is resolved each time, and compared by whole
names (`/srv/acme` does not cover `/srv/acme-old`). No two tenants' folders may overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from uuid import UUID

from strongroom.errors import BadValue, Refused
from strongroom.hosts import HostRule


@dataclass(frozen=True)
class Allowance:
    """One tenant's list."""

    roots: tuple[Path, ...] = ()  # folders, without links; what lies inside is covered too
    hosts: tuple[HostRule, ...] = ()


@dataclass(frozen=True)
class Overlap:
    """Two tenants who could read each other's files."""

    first: UUID
    second: UUID
    folders: tuple[Path, Path]  # the first's, the second's; equal or one inside the other


def allowed_folder(folder: Path, roots: Sequence[Path]) -> Path:
    """The folder with links resolved, to be opened by `walk`. Raises Refused when no root has it."""
    real = resolved(folder)
    if any(real.is_relative_to(root) for root in roots):
        return real
    for root in roots:
        if folder.is_relative_to(root) and resolved(root) != root:
            raise Refused(
                f"{root} was moved or replaced by a link since it came on the allow-list of this "
                f"tenant: it leads to {resolved(root)}. Put the folder back, or have an operator "
                "add the other one.",
                code="folder-not-allowed",
                folder=str(real),
            )
    raise Refused(
        f"{folder} (which is {real}) is not on the allow-list of this tenant. "
        "An operator can add the folder, or one above it.",
        code="folder-not-allowed",
        folder=str(real),
    )


def overlaps(roots: Mapping[UUID, Sequence[Path]]) -> list[Overlap]:
    """Every pair of folders of two tenants where one is, or lies in, the other.

    By the roots as they are listed: where one leads by now, nobody may read through it anyway.
    """
    return [
        Overlap(first, second, (one, other))
        for first, second in combinations(sorted(roots), 2)
        for one in roots[first]
        for other in roots[second]
        if overlap(one, other)
    ]


def overlap(one: Path, other: Path) -> bool:
    """Whether one of two resolved folders is, or lies in, the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def resolved(folder: Path) -> Path:
    """Links followed as far as the path exists; the rest is taken as it is written."""
    if not folder.is_absolute() or "\0" in str(folder):
        raise BadValue(f"{str(folder)!r} is no absolute path. Write it from / on.")
    try:
        return folder.resolve()
    except (OSError, RuntimeError) as error:
        raise BadValue(f"{folder} cannot be resolved: its links run in a circle.") from error
