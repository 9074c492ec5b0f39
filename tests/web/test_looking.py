"""What commands ask of contents; the same questions as the pages ask, for one tenant alone."""

from __future__ import annotations

import pytest

from restore.browsing.errors import NotListedYet
from restore.browsing.folders import PAGE
from strongroom.errors import NotFound
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.restore.shelves import Shelf, shelf
from web import looking, readings
from web.looking import NoName


@pytest.fixture
def on(runtime: Runtime, acme: Tenant, bolt: Tenant) -> Shelf:
    """Of Acme; Bolt has paths of the same names."""
    shelf(runtime, bolt, [{"/letters/0.txt": 9, "/letters/theirs.txt": 9}] * 3)
    return shelf(
        runtime,
        acme,
        [
            {"/letters/0.txt": 1, "/gone.txt": 2},
            {"/letters/0.txt": 3, "/Übersicht.txt": 1},
            {"/letters/0.txt": 3, "/Übersicht.txt": 1},
        ],
    )


def test_a_folder_is_listed_whole_however_large(runtime: Runtime, acme: Tenant) -> None:
    many = {f"/many/{number:04}": number for number in range(3 * looking.AT_ONCE + 1)}
    shelf(runtime, acme, [many])
    point = readings.find_point(runtime, acme, "1")

    found = looking.browse(runtime, point, "many", source=None)

    assert len(many) > PAGE
    assert [each["path"] for each in found] == sorted(many)
    with pytest.raises(NotFound):
        looking.browse(runtime, point, "/none", source=None)


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("0.txt", {"/letters/0.txt"}),
        ("*/0.txt", {"/letters/0.txt"}),
        ("/letters/0.tx?", {"/letters/0.txt"}),
        ("0.tx?", set()),  # of the whole path
        ("UBERSICHT", {"/Übersicht.txt"}),
        ("letters/0", {"/letters/0.txt"}),
        ("other/0.txt", set()),
        ("theirs", set()),
    ],
)
def test_a_pattern_finds_names_of_this_tenant_alone(
    on: Shelf, runtime: Runtime, acme: Tenant, pattern: str, paths: set[str]
) -> None:
    assert {each["path"] for each in looking.find(runtime, acme, pattern)} == paths


def test_what_was_found_says_from_when_to_when(on: Shelf, runtime: Runtime, acme: Tenant) -> None:
    [gone] = looking.find(runtime, acme, "gone")
    [there] = looking.find(runtime, acme, "0.txt")

    assert (gone["source"], gone["since"], gone["until"]) == ("files", 1, 2)
    assert (there["size"], there["since"], there["until"]) == (3, 1, None)


@pytest.mark.parametrize("pattern", ["", "*", "letters/", "/*"])
def test_a_pattern_without_a_name_is_refused(
    on: Shelf, runtime: Runtime, acme: Tenant, pattern: str
) -> None:
    with pytest.raises(NoName):
        looking.find(runtime, acme, pattern)


def test_a_difference_goes_from_the_first_to_the_second(
    on: Shelf, runtime: Runtime, acme: Tenant
) -> None:
    onwards = looking.diff(runtime, acme, (1, 3)).rows
    backwards = looking.diff(runtime, acme, (3, 1)).rows

    def said(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
        return [(row["path"], row["change"], row["before"], row["after"]) for row in rows]

    assert said(onwards) == [
        ("/gone.txt", "removed", 2, None),
        ("/letters/0.txt", "changed", 1, 3),
        ("/Übersicht.txt", "added", None, 1),
    ]
    assert said(backwards) == [
        ("/gone.txt", "added", None, 2),
        ("/letters/0.txt", "changed", 3, 1),
        ("/Übersicht.txt", "removed", 1, None),
    ]


def test_a_source_that_one_point_lacks_is_named_and_not_compared(
    on: Shelf, runtime: Runtime, acme: Tenant
) -> None:
    on.remove(1)

    found = looking.diff(runtime, acme, (1, 3))

    assert (found.rows, found.left_out) == ([], ["files"])
    assert NotListedYet.exit_code == 2
