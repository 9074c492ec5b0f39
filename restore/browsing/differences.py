"""What differs between two points of a source: how many entries, and which.

An entry that was gone in between and came again counts as changed; so does one that was changed
and changed back. What the points themselves have is compared, not what lies between them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, null, select, true, tuple_
from sqlalchemy.orm import Session, aliased

from backup.catalogue import CataloguePath, CatalogueVersion, name_in
from restore.browsing import cursors, errors, parts
from restore.browsing.parts import Part
from restore.browsing.shown import Shown, shown

PAGE = 100
MOST_COUNTED = 10_000  # of each kind; more are "more than"


class Change(enum.StrEnum):
    """What became of an entry."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True)
class Counts:
    """Entries, folders among them; MOST_COUNTED + 1 stands for more than MOST_COUNTED."""

    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class State:
    """An entry at one of the two points."""

    kind: str
    size: int  # bytes; of a table, rows
    changed_at: datetime | None


@dataclass(frozen=True)
class Difference:
    """One entry that differs."""

    path: str
    name: Shown
    folder: Shown
    change: Change
    before: State | None
    after: State | None
    since: int  # number of the point that was the last to change it


@dataclass(frozen=True)
class Between:
    """Two points of a source, the earlier one first."""

    before: Part
    after: Part

    @property
    def numbers(self) -> tuple[int, int]:
        return self.before.point.number, self.after.point.number


@dataclass(frozen=True)
class Page:
    """Some of the entries that were changed in one way, in the order in which they were."""

    items: Sequence[Difference]
    next: str | None


def between(session: Session, source: UUID, numbers: tuple[int, int]) -> Between:
    """In either order. Raises NotFound and NotListedYet, as browsing does."""
    first, second = (parts.part(session, source, number) for number in sorted(numbers))
    return Between(first, second)


def counts(session: Session, two: Between) -> Counts:
    added, changed = _added_count(session, two), _changed_count(session, two)
    removed, back = _removed(session, two)
    return Counts(
        added=added if added > MOST_COUNTED else added - back,
        removed=removed,
        changed=min(changed + back, MOST_COUNTED + 1),
    )


def entries(
    session: Session, two: Between, change: Change, *, after: str | None = None, most: int = PAGE
) -> Page:
    """Those that were changed in one way. Raises BadCursor."""
    most = max(1, min(most, 1000))
    mark = None if after is None else _read(after)
    rows: list[Any] = []
    for number, way in enumerate(_WAYS[change]):
        if mark is not None and number != mark.way:
            continue
        found = _some(session, way, two, mark, most + 1 - len(rows))
        rows += [(number, row) for row in found]
        if len(rows) > most:
            break
        mark = None
    following = None
    if len(rows) > most:
        number, last = rows[most - 1]
        following = cursors.written(number, last.at, str(last.id))
    return Page([_difference(change, row) for _, row in rows[:most]], following)


def _some(session: Session, way: Way, two: Between, mark: _Mark | None, most: int) -> list[Any]:
    """The next ones. What is another kind of change after all is left out here: were it in the
    statement, the planner would expect it of nearly all, and read everything."""
    rows: list[Any] = []
    while True:
        found = session.execute(way(two, mark).limit(most)).all()
        rows += [row for row in found if not row.left_out]
        if len(found) < most or len(rows) >= most:
            return rows[:most]
        mark = _Mark(0, found[-1].at, found[-1].id)


def _added_count(session: Session, two: Between) -> int:
    """Lives that began after the first point, and that the second one has."""
    order = (CataloguePath.since.desc(), CataloguePath.id.desc())
    some = select(CataloguePath.id).where(*_begun(two)).order_by(*order).limit(MOST_COUNTED + 1)
    return session.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def _changed_count(session: Session, two: Between) -> int:
    """Versions of older lives that the second point has and the first has not."""
    some = (
        select(CatalogueVersion.born)
        .where(*_later(two))
        .order_by(*_LATEST_FIRST)
        .limit(MOST_COUNTED + 1)
    )
    return session.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def _removed(session: Session, two: Between) -> tuple[int, int]:
    """Paths that are gone; and those that were gone and came again."""
    some = (
        select(_back(two).label("back"))
        .where(*_ended(two))
        .order_by(CataloguePath.until, CataloguePath.id)
        .limit(MOST_COUNTED + 1)
        .subquery()
    )
    row = session.execute(select(func.count() - func.count(some.c.back), func.count(some.c.back)))
    gone, back = row.one()
    return gone, back


# What changed last is likely to be what the second point has; what is older was often changed again.
_LATEST_FIRST = (CatalogueVersion.since.desc(), CatalogueVersion.path_id.desc())


def _later(two: Between) -> tuple[ColumnElement[bool], ...]:
    first, second = two.numbers
    return (
        CatalogueVersion.source_id == two.before.source,
        CatalogueVersion.since > first,
        CatalogueVersion.since <= second,
        CatalogueVersion.ends > second,
        CatalogueVersion.born <= first,
    )


def _begun(two: Between) -> tuple[ColumnElement[bool], ...]:
    first, second = two.numbers
    return (
        CataloguePath.source_id == two.before.source,
        CataloguePath.since > first,
        CataloguePath.since <= second,
        CataloguePath.ends > second,
    )


def _ended(two: Between) -> tuple[ColumnElement[bool], ...]:
    first, second = two.numbers
    return (
        CataloguePath.source_id == two.before.source,
        CataloguePath.until > first,
        CataloguePath.until <= second,
        CataloguePath.since <= first,
    )


