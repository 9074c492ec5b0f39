"""Looking into points: folders, differences, one file's history; odd names; other tenants' ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from backup.catalogue import Changes
from backup.models import PointSource
from restore.browsing import cards, differences, folders, history, searching
from restore.browsing.differences import Change
from restore.browsing.errors import BadCursor, NotListedYet
from restore.browsing.folders import Sort, View
from restore.browsing.searching import Query
from strongroom.db import Role
from strongroom.errors import NotFound
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.plans import asked
from tests.restore.shelves import LAST, Shelf, shelf

HOSTILE = (
    "line\nbreak.txt",
    "<script>alert(1)",
    "invoice\u202efdp.exe",
    "..",
    "=HYPERLINK(1)",
    "bad\ufffdbyte",
    "x" * 4000,
    "%s {0} \\",
)


@pytest.fixture
def page(runtime: Runtime, acme: Tenant) -> Iterator[Session]:
    """As the pages read: bound to Acme."""
    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        yield session


def names_of(listing: folders.Listing) -> list[str]:
    return [each.name.name for each in listing.items]


def all_pages(page: Session, on: Shelf, number: int, view: View) -> list[str]:
    """Every name of /many, a page at a time; a page is never more than asked for."""
    found: list[str] = []
    after: str | None = None
    while True:
        listing = folders.browse(
            page, on.source, number, "/many", View(view.sort, view.descending, after, view.most)
        )
        assert len(listing.items) <= view.most
        found += names_of(listing)
        after = listing.next
        if after is None:
            return found


def test_a_folder_is_listed_as_its_point_had_it(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(
        runtime,
        acme,
        [{"/a.txt": 1, "/old/x": 1}, {"/a.txt": 2, "/new/": 0}, {"/a.txt": 2, "/old/x": 3}],
    )

    first, second, third = (folders.browse(page, on.source, n, "/", View()) for n in (1, 2, 3))

    assert [(i.name.name, i.kind, i.size) for i in first.items] == [
        ("old", "dir", 0),
        ("a.txt", "file", 1),
    ]
    assert [(i.name.name, i.size) for i in second.items] == [("new", 0), ("a.txt", 2)]
    assert [(i.name.name, i.size, i.since) for i in third.items] == [
        ("old", 0, 3),
        ("a.txt", 2, 2),
    ]
    assert (first.folders, first.others) == (1, 1)
    assert folders.browse(page, on.source, 2, "/new", View()).items == []
    deep = folders.browse(page, on.source, 3, "/old", View())
    assert [crumb.path for crumb in deep.crumbs] == ["/", "/old"]


@pytest.mark.parametrize("sort", list(Sort))
@pytest.mark.parametrize("descending", [False, True])
def test_pages_give_everything_once_and_in_order(
    runtime: Runtime, acme: Tenant, page: Session, sort: Sort, descending: bool
) -> None:
    files = {f"/many/{number:02}.txt": (number * 7) % 5 for number in range(23)}
    folder = {f"/many/f{number}/": 0 for number in range(4)}
    on = shelf(runtime, acme, [files | folder, {"/many/00.txt": 0}])

    found = all_pages(page, on, 1, View(sort, descending, most=5))

    assert found[:4] == sorted(found[:4], reverse=descending and sort is Sort.NAME)
    assert set(found[:4]) == {"f0", "f1", "f2", "f3"}
    assert sorted(found[4:]) == [f"{number:02}.txt" for number in range(23)]
    sizes = [files[f"/many/{name}"] for name in found[4:]]
    if sort is Sort.NAME:
        assert found[4:] == sorted(found[4:], reverse=descending)
    else:
        assert sizes == sorted(sizes, reverse=descending)


def test_what_is_not_in_the_point_is_not_found(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(runtime, acme, [{"/a/x": 1}, {"/b/x": 1}])
    for folder in ("/b", "/a/x", "/none", "/a\0", "/\udce9"):
        with pytest.raises(NotFound) as caught:
            folders.browse(page, on.source, 1, folder, View())
        assert caught.value.code == "path-not-in-point"


def test_a_point_that_is_gone_or_not_listed_shows_no_other_points_contents(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(runtime, acme, [{"/a": 1}, {"/a": 1}, {"/a": 1}])
    on.remove(1)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(
            update(PointSource)
            .where(PointSource.point_id == on.points[1])
            .values(catalogued_at=None)
        )

    with pytest.raises(NotFound) as caught:
        folders.browse(page, on.source, 1, "/", View())
    assert caught.value.code == "point-gone"
    with pytest.raises(NotListedYet):
        folders.browse(page, on.source, 2, "/", View())
    assert names_of(folders.browse(page, on.source, 3, "/", View())) == ["a"]


def test_odd_names_come_as_data_and_with_a_form_that_is_safe_to_show(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(runtime, acme, [{f"/odd/{name}": 1 for name in HOSTILE}])

    listing = folders.browse(page, on.source, 1, "/odd", View())

    assert set(names_of(listing)) == set(HOSTILE)
    for item in listing.items:
        assert item.name.text.isprintable()
        assert len(item.name.text) <= 200
        assert item.name.odd or item.name.text == item.name.name
        assert history.of_path(page, on.source, item.path).states[0].size == 1
    for wanted in ("break", "script", "fdp", "hyperlink", "byte", "xxxx", "{0}"):
        assert len(searching.search(page, Query(wanted)).hits) == 1, wanted


def test_the_history_of_a_path_names_the_points_that_have_each_state(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(runtime, acme, [{"/a": 1}, {"/a": 1}, {"/a": 2}, {"/b": 1}, {"/a": 2}])
    on.remove(2)

    found = history.of_path(page, on.source, "/a")

    assert [(s.size, s.since, s.until, s.followed) for s in found.states] == [
        (2, 5, None, False),
        (2, 3, 4, False),
        (1, 1, 3, True),
    ]
    assert [[ref.number for ref in s.points] for s in found.states] == [[5], [3], [1]]
    assert not found.gone
    assert history.of_path(page, on.source, "/b").gone
    first = history.of_path(page, on.source, "/a", most=2)
    rest = history.of_path(page, on.source, "/a", most=2, after=first.next)
    assert [*first.states, *rest.states] == list(found.states)


def test_the_difference_of_two_points_is_counted_and_listed(
    runtime: Runtime, acme: Tenant, page: Session
) -> None:
    on = shelf(
        runtime,
        acme,
        [
            {"/same": 1, "/edited": 7, "/gone": 5, "/back": 6, "/turns": 8},
            {"/same": 1, "/edited": 2, "/passing": 1, "/turns/into": 1},
            {"/same": 1, "/edited": 3, "/new": 1, "/back": 4, "/turns/into": 1},
        ],
    )
    two = differences.between(page, on.source, (3, 1))

    counts = differences.counts(page, two)
    listed = {change: differences.entries(page, two, change).items for change in Change}

    assert {d.path for d in listed[Change.ADDED]} == {"/new", "/turns/into"}
    assert {d.path for d in listed[Change.REMOVED]} == {"/gone"}
    changed = {d.path: (d.before, d.after) for d in listed[Change.CHANGED]}
    assert {
        path: (b and (b.kind, b.size), a and (a.kind, a.size)) for path, (b, a) in changed.items()
    } == {
        "/edited": (("file", 7), ("file", 3)),
        "/back": (("file", 6), ("file", 4)),
        "/turns": (("file", 8), ("dir", 0)),
    }
    assert (counts.added, counts.removed, counts.changed) == (2, 1, 3)
    paged: list[str] = []
    after = None
    while True:
        part = differences.entries(page, two, Change.CHANGED, after=after, most=1)
        paged += [each.path for each in part.items]
        after = part.next
        if after is None:
            break
    assert sorted(paged) == sorted(changed)


def test_each_point_says_how_much_it_changed(runtime: Runtime, acme: Tenant) -> None:
    on = shelf(runtime, acme, [{"/a": 1, "/b": 1}])

    again = on.record(2, {"/a": 1, "/b": 1})
    other = on.record(3, {"/a": 2, "/c": 1, "/d/e": 1})

    assert again == Changes(0, 0, 0)
    assert other == Changes(added=3, removed=1, changed=1)


def everything(page: Session, source: UUID, number: int) -> list[Callable[[], object]]:
    """Each way to ask for something by an id."""
    return [
        lambda: folders.browse(page, source, number, "/", View()),
        lambda: differences.between(page, source, (number, number + 1)),
        lambda: history.of_path(page, source, "/secret-of-bolt"),
        lambda: searching.search(page, Query("secret", source=source)),
    ]


def test_what_is_anothers_is_not_found_as_what_never_was(
    runtime: Runtime, acme: Tenant, bolt: Tenant, page: Session
) -> None:
    of_bolt = shelf(runtime, bolt, [{"/secret-of-bolt": 1}, {"/secret-of-bolt": 2}])
    answers = []
    for source in (of_bolt.source, new_id()):
        for ask in everything(page, source, 1):
            with asked(page) as found, pytest.raises(NotFound) as caught:
                ask()
            said = (caught.value.code, str(caught.value.message), caught.value.params)
            answers.append((said, [statement for statement, _ in found.statements]))
    assert answers[:4] == answers[4:]
    with pytest.raises(NotFound):
        cards.card(page, acme.id, 1, now=LAST)
    assert not searching.search(page, Query("secret")).hits


def test_paths_of_another_source_are_not_mixed_in(
    runtime: Runtime, acme: Tenant, bolt: Tenant, page: Session
) -> None:
    on = shelf(runtime, acme, [{"/a/mine.txt": 1}])
    shelf(runtime, bolt, [{"/a/theirs.txt": 1}])
    assert names_of(folders.browse(page, on.source, 1, "/a", View())) == ["mine.txt"]
    assert [hit.path for hit in searching.search(page, Query("txt")).hits] == ["/a/mine.txt"]


@pytest.mark.parametrize(
    "cursor",
    ["", "!", "bnVsbA", "W10", "W3RydWUsIngiLCJ5Il0", "WzEsMiwzXQ", "A" * 9000, "W" * 20 + "\n"],
)
def test_a_page_mark_that_nobody_wrote_is_refused(
    runtime: Runtime, acme: Tenant, page: Session, cursor: str
) -> None:
    on = shelf(runtime, acme, [{"/a/mine.txt": 1}, {"/a/mine.txt": 2}])
    two = differences.between(page, on.source, (1, 2))
    for ask in (
        lambda: folders.browse(page, on.source, 1, "/", View(after=cursor)),
        lambda: folders.browse(page, on.source, 1, "/", View(Sort.TIME, after=cursor)),
        lambda: differences.entries(page, two, Change.ADDED, after=cursor),
        lambda: history.of_path(page, on.source, "/a/mine.txt", after=cursor),
        lambda: searching.search(page, Query("mine", after=cursor)),
    ):
        with pytest.raises(BadCursor):
            ask()
