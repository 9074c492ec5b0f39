"""Finding by name: in all points, what is deleted too, in any spelling that people type."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import clearing, names
from backup.catalogue import CataloguePath, CatalogueVersion
from backup.models import PointSource, Snapshot
from backup.names import CatalogueGram
from restore.browsing import searching
from restore.browsing.searching import Hit, Kind, Query
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import rows_of
from tests.restore.shelves import LAST, Shelf, shelf


@pytest.fixture
def page(runtime: Runtime, acme: Tenant) -> Iterator[Session]:
    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        yield session


def found(page: Session, text: str, **more: object) -> dict[str, Hit]:
    """All hits by path, a small page at a time; none comes twice."""
    hits: dict[str, Hit] = {}
    after: str | None = None
    while True:
        part = searching.search(page, Query(text, after=after, most=2, **more))  # type: ignore[arg-type]
        assert not {hit.path for hit in part.hits} & hits.keys()
        hits |= {hit.path: hit for hit in part.hits}
        after = part.next
        if after is None:
            return hits


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Rapport Été.PDF", "ete"),
        ("Rapport Été.PDF", "ÉTÉ rapport"),
        ("Rapport Été.PDF", "rap*.pdf"),
        ("invoice-2024.pdf", "voice"),
        ("my-ab.txt", "ab"),
        ("my-ab.txt", "m"),
        ("الفاتورة.txt", "فاتوره"),
        ("فـــاتُورَة.txt", "فاتورة"),
        ("إيجار أحمد", "ايجار احمد"),
        ("مستشفى", "مستشفي"),
        ("عام ٢٠٢٤", "2024"),
        ("STRASSE", "straße"),
        ("a\u202ebc.txt", "abc"),
    ],
)
def test_a_name_is_found_as_people_type_it(name: str, wanted: str) -> None:
    folded = names.folded(name)
    for term in names.terms(wanted):
        assert names.needed(term) <= names.grams(folded)
        assert names.has(folded, term)


def test_a_short_word_only_begins_words() -> None:
    assert not names.needed("ab") <= names.grams("xab")
    assert not names.has("xab", "ab")


def test_a_hit_says_which_points_have_it_and_whether_it_is_gone(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(
        runtime,
        acme,
        [{"/x/Plan A.txt": 1}, {"/x/Plan A.txt": 2, "/plan b": 1}, {"/y": 1}, {"/plan b": 3}],
    )

    hits = found(page, "plan")

    assert hits.keys() == {"/x/Plan A.txt", "/plan b"}
    gone, back = hits["/x/Plan A.txt"], hits["/plan b"]
    assert (gone.gone, gone.size, gone.folder.name) == (True, 2, "/x")
    assert [(s.since.number, s.until.number, s.points) for s in gone.spans] == [(1, 2, 2)]
    assert (back.gone, back.size) == (False, 3)
    assert [(s.since.number, s.until.number) for s in back.spans] == [(2, 2), (4, 4)]
    assert back.newest.id == on.points[3]


def test_filters_leave_out_what_does_not_fit(runtime: Runtime, acme: Tenant, page: Session) -> None:
    on = shelf(runtime, acme, [{"/plan.txt": 1, "/plan/x": 1}, {"/plan.new": 1}, {"/y": 1}])
    day = LAST.date()

    assert found(page, "plan").keys() == {"/plan.txt", "/plan", "/plan.new"}
    assert found(page, "plan", kind=Kind.FOLDER).keys() == {"/plan"}
    assert found(page, "plan", kind=Kind.FILE).keys() == {"/plan.txt", "/plan.new"}
    assert not found(page, "plan", kind=Kind.TABLE)
    assert found(page, "plan", first=day - timedelta(days=1)).keys() == {"/plan.new"}
    assert found(page, "plan", last=day - timedelta(days=2)).keys() == {"/plan.txt", "/plan"}
    assert found(page, "plan", source=on.source).keys() == found(page, "plan").keys()
    assert not found(page, "plan zebra")
    assert not found(page, " * ")


def test_many_names_are_all_found_a_page_at_a_time(
    runtime: Runtime, acme: Tenant, page: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "SEGMENT", 8)
    monkeypatch.setattr(searching, "SEGMENT", 8)
    monkeypatch.setattr(searching, "SEGMENTS", 2)
    monkeypatch.setattr(searching, "BATCH", 12)
    monkeypatch.setattr(searching, "MOST_LOOKED_AT", 20)
    many = {f"/many/name-{number:03}.txt": 1 for number in range(60)}
    shelf(runtime, acme, [many, many | {"/other": 1}])

    assert found(page, "name").keys() == many.keys()
    assert found(page, "name -05").keys() == {path for path in many if "-05" in path}


def test_names_that_come_later_are_found_too(runtime: Runtime, acme: Tenant, page: Session) -> None:
    days = [{f"/day-{day}-{number}": 1 for number in range(3)} for day in range(4)]
    shelf(runtime, acme, days)
    for day in range(4):
        assert found(page, f"day-{day}").keys() == days[day].keys()


def test_what_no_point_has_any_more_is_forgotten(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(
        runtime,
        acme,
        [
            {"/stays": 1, "/edited": 1, "/first": 1},
            {"/stays": 1, "/edited": 2, "/second": 1},
            {"/stays": 1, "/edited": 3, "/third": 1},
            {"/stays": 1, "/edited": 4, "/fourth": 1},
        ],
    )
    on.remove(2, 4)

    forgotten = clearing.clear(runtime, acme.id)

    assert forgotten == 2  # the second state of /edited, and /second
    assert _searched(page) == {"/stays", "/edited", "/first", "/third"}
    assert {row.path for row in rows_of(runtime, acme, CataloguePath)} == {
        *("/stays", "/edited", "/first", "/third", "/fourth")
    }
    assert len(rows_of(runtime, acme, CatalogueVersion)) == 7
    grams = {row.gram for row in rows_of(runtime, acme, CatalogueGram)}
    assert "sec" not in grams
    assert {"fir", "thi", "fou", "edi"} <= grams
    assert clearing.clear(runtime, acme.id) == 0


def test_what_is_missing_from_a_region_is_not_forgotten(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    """It may be brought back."""
    on = shelf(runtime, acme, [{"/first": 1}, {"/second": 1}, {"/third": 1}])
    _lose(on, 2)

    assert clearing.clear(runtime, acme.id) == 0
    assert "/second" in {row.path for row in rows_of(runtime, acme, CataloguePath)}


def _searched(page: Session) -> set[str]:
    """Whatever is found of it."""
    words = ("stays", "edited", "first", "second", "third", "fourth")
    return {path for word in words for path in found(page, word)}


def _lose(on: Shelf, number: int) -> None:
    with on.runtime.database.session(Role.WORKER, tenant=on.tenant.id) as session:
        mine = select(PointSource.snapshot_id).where(PointSource.point_id == on.points[number - 1])
        session.execute(
            update(Snapshot)
            .where(Snapshot.id.in_(mine) | Snapshot.origin_id.in_(mine))
            .values(lost_at=LAST)
        )
