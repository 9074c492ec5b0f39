"""What somebody asks of a restore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from restore.states import Destination


@dataclass(frozen=True)
class Wish:
    """What somebody wants back."""

    point: UUID
    source: UUID
    destination: Destination
    target: Path | None = None  # for Destination.FOLDER
    paths: tuple[str, ...] = ()  # of a folder; empty: everything
    tables: tuple[str, ...] = ()  # "schema.table" of a database; empty: everything
    dry_run: bool = False
    undoes: UUID | None = None
    plan: UUID | None = None  # the dry run that was confirmed
    reason: str | None = None  # why, in the words of who asks
