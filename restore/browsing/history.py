"""One file or table through all points: each state it had, and which points still have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.catalogue import CataloguePath, CatalogueVersion, key_of, name_in
from restore.browsing import cursors, errors, parts
from restore.browsing.parts import Line, Ref
from restore.browsing.shown import Shown, shown

PAGE = 100


@dataclass(frozen=True)
class State:
    """One state of a path."""

    kind: str
    size: int  # bytes; of a table, rows
    changed_at: datetime | None
    since: int  # number of the point that had it first, even if that one is gone
    until: int | None  # of the first one that no longer had it
    points: Sequence[Ref]  # that still stand and have it, oldest first; empty: nothing to restore
    followed: bool  # another state took its place; False: the path was gone then, or it is now


@dataclass(frozen=True)
class History:
    """A path, its states newest first."""

    source: UUID
    source_name: str
    source_kind: str
    path: str
    name: Shown
    folder: Shown
    states: Sequence[State]
    gone: bool  # the newest point of the source does not have it
    next: str | None


def of_path(
    session: Session, source: UUID, path: str, *, after: str | None = None, most: int = PAGE
) -> History:
    """Raises NotFound for a path that no point has or had, or a source that is another's."""
    line = parts.line(session, source)
    below = None if after is None else cursors.read(after, (int,))[0]
    most = max(1, min(most, 1000))
    wanted = (
        select(CatalogueVersion, CataloguePath.path, CataloguePath.parent)
        .join(CataloguePath, CataloguePath.id == CatalogueVersion.path_id)
        .where(CataloguePath.path_key == key_of(source, path))
        .order_by(CatalogueVersion.since.desc())
        .limit(most + 1)
    )
    if below is not None:
        wanted = wanted.where(CatalogueVersion.since < below)
    rows = session.execute(wanted).all()
    if not rows:
        raise errors.no_path()
    versions = [row.CatalogueVersion for row in rows[:most]]
    parent = rows[0].parent
    return History(
        source=source,
        source_name=line.name,
        source_kind=line.kind,
        path=rows[0].path,
        name=shown(name_in(rows[0].path, parent)),
        folder=shown(parent),
        states=_states(line, versions, below),
        gone=_is_gone(session, line, source, path),
        next=cursors.written(versions[-1].since) if len(rows) > most else None,
    )


def _states(line: Line, versions: Sequence[CatalogueVersion], below: int | None) -> list[State]:
    later = below
    found = []
    for each in versions:
        points = line.within(each.since, each.until)
        followed = each.until is not None and each.until == later
        state = (each.kind, each.size, each.changed_at, each.since, each.until)
        found.append(State(*state, points, followed))
        later = each.since
    return found


def _is_gone(session: Session, line: Line, source: UUID, path: str) -> bool:
    if line.newest is None:
        return True
    there = select(CataloguePath.id).where(
        CataloguePath.path_key == key_of(source, path),
        CataloguePath.since <= line.newest.number,
        CataloguePath.ends > line.newest.number,
    )
    return session.execute(there.limit(1)).first() is None