def _back(two: Between) -> Any:
    """True where the path lives again at the second point, else null. Looked up one by one: with
    a limit, the planner does not read all paths for it."""
    first, second = two.numbers
    again = aliased(CataloguePath)
    return (
        select(true())
        .where(
            again.path_key == CataloguePath.path_key,
            again.since > first,
            again.since <= second,
            again.ends > second,
        )
        .limit(1)
        .scalar_subquery()
    )


def _was_there(two: Between) -> Any:
    """True where the path lived at the first point, in an earlier life, else null."""
    first, _ = two.numbers
    before = aliased(CataloguePath)
    return (
        select(true())
        .where(
            before.path_key == CataloguePath.path_key, before.since <= first, before.ends > first
        )
        .limit(1)
        .scalar_subquery()
    )


@dataclass(frozen=True)
class _Mark:
    way: int
    at: int
    id: UUID


def _read(cursor: str) -> _Mark:
    way, at, id = cursors.read(cursor, (int, int, str))
    try:
        return _Mark(way, max(-1, min(at, 2**31 - 1)), UUID(id))
    except ValueError:
        raise errors.bad_cursor() from None


def _of_versions(rows: Select[Any], mark: _Mark | None) -> Select[Any]:
    if mark is not None:
        key = tuple_(CatalogueVersion.since, CatalogueVersion.path_id)
        rows = rows.where(key < tuple_(mark.at, mark.id))
    return rows.order_by(*_LATEST_FIRST)


def _of_paths(rows: Select[Any], mark: _Mark | None) -> Select[Any]:
    if mark is not None:
        key = tuple_(CataloguePath.until, CataloguePath.id)
        rows = rows.where(key > tuple_(mark.at, mark.id))
    return rows.order_by(CataloguePath.until, CataloguePath.id)


def _added(two: Between, mark: _Mark | None) -> Select[Any]:
    _, second = two.numbers
    new = _state_at(CataloguePath.tenant_id, CataloguePath.id, second, "new")
    rows = (
        select(*_PATH, CataloguePath.id, CataloguePath.since.label("at"))
        .add_columns(*_state(new.c, "after"), new.c.since.label("now"))
        .join(new, true())
        .add_columns(_was_there(two).label("left_out"))
        .where(*_begun(two))
    )
    key = (CataloguePath.since, CataloguePath.id)
    if mark is not None:
        rows = rows.where(tuple_(*key) < tuple_(mark.at, mark.id))
    return rows.order_by(*(each.desc() for each in key))


def _changed(two: Between, mark: _Mark | None) -> Select[Any]:
    first, _ = two.numbers
    old = _state_at(CatalogueVersion.tenant_id, CatalogueVersion.path_id, first, "old")
    rows = (
        select(*_PATH, CatalogueVersion.path_id.label("id"), CatalogueVersion.since.label("at"))
        .add_columns(*_state(CatalogueVersion, "after"), *_state(old.c, "before"), _KEPT)
        .join(CataloguePath, CataloguePath.id == CatalogueVersion.path_id)
        .join(old, true())
        .where(*_later(two))
    )
    return _of_versions(rows, mark)


def _came_again(two: Between, mark: _Mark | None) -> Select[Any]:
    first, second = two.numbers
    again = aliased(CataloguePath)
    old = _state_at(CataloguePath.tenant_id, CataloguePath.id, first, "old")
    new = _state_at(again.tenant_id, again.id, second, "new")
    rows = (
        select(*_PATH, CataloguePath.id, again.since.label("now"))
        .add_columns(CataloguePath.until.label("at"))
        .add_columns(*_state(new.c, "after"), *_state(old.c, "before"), _KEPT)
        .join(
            again,
            and_(
                again.path_key == CataloguePath.path_key,
                again.since > first,
                again.since <= second,
                again.ends > second,
            ),
        )
        .join(old, true())
        .join(new, true())
        .where(*_ended(two))
    )
    return _of_paths(rows, mark)


def _gone(two: Between, mark: _Mark | None) -> Select[Any]:
    old = _state_at(CataloguePath.tenant_id, CataloguePath.id, two.numbers[0], "old")
    rows = (
        select(*_PATH, CataloguePath.id, CataloguePath.until.label("at"))
        .add_columns(*_state(old.c, "before"))
        .join(old, true())
        .add_columns(_back(two).label("left_out"))
        .where(*_ended(two))
    )
    return _of_paths(rows, mark)


_PATH = (CataloguePath.path, CataloguePath.parent)
_KEPT = null().label("left_out")
Way = Callable[[Between, _Mark | None], Select[Any]]
_WAYS: Mapping[Change, tuple[Way, ...]] = {
    Change.ADDED: (_added,),
    Change.REMOVED: (_gone,),
    Change.CHANGED: (_changed, _came_again),
}


def _state_at(tenant: Any, path: Any, number: int, name: str) -> Any:
    """The version that a path has at a point."""
    version = aliased(CatalogueVersion)
    return (
        select(version.kind, version.size, version.changed_at, version.since)
        .where(version.tenant_id == tenant, version.path_id == path, version.since <= number)
        .order_by(version.since.desc())
        .limit(1)
        .lateral(name)
    )


def _state(version: Any, name: str) -> tuple[ColumnElement[Any], ...]:
    return (
        version.kind.label(f"{name}_kind"),
        version.size.label(f"{name}_size"),
        version.changed_at.label(f"{name}_at"),
    )


def _difference(change: Change, row: Any) -> Difference:
    def state(name: str) -> State | None:
        if not hasattr(row, f"{name}_kind"):
            return None
        values = (getattr(row, f"{name}_{each}") for each in ("kind", "size", "at"))
        return State(*values)

    return Difference(
        path=row.path,
        name=shown(name_in(row.path, row.parent)),
        folder=shown(row.parent),
        change=change,
        before=state("before"),
        after=state("after"),
        since=getattr(row, "now", row.at),
    )
