"""What lies in a folder of a point, a page at a time, whatever there is in it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, true, tuple_
from sqlalchemy.orm import Session

from backup.catalogue import FOLDER, CataloguePath, CatalogueVersion, folder_of, key_of, name_in
from backup.sources import directory
from restore.browsing import cursors, errors, parts
from restore.browsing.errors import BadCursor
from restore.browsing.parts import Part
from restore.browsing.shown import Shown, shown

PAGE = 200
MOST_COUNTED = 200_000  # more entries than that are "more than"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Sort(enum.StrEnum):
    """Folders come first, by name, in each of them."""

    NAME = "name"
    SIZE = "size"
    TIME = "time"


@dataclass(frozen=True)
class View:
    """How somebody looks at a folder."""

    sort: Sort = Sort.NAME
    descending: bool = False
    after: str | None = None  # Listing.next of the page before
    most: int = PAGE


@dataclass(frozen=True)
class Item:
    """One entry of a folder."""

    path: str  # to ask on with, and to restore
    name: Shown
    kind: str  # "dir" (also a schema), "file", "symlink", "table", ...
    size: int  # bytes; of a table, rows
    changed_at: datetime | None
    since: int  # number of the point from which on it is as it is here


@dataclass(frozen=True)
class Crumb:
    """A folder above, from the root on."""

    path: str
    name: Shown


@dataclass(frozen=True)
class Listing:
    """One page of a folder."""

    part: Part
    crumbs: Sequence[Crumb]  # the last one is the folder itself
    items: Sequence[Item]
    folders: int
    others: int
    more_than: bool  # there is still more than was counted
    next: str | None


def browse(session: Session, source: UUID, number: int, folder: str, view: View) -> Listing:
    """Raises NotFound for what is not there or another's, NotListedYet, BadCursor."""
    part = parts.part(session, source, number)
    if view.sort is Sort.TIME and part.source_kind != directory.KIND:
        view = replace(view, sort=Sort.NAME)  # nobody knows when a table changed
    return _Look(session, part, "/" + folder.strip("/"), view).listing()


@dataclass(frozen=True)
class _Look:
    session: Session
    part: Part
    folder: str
    view: View

    @property
    def number(self) -> int:
        return self.part.point.number

    def listing(self) -> Listing:
        rows, following = self._page()
        folders, others, more = self._counts()
        if not rows and self.folder != "/" and not self._is_there():
            raise errors.no_path()
        return Listing(
            part=self.part,
            crumbs=crumbs(self.folder),
            items=[_item(row) for row in rows],
            folders=folders,
            others=others,
            more_than=more,
            next=following,
        )

    def _page(self) -> tuple[list[Any], str | None]:
        """Folders first; then the others go on where they end."""
        most = max(1, min(self.view.most, 1000))
        rows: list[Any] = []
        mark = _Mark.read(self.view)
        if not mark.past_folders:
            rows += self.session.execute(self._named(True, mark).limit(most + 1))
        if len(rows) <= most:
            others = self._others(_Mark.read(self.view) if mark.past_folders else _Mark())
            rows += self.session.execute(others.limit(most + 1 - len(rows)))
        if len(rows) <= most:
            return rows, None
        return rows[:most], _Mark.of(rows[most - 1], self._sort(rows[most - 1]))

    def _sort(self, row: Any) -> Sort:
        return Sort.NAME if row.kind == FOLDER else self.view.sort

    def _others(self, mark: _Mark) -> Select[Any]:
        if self.view.sort is Sort.NAME:
            return self._named(False, mark)
        return self._ordered(mark)

    def _named(self, folder: bool, mark: _Mark) -> Select[Any]:
        """By way of the paths, in the order of their names."""
        version = (
            select(CatalogueVersion)
            .where(
                CatalogueVersion.tenant_id == CataloguePath.tenant_id,
                CatalogueVersion.path_id == CataloguePath.id,
                CatalogueVersion.since <= self.number,
            )
            .order_by(CatalogueVersion.since.desc())
            .limit(1)
            .lateral("version")
        )
        here = select(*_PATH, *_columns(version.c)).join(version, true())
        order = (CataloguePath.folded, CataloguePath.id)
        backwards = self.view.descending and self.view.sort is Sort.NAME
        return _paged(
            here.where(
                *self._alive(CataloguePath), CataloguePath.folder.is_(true() if folder else False)
            ),
            order,
            mark,
            descending=backwards,
        )

    def _ordered(self, mark: _Mark) -> Select[Any]:
        """By way of the versions, in the order of their sizes or times."""
        version = CatalogueVersion
        here = (
            select(*_PATH, *_columns(version))
            .join(CataloguePath, CataloguePath.id == version.path_id)
            .where(*self._alive(version))
        )
        by: Any = version.size
        if self.view.sort is Sort.SIZE:
            here = here.where(version.kind != FOLDER)
        else:
            here, by = here.where(version.changed_at.is_not(None)), version.changed_at
        return _paged(here, (by, version.path_id), mark, descending=self.view.descending)

    def _alive(self, kind: type[CataloguePath | CatalogueVersion]) -> tuple[Any, ...]:
        return (
            kind.parent_key == key_of(self.part.source, self.folder),
            kind.since <= self.number,
            kind.ends > self.number,
        )

    def _counts(self) -> tuple[int, int, bool]:
        """Exact up to MOST_COUNTED, from the index alone."""
        some = select(CataloguePath.folder).where(*self._alive(CataloguePath))
        first = some.limit(MOST_COUNTED + 1).subquery()
        rows = self.session.execute(
            select(first.c.folder, func.count().label("there")).group_by(first.c.folder)
        )
        counts = {row.folder: row.there for row in rows}
        folders, others = counts.get(True, 0), counts.get(False, 0)
        return folders, others, folders + others > MOST_COUNTED

    def _is_there(self) -> bool:
        """An empty folder."""
        found = select(CataloguePath.id).where(
            CataloguePath.path_key == key_of(self.part.source, self.folder),
            CataloguePath.folder,
            CataloguePath.since <= self.number,
            CataloguePath.ends > self.number,
        )
        return self.session.execute(found.limit(1)).first() is not None


