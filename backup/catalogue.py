"""What is in each point, for browsing: paths with their lives, and versions, over point numbers.

The points of a tenant are numbered. A path row is one *life* of a path: from the point in which it
appeared, `since`, up to, not including, the one in which it was gone, `until`. A version is one
state of it, over a range within that life. So a path that does not change costs nothing for a new
point, and what a point has is found by its number alone. `docs/decisions/browsing.md` says what
each index is there for.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Computed, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from backup import names
from strongroom.db import Base, OfTenant, refers

FOLDER = "dir"
TABLE = "table"
OPEN = 2**31 - 1  # `ends` of what has no end yet
_ENDS = f"coalesce(until, {OPEN})"


class CataloguePath(OfTenant, Base):
    """One life of one path of one source."""

    __tablename__ = "catalogue_paths"
    __constraints__ = (
        refers("source_id", "sources"),
        UniqueConstraint("tenant_id", "path_key", "since"),
        UniqueConstraint("tenant_id", "source_id", "place"),
        Index(
            "ix_catalogue_paths_children",
            *("tenant_id", "parent_key", "folder", "folded", "id", "since", "ends"),
        ),
        Index("ix_catalogue_paths_begun", *("tenant_id", "source_id", "since", "id", "ends")),
        Index(
            "ix_catalogue_paths_gone",
            *("tenant_id", "source_id", "until", "id", "since"),
            postgresql_where="until is not null",
        ),
    )

    source_id: Mapped[uuid.UUID]
    path: Mapped[str]
    parent: Mapped[str]
    # A path may be longer than an index takes; digests stand for it, the source in them.
    path_key: Mapped[uuid.UUID] = mapped_column(
        Computed("md5(source_id::text || path)::uuid", persisted=True)
    )
    parent_key: Mapped[uuid.UUID] = mapped_column(
        Computed("md5(source_id::text || parent)::uuid", persisted=True)
    )
    folded: Mapped[str] = mapped_column(String(collation="C"))  # names.folded: to sort and search
    folder: Mapped[bool]  # a folder that becomes a file is gone, and the file is new
    place: Mapped[int]  # counts the paths of a source as they come, for the index of names
    since: Mapped[int]
    until: Mapped[int | None]
    ends: Mapped[int] = mapped_column(Computed(_ENDS, persisted=True))


class CatalogueVersion(OfTenant, Base):
    """One state of a path, over a range of point numbers."""

    __tablename__ = "catalogue_versions"
    __constraints__ = (
        refers("path_id", "catalogue_paths"),
        UniqueConstraint("tenant_id", "path_id", "since"),
        Index(
            "ix_catalogue_versions_changes",
            *("tenant_id", "source_id", "since", "path_id", "ends", "born"),
        ),
        Index(
            "ix_catalogue_versions_sizes",
            *("parent_key", "size", "path_id", "since", "ends"),
            postgresql_where="kind <> 'dir'",
        ),
        Index(
            "ix_catalogue_versions_times",
            *("parent_key", "changed_at", "path_id", "since", "ends"),
            postgresql_where="changed_at is not null",
        ),
    )

    source_id: Mapped[uuid.UUID]  # this and the next two as the path has them
    parent_key: Mapped[uuid.UUID]
    born: Mapped[int]  # since when the path lives
    path_id: Mapped[uuid.UUID]
    since: Mapped[int]
    until: Mapped[int | None]
    ends: Mapped[int] = mapped_column(Computed(_ENDS, persisted=True))
    kind: Mapped[str]  # "file", "dir", "symlink", "table"
    size: Mapped[int] = mapped_column(BigInteger)  # bytes; of a table, rows
    changed_at: Mapped[datetime | None]
    content: Mapped[str]  # tells two states apart


@dataclass(frozen=True)
class Entry:
    """One path as a point has it."""

    path: str  # absolute within the source, "/" first
    kind: str
    size: int
    changed_at: datetime | None
    content: str
    parent: str | None = None  # where the name itself has a slash, as a table's may


@dataclass(frozen=True)
class Changes:
    """What a point has against the one before it; a folder counts as one entry."""

    added: int
    removed: int
    changed: int


def key_of(source: uuid.UUID, path: str) -> uuid.UUID:
    """As `path_key` and `parent_key` have it; a path that no source can have has a key too."""
    digest = hashlib.md5(f"{source}{path}".encode(errors="replace"), usedforsecurity=False)
    return uuid.UUID(bytes=digest.digest())


def folder_of(path: str) -> str:
    """The folder that a path lies in."""
    return path.rpartition("/")[0] or "/"


_DRAFT = """
create temporary table catalogue_draft (
    path text not null, parent text not null, folded text collate "C" not null,
    folder boolean not null, kind text not null, size bigint not null,
    changed_at timestamptz, content text not null,
    key uuid generated always as (md5('{source}' || path)::uuid) stored
) on commit drop
"""
_COPY = """
copy catalogue_draft (path, parent, folded, folder, kind, size, changed_at, content) from stdin
"""
_GONE = """
update catalogue_paths p set until = :number
where p.tenant_id = :tenant and p.source_id = :source and p.until is null and p.since < :number
  and not exists (
    select from catalogue_draft d where d.key = p.path_key and d.folder = p.folder)
