"""Finding by name, in every point and every source at once, what is deleted too.

Which paths may match says the index of names (`backup.names`), which only knows where three letters
stand in a row; each is looked at before it is a hit. Hits come in the order in which their paths
came into being, the newest first, source by source.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, true
from sqlalchemy.orm import Session

from backup import names
from backup.catalogue import FOLDER, TABLE, CataloguePath, CatalogueVersion, name_in
from backup.names import SEGMENT, CatalogueGram
from restore.browsing import cursors, errors, parts
from restore.browsing.parts import Line, Ref
from restore.browsing.shown import Shown, shown

PAGE = 50
BATCH = 400  # paths that are looked at in one statement
SEGMENTS = 16  # whose lists are read in one statement
MOST_LOOKED_AT = 4000  # paths for one page; then it ends early and says where to go on
RAREST = 3  # lists that are held against each other
LONGEST = 200  # signs of what is searched for
LAST = 2**31 - 1


class Kind(enum.StrEnum):
    """What is looked for."""

    FILE = "file"  # and whatever else is no folder
    FOLDER = "folder"
    TABLE = "table"


@dataclass(frozen=True)
class Query:
    """What somebody looks for. Every word has to be in the name; `*` parts words."""

    text: str
    source: UUID | None = None
    kind: Kind | None = None
    first: date | None = None  # some point of these local days has it, both included
    last: date | None = None
    after: str | None = None
    most: int = PAGE


@dataclass(frozen=True)
class Span:
    """Points, one after another, that have a path."""

    since: Ref
    until: Ref  # the last one that has it
    points: int
    then: Ref | None  # the next one, which has it no more; None: there is none yet


@dataclass(frozen=True)
class Hit:
    """One path that matches."""

    source: UUID
    source_name: str
    source_kind: str
    path: str
    name: Shown
    folder: Shown
    kind: str
    size: int  # as it was last
    changed_at: datetime | None
    spans: Sequence[Span]  # oldest first; never empty
    gone: bool  # the newest point of its source does not have it

    @property
    def newest(self) -> Ref:
        """The newest point that has it."""
        return self.spans[-1].until


@dataclass(frozen=True)
class Found:
    """One page of hits."""

    hits: Sequence[Hit]
    next: str | None  # may be there with few hits or none: then there is more to look through


def search(session: Session, query: Query) -> Found:
    """Raises NotFound for a source that is not there or another's, and BadCursor."""
    wanted = [query.source] if query.source is not None else None
    lines = parts.lines(session, wanted)
    if query.source is not None and query.source not in lines:
        raise errors.no_source()
    terms = names.terms(query.text[:LONGEST])
    if not terms:
        return Found((), None)
    return _Search(session, query, terms, lines).found()