_PATH = (CataloguePath.id, CataloguePath.path, CataloguePath.parent, CataloguePath.folded)


def _columns(version: Any) -> tuple[ColumnElement[Any], ...]:
    return (version.kind, version.size, version.changed_at, version.since)


@dataclass(frozen=True)
class _Mark:
    """Where a page goes on: after this value and id."""

    value: Any = None
    id: UUID | None = None
    past_folders: bool = False

    @classmethod
    def of(cls, row: Any, sort: Sort) -> str:
        value: str | int = row.folded
        if sort is Sort.SIZE:
            value = row.size
        elif sort is Sort.TIME:
            value = (row.changed_at - EPOCH) // timedelta(microseconds=1)
        return cursors.written(row.kind != FOLDER, value, str(row.id))

    @classmethod
    def read(cls, view: View) -> _Mark:
        if view.after is None:
            return cls()
        try:
            past, value, id = cursors.read(view.after, (bool, str, str))
        except BadCursor:
            past, value, id = cursors.read(view.after, (bool, int, str))
        numbers = past and view.sort is not Sort.NAME
        try:
            if isinstance(value, int) is not numbers:
                raise ValueError(value)
            if past and view.sort is Sort.TIME:
                value = EPOCH + timedelta(microseconds=value)
            return cls(value, UUID(id), past)
        except (ValueError, OverflowError):
            raise errors.bad_cursor() from None


def _paged(
    rows: Select[Any], order: tuple[Any, Any], mark: _Mark, *, descending: bool
) -> Select[Any]:
    key = tuple_(*order)
    if mark.id is not None:
        there = tuple_(mark.value, mark.id)
        rows = rows.where(key < there if descending else key > there)
    return rows.order_by(*(each.desc() if descending else each.asc() for each in order))


def crumbs(folder: str) -> list[Crumb]:
    """The way from the root to a folder, with both."""
    found = []
    while folder != "/":
        above = folder_of(folder)
        found.append(Crumb(folder, shown(name_in(folder, above))))
        folder = above
    found.append(Crumb("/", shown("/")))
    return found[::-1]


def _item(row: Any) -> Item:
    return Item(
        path=row.path,
        name=shown(name_in(row.path, row.parent)),
        kind=row.kind,
        size=row.size,
        changed_at=row.changed_at,
        since=row.since,
    )