"""
_CLOSE = """
update catalogue_versions v set until = :number
from catalogue_paths p
where p.tenant_id = :tenant and p.source_id = :source and p.ends >= :number
  and v.tenant_id = p.tenant_id and v.path_id = p.id and v.until is null and v.since < :number
  and not exists (
    select from catalogue_draft d
    where d.key = p.path_key and d.kind = v.kind and d.size = v.size and d.content = v.content)
"""
_BORN = """
insert into catalogue_paths
    (id, tenant_id, source_id, path, parent, folded, folder, place, since)
select uuidv7(), :tenant, :source, n.path, n.parent, n.folded, n.folder,
       :last + row_number() over (order by n.path collate "C"), :number
from (
    select distinct on (d.key) d.path, d.parent, d.folded, d.folder
    from catalogue_draft d
    where not exists (
        select from catalogue_paths p
        where p.tenant_id = :tenant and p.source_id = :source
          and p.path_key = d.key and p.until is null)
    order by d.key, d.folder desc
) n
on conflict (tenant_id, path_key, since) do nothing
"""
_OPENED = """
insert into catalogue_versions
    (id, tenant_id, source_id, path_id, parent_key, born, since, kind, size, changed_at, content)
select distinct on (p.id) uuidv7(), :tenant, :source, p.id, p.parent_key, p.since, :number,
       d.kind, d.size, d.changed_at, d.content
from catalogue_draft d
join catalogue_paths p
  on p.tenant_id = :tenant and p.source_id = :source and p.path_key = d.key
 and p.folder = d.folder and p.until is null
where not exists (
    select from catalogue_versions v
    where v.tenant_id = p.tenant_id and v.path_id = p.id and v.until is null)
order by p.id
on conflict (tenant_id, path_id, since) do nothing
"""
_LAST_PLACE = """
select coalesce(max(place), -1) from catalogue_paths
where tenant_id = :tenant and source_id = :source
"""

Add = Callable[[Entry], None]


class Recording:
    """What a point has of a source, entry by entry; `changes` is there at the end."""

    def __init__(self, add: Add) -> None:
        self.add = add
        self.changes = Changes(0, 0, 0)


@contextmanager
def recording(session: Session, source: uuid.UUID, number: int) -> Iterator[Recording]:
    """Takes every entry of the source at point `number`; writes what changed at the end.

    Points of a source are recorded in the order of their numbers, one at a time. The same again
    changes nothing. Names that are not UTF-8 come alike from restic's listing; one entry stands
    for all of them.
    """
    session.execute(text("drop table if exists catalogue_draft"))
    session.execute(text(_DRAFT.format(source=source)))
    driver = session.connection().connection.driver_connection
    assert driver is not None
    with driver.cursor().copy(_COPY) as copy:
        recorded = Recording(lambda entry: copy.write_row(_drafted(entry)))
        yield recorded
    session.execute(text("analyze catalogue_draft"))
    recorded.changes = _write(session, source, number)
    session.execute(text("drop table catalogue_draft"))


def _drafted(entry: Entry) -> tuple[object, ...]:
    parent = entry.parent or folder_of(entry.path)
    return (
        *(entry.path, parent, names.folded(name_in(entry.path, parent)), entry.kind == FOLDER),
        *(entry.kind, entry.size, entry.changed_at, entry.content),
    )


def name_in(path: str, parent: str) -> str:
    """The last part of a path; "/" is its own."""
    return path[len(parent.rstrip("/")) + 1 :] or path


def _write(session: Session, source: uuid.UUID, number: int) -> Changes:
    about = {"tenant": session.info["tenant"], "source": source, "number": number}
    last = session.execute(text(_LAST_PLACE), about).scalar_one()

    def rows(statement: str) -> int:
        return session.connection().execute(text(statement), {**about, "last": last}).rowcount

    removed, closed = rows(_GONE), rows(_CLOSE)
    added = rows(_BORN)
    rows(_OPENED)
    if added:
        names.note(session, source, after=last)
    return Changes(added=added, removed=removed, changed=max(0, closed - removed))