@dataclass(frozen=True)
class _Search:
    session: Session
    query: Query
    terms: Sequence[str]
    lines: Mapping[UUID, Line]

    def found(self) -> Found:
        most = max(1, min(self.query.most, 500))
        hits: list[Hit] = []
        looked = 0
        last: tuple[UUID, int] | None = None
        for source, batch in _batches(self._candidates(), BATCH):
            for place, hit in self._looked_at(self.lines[source], batch):
                if len(hits) == most:
                    return Found(hits, _written(last))
                last = (source, place)
                if hit is not None:
                    hits.append(hit)
            looked += len(batch)
            if looked >= MOST_LOOKED_AT:
                return Found(hits, _written(last))
        return Found(hits, None)

    def _candidates(self) -> Iterator[tuple[UUID, int]]:
        """Places that may match, the newest first, from where the last page ended."""
        sources, before = list(self.lines), LAST
        if self.query.after is not None:
            began, before = _read(self.query.after)
            if began not in sources:
                raise errors.bad_cursor()
            sources = sources[sources.index(began) :]
        counts = self._counts(sources)
        for source in sources:
            if source in counts:
                for place in self._of_source(source, counts[source], before):
                    yield source, place
            before = LAST

    def _counts(self, sources: Sequence[UUID]) -> Mapping[UUID, Mapping[str, int]]:
        """By source and gram, how many paths have it; only sources that have each gram."""
        grams = self._grams()
        rows = self.session.execute(
            select(CatalogueGram.source_id, CatalogueGram.gram, func.sum(CatalogueGram.count))
            .where(CatalogueGram.source_id.in_(sources), CatalogueGram.gram.in_(grams))
            .group_by(CatalogueGram.source_id, CatalogueGram.gram)
        )
        found: dict[UUID, dict[str, int]] = {}
        for source, gram, count in rows:
            found.setdefault(source, {})[gram] = count
        return {source: each for source, each in found.items() if len(each) == len(grams)}

    def _grams(self) -> set[str]:
        return set[str]().union(*map(names.needed, self.terms))

    def _of_source(self, source: UUID, counts: Mapping[str, int], before: int) -> Iterator[int]:
        rarest = sorted(counts, key=lambda gram: (counts[gram], gram))[:RAREST]
        top = before // SEGMENT
        while top >= 0:
            segments = self._segments(source, rarest[0], top)
            lists = self._lists(source, rarest, segments)
            for segment in segments:
                of_grams = [lists.get((gram, segment)) for gram in rarest]
                for offset in _common(of_grams):
                    if segment * SEGMENT + offset < before:
                        yield segment * SEGMENT + offset
            if len(segments) < SEGMENTS:
                return
            top = segments[-1] - 1

    def _segments(self, source: UUID, gram: str, top: int) -> Sequence[int]:
        """The next ones that have the rarest gram, downwards."""
        return (
            self.session.execute(
                select(CatalogueGram.segment)
                .where(
                    CatalogueGram.source_id == source,
                    CatalogueGram.gram == gram,
                    CatalogueGram.segment <= top,
                )
                .order_by(CatalogueGram.segment.desc())
                .limit(SEGMENTS)
            )
            .scalars()
            .all()
        )

    def _lists(
        self, source: UUID, grams: Sequence[str], segments: Sequence[int]
    ) -> Mapping[tuple[str, int], bytes]:
        rows = self.session.execute(
            select(CatalogueGram.gram, CatalogueGram.segment, CatalogueGram.places).where(
                CatalogueGram.source_id == source,
                CatalogueGram.gram.in_(grams),
                CatalogueGram.segment.in_(segments),
            )
        )
        return {(row.gram, row.segment): row.places for row in rows}

    def _looked_at(self, line: Line, places: Sequence[int]) -> Iterator[tuple[int, Hit | None]]:
        """Each place with its hit, or None where it is none."""
        named = {row.place: row for row in self._named(line, places) if self._has_all(row.folded)}
        states = self._states([row.id for row in named.values()])
        matching = {
            place: row
            for place, row in named.items()
            if row.id in states and self._is_wanted(states[row.id].kind)
        }
        lives = self._lives(matching.values())
        for place in places:
            row = matching.get(place)
            hit = None
            if row is not None:
                hit = self._hit(line, row, states[row.id], lives[row.path_key])
            yield place, hit

    def _named(self, line: Line, places: Sequence[int]) -> Sequence[Any]:
        """Paths; of one with several lives, the last one."""
        return self.session.execute(
            select(
                *(CataloguePath.place, CataloguePath.id, CataloguePath.path, CataloguePath.parent),
                *(CataloguePath.path_key, CataloguePath.folded, CataloguePath.since),
            ).where(CataloguePath.source_id == line.source, CataloguePath.place.in_(places))
        ).all()

    def _has_all(self, folded: str) -> bool:
        return all(names.has(folded, term) for term in self.terms)

    def _states(self, paths: Sequence[UUID]) -> Mapping[UUID, Any]:
        """The last state of each; asked for names that match alone, which may be few of many."""
        if not paths:
            return {}
        version = (
            select(CatalogueVersion)
            .where(
                CatalogueVersion.tenant_id == CataloguePath.tenant_id,
                CatalogueVersion.path_id == CataloguePath.id,
            )
            .order_by(CatalogueVersion.since.desc())
            .limit(1)
            .lateral("version")
        )
        rows = self.session.execute(
            select(CataloguePath.id, version.c.kind, version.c.size, version.c.changed_at)
            .join(version, true())
            .where(CataloguePath.id.in_(paths))
        )
        return {row.id: row for row in rows}

    def _is_wanted(self, found: str) -> bool:
        kind = self.query.kind
        if kind is Kind.FOLDER and found != FOLDER:
            return False
        if kind is Kind.TABLE and found != TABLE:
            return False
        return not (kind is Kind.FILE and found in (FOLDER, TABLE))

    def _lives(self, rows: Any) -> Mapping[UUID, list[tuple[int, int | None]]]:
        keys = [row.path_key for row in rows]
        found: dict[UUID, list[tuple[int, int | None]]] = {}
        if keys:
            lives = self.session.execute(
                select(CataloguePath.path_key, CataloguePath.since, CataloguePath.until)
                .where(CataloguePath.path_key.in_(keys))
                .order_by(CataloguePath.since)
            )
            for row in lives:
                found.setdefault(row.path_key, []).append((row.since, row.until))
        return found

    def _hit(
        self, line: Line, row: Any, state: Any, lives: list[tuple[int, int | None]]
    ) -> Hit | None:
        if lives[-1][0] != row.since:
            return None  # it came again later; that one is the hit
        spans = spans_of(line, lives)
        if not any(self._in_time(line, life) for life in lives):
            return None
        return Hit(
            source=line.source,
            source_name=line.name,
            source_kind=line.kind,
            path=row.path,
            name=shown(name_in(row.path, row.parent)),
            folder=shown(row.parent),
            kind=state.kind,
            size=state.size,
            changed_at=state.changed_at,
            spans=spans,
            gone=spans[-1].until != line.newest,
        )

    def _in_time(self, line: Line, life: tuple[int, int | None]) -> bool:
        first, last = self.query.first or date.min, self.query.last or date.max
        return any(first <= each.local_date <= last for each in line.within(*life))


def _written(last: tuple[UUID, int] | None) -> str | None:
    return None if last is None else cursors.written(str(last[0]), last[1])


def _read(cursor: str) -> tuple[UUID, int]:
    source, place = cursors.read(cursor, (str, int))
    try:
        return UUID(source), min(place, LAST)
    except ValueError:
        raise errors.bad_cursor() from None


def spans_of(line: Line, lives: Sequence[tuple[int, int | None]]) -> list[Span]:
    """Ranges of numbers as the points that still stand; ranges without one are left out."""
    found = []
    for life in lives:
        points = line.within(*life)
        if points:
            then = line.after(points[-1].number)
            found.append(Span(points[0], points[-1], len(points), then))
    return found


def _common(lists: Sequence[bytes | None]) -> list[int]:
    """What is in all of them, the highest first."""
    if any(each is None for each in lists):
        return []
    first, *others = (names.unpacked(each) for each in lists if each is not None)
    common = set(first)
    for each in others:
        common.intersection_update(each)
    return sorted(common, reverse=True)


def _batches(places: Iterator[tuple[UUID, int]], most: int) -> Iterator[tuple[UUID, Sequence[int]]]:
    """Of one source each, a small one first: a page is often full after few."""
    batch: list[int] = []
    of: UUID | None = None
    limit = most // 4
    for source, place in places:
        if of is not None and (source != of or len(batch) == limit):
            yield of, batch
            batch, limit = [], most
        of = source
        batch.append(place)
    if of is not None and batch:
        yield of, batch
