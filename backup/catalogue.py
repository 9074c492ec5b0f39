"""What is in each point, for browsing: path rows, and version rows with a validity over numbers.

A path that does not change costs nothing for a new point: its version row simply stays open. The
points of a tenant are numbered; a version is valid from `since` up to, not including, `until`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Computed, Index, UniqueConstraint, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom.db import Base, OfTenant, refers


class CataloguePath(OfTenant, Base):
    """One path of one source that some point has, or had."""

    __tablename__ = "catalogue_paths"
    __constraints__ = (
        refers("source_id", "sources"),
        UniqueConstraint("tenant_id", "source_id", "path_key"),
        Index(None, "tenant_id", "source_id", "parent_key"),
    )

    source_id: Mapped[uuid.UUID]
    path: Mapped[str]
    parent: Mapped[str]
    # A path may be longer than an index takes; its digest stands for it within the source.
    path_key: Mapped[str] = mapped_column(Computed("md5(path)", persisted=True))
    parent_key: Mapped[str] = mapped_column(Computed("md5(parent)", persisted=True))


class CatalogueVersion(OfTenant, Base):
    """One state of a path, over a range of point numbers."""

    __tablename__ = "catalogue_versions"
    __constraints__ = (
        refers("path_id", "catalogue_paths"),
        UniqueConstraint("tenant_id", "path_id", "since"),
    )

    path_id: Mapped[uuid.UUID]
    since: Mapped[int]
    until: Mapped[int | None]
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


_DRAFT = """
create temporary table catalogue_draft (
    path text not null, kind text not null, size bigint not null,
    changed_at timestamptz, content text not null
) on commit drop
"""
_PATHS = """
insert into catalogue_paths (id, tenant_id, source_id, path, parent)
select uuidv7(), :tenant, :source, d.path,
       coalesce(nullif(regexp_replace(d.path, '/[^/]*$', ''), ''), '/')
from catalogue_draft d
on conflict (tenant_id, source_id, path_key) do nothing
"""
_CLOSE = """
update catalogue_versions v set until = :number
from catalogue_paths p
where p.tenant_id = :tenant and p.source_id = :source
  and v.tenant_id = p.tenant_id and v.path_id = p.id and v.until is null and v.since < :number
  and not exists (
    select from catalogue_draft d
    where d.path = p.path and d.kind = v.kind and d.size = v.size and d.content = v.content)
"""
_OPEN = """
insert into catalogue_versions
    (id, tenant_id, path_id, since, until, kind, size, changed_at, content)
select uuidv7(), :tenant, p.id, :number, null, d.kind, d.size, d.changed_at, d.content
from catalogue_draft d
join catalogue_paths p
  on p.tenant_id = :tenant and p.source_id = :source and p.path_key = md5(d.path)
where not exists (
    select from catalogue_versions v
    where v.tenant_id = p.tenant_id and v.path_id = p.id and v.until is null)
on conflict (tenant_id, path_id, since) do nothing
"""


Add = Callable[[Entry], None]


@contextmanager
def recording(session: Session, source: uuid.UUID, number: int) -> Iterator[Add]:
    """Takes every entry of the source at point `number`; writes what changed at the end.

    Points of a source are recorded in the order of their numbers. The same again changes nothing.
    Names that are not UTF-8 come alike from restic's listing; one entry stands for all of them.
    """
    session.execute(text("drop table if exists catalogue_draft"))
    session.execute(text(_DRAFT))
    driver = session.connection().connection.driver_connection
    assert driver is not None
    with driver.cursor().copy(
        "copy catalogue_draft (path, kind, size, changed_at, content) from stdin"
    ) as copy:

        def add(entry: Entry) -> None:
            copy.write_row((entry.path, entry.kind, entry.size, entry.changed_at, entry.content))

        yield add
    about = {"tenant": session.info["tenant"], "source": source, "number": number}
    for statement in (_PATHS, _CLOSE, _OPEN):
        session.execute(text(statement), about)
    session.execute(text("drop table catalogue_draft"))


def browse(session: Session, source: uuid.UUID, number: int, folder: str) -> Iterator[Entry]:
    """What lies directly in a folder at point `number`, by path."""
    rows = session.execute(
        select(CataloguePath.path, CatalogueVersion)
        .join(CatalogueVersion, CatalogueVersion.path_id == CataloguePath.id)
        .where(
            CataloguePath.source_id == source,
            CataloguePath.parent_key == func.md5(folder),
            CataloguePath.path != folder,
            CatalogueVersion.since <= number,
            (CatalogueVersion.until.is_(None)) | (CatalogueVersion.until > number),
        )
        .order_by(CataloguePath.path)
    )
    for path, version in rows:
        yield Entry(path, version.kind, version.size, version.changed_at, version.content)
