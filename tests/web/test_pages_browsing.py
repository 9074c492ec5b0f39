"""Find the thing: browsing, search, history, differences; names that are hostile, long or odd."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from sqlalchemy import update

from backup import catalogue
from backup.catalogue import Entry
from backup.models import (
    PointSource,
    Source,
)
from restore.browsing import errors
from strongroom.db import Role
from strongroom.people.rules import TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.people.cast import Browser, People, signed_in
from tests.restore.shelves import Shelf, shelf
from tests.web.four_points import four_points
from tests.web.test_pages import LATIN_WORD, visible
from web.pages import finding
from web.pages.astray import ANSWERS
from web.pages.selection import unwire

HOSTILE = (
    "../../x",
    "line\nbreak.txt",
    "<script>alert(1)",
    "invoice\u202efdp.exe",
    "=HYPERLINK(1)",
    "+1",
    "-1",
    "@sum",
    "100%25.txt",
    "bad\ufffdbyte",
    "x" * 4000,
    '"onload=alert(1)',
)


@pytest.fixture
def on(runtime: Runtime, acme: Tenant, clock: FakeClock) -> Shelf:
    return four_points(runtime, acme, clock)


@pytest.fixture
def admin(runtime: Runtime, acme: Tenant, on: Shelf) -> Browser:
    return signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))


def test_a_folder_is_browsed_chosen_from_and_left_for_another_point(
    admin: Browser, on: Shelf
) -> None:
    top = f"/t/acme/points/4/sources/{on.source}/"

    root = admin.get(top).text
    there = admin.get(f"/t/acme/sources/{on.source}/go?point=2&folder={quote('/letters')}")
    letters = admin.client.get(there.headers["Location"])

    assert f'value="{quote("/فاتورة.pdf")}"' in root
    assert 'formaction="/t/acme/downloads/choose"' in root
    assert "1 folder, 1 file" in root
    assert (there.status_code, letters.status_code) == (303, 200)
    assert "restore point <a" in letters.text
    assert ">#2</bdi>" in letters.text
    assert "0.txt" in letters.text
    assert 'name="page" value="/t/acme/points/2/sources/' in letters.text
    assert "folder=/letters" in letters.text  # whoever has to prove themselves comes back here


@pytest.mark.parametrize("deed", ["restores", "downloads"])
def test_ticking_nothing_does_not_choose_everything(admin: Browser, on: Shelf, deed: str) -> None:
    page = f"/t/acme/points/4/sources/{on.source}/"

    answer = admin.post(
        f"/t/acme/{deed}/choose", on=page, point="4", source=str(on.source), ticked="yes"
    )

    assert (answer.status_code, answer.headers["Location"]) == (303, page)


def test_hostile_names_are_shown_harmlessly_and_travel_whole(
    runtime: Runtime, acme: Tenant
) -> None:
    on = shelf(runtime, acme, [{f"/odd/{name.replace('../', '')}": 1 for name in HOSTILE}])
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))

    page = admin.get(f"/t/acme/points/1/sources/{on.source}/?folder=/odd").text
    sent = {
        unwire(each) for each in re.findall(r'type="checkbox" name="path" value="([^"]*)"', page)
    }

    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert not re.search(r'\s"?onload=alert\(1\)"?[\s>]', page.replace("&#34;", ""))
    wanted = {f"/odd/{name.replace('../', '')}" for name in HOSTILE}
    assert sent == {path for path in wanted if "\ufffd" not in path}
    assert "Its name is not written in UTF-8, so it cannot be chosen alone" in page
    for name in wanted:
        past = admin.get(f"/t/acme/sources/{on.source}/history?path={quote(finding.address(name))}")
        assert past.status_code == 200, name
        word = re.sub(r"\W+", " ", name.rpartition("/")[2][:150])
        found = admin.get("/t/acme/search", query_string={"q": word})
        assert found.status_code == 200
        assert "<script>alert" not in found.text + past.text
        assert "\u202e" not in found.text + past.text


def test_what_cannot_be_chosen_alone_is_taken_by_its_folder(runtime: Runtime, acme: Tenant) -> None:
    on = shelf(runtime, acme, [{"/fine/bad\ufffd/deep/x": 1}])
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))

    page = admin.get(f"/t/acme/points/1/sources/{on.source}/?folder=/fine/bad%EF%BF%BD/deep").text

    assert 'type="checkbox"' not in page
    assert '<input type="hidden" name="path" value="/fine">' in page
    assert "Restore this whole folder" in page
    found = admin.get("/t/acme/search?q=x").text
    assert "is not written in UTF-8, so it cannot be chosen alone" in found
    assert "<button" not in found.partition('id="found"')[2]


def test_a_page_of_two_hundred_entries_is_light_and_so_is_one_of_long_names(
    runtime: Runtime, acme: Tenant
) -> None:
    plain = {
        f"/mail/2026/customer {n:03}/../invoice-{n:06}.pdf".replace("/..", ""): n for n in range(9)
    }
    many = {f"/mail/invoice of March 2026, number {n:06}.pdf": n for n in range(250)}
    long = {f"/long/{n:03}{'فاتورة ' * 90}": n for n in range(250)}
    middling = {f"/middling/{n:03} {'middling ' * 14}": n for n in range(250)}
    points = [plain | many | long | middling] + [{f"/{n}": n} for n in range(60)]
    on = shelf(runtime, acme, points)
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))
    top = f"/t/acme/points/1/sources/{on.source}/"
    assert len(admin.get(f"{top}?folder=/middling").data) < 185_000  # with room for 400 points

    page = admin.get(f"{top}?folder=/mail")
    assert page.text.count('type="checkbox"') == 200
    assert len(page.data) < 200_000
    seen: set[str] = set()
    address_ = f"{top}?folder=/long"
    while True:
        page = admin.get(address_)
        assert len(page.data) < 200_000
        seen |= set(re.findall(r'type="checkbox" name="path" value="([^"]*)"', page.text))
        following = re.search(r'rel="next" href="([^"]*after[^"]*)"', page.text)
        if following is None:
            break
        address_ = following[1].replace("&amp;", "&")
    assert len(seen) == 250


def test_no_page_is_made_heavy_by_long_names(runtime: Runtime, acme: Tenant) -> None:
    long = {f"/{'فاتورة ' * 300}/{n:03}{'فاتورة ' * 200}": n for n in range(60)}
    on = shelf(runtime, acme, [{}, long, dict.fromkeys(long, 777)])
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))
    source = f"/t/acme/sources/{on.source}"
    one = next(iter(long))

    for start in (
        "/t/acme/search?q=فاتورة",
        f"{source}/difference?from=1&to=2&change=added",
        f"{source}/difference?from=2&to=3&change=changed",
        f"{source}/history?path={quote(one)}",
    ):
        address, seen = start, 0
        while address:
            page = admin.get(address)
            assert page.status_code == 200
            assert len(page.data) < 200_000, start
            seen += page.text.count("<li>\n  <b>")
            following = re.search(r'rel="next" href="([^"]*)"', page.text)
            address = following[1].replace("&amp;", "&") if following else ""
        assert seen >= (2 if "history" in start else 60), start


def test_search_finds_what_was_deleted_and_says_where_it_was_last(
    admin: Browser, on: Shelf
) -> None:
    page = admin.get("/t/acme/search?q=gone").text
    assert "deleted since" in page
    assert re.search(r"last in restore point <bdi dir=\"ltr\">#2</bdi>", page)
    assert f"/t/acme/points/2/sources/{on.source}/" in page
    assert "deleted since" not in admin.get("/t/acme/search?q=فاتورة").text
    assert "Nothing has such a name" in admin.get("/t/acme/search?q=gone&first=2026-03-10").text


def test_search_goes_on_page_by_page(runtime: Runtime, acme: Tenant) -> None:
    shelf(runtime, acme, [{f"/many/{n:03}.txt": n for n in range(120)}])
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))
    found: list[str] = []
    address_ = "/t/acme/search?q=txt"
    for _ in range(3):
        page = admin.get(address_).text
        found += re.findall(r'<b><bdi dir="auto">(\d+\.txt)', page)
        following = re.search(r'rel="next" href="([^"]*)"', page)
        address_ = following[1].replace("&amp;", "&") if following else ""
    assert address_ == ""
    assert len(found) == len(set(found)) == 120


def test_every_state_of_a_file_can_be_brought_back(admin: Browser, on: Shelf) -> None:
    page = admin.get(f"/t/acme/sources/{on.source}/history?path=/letters/0.txt").text

    assert re.findall(r"<b><bdi dir=\"ltr\">(\d B)</bdi></b>", page) == ["5 B", "1 B"]
    buttons = re.findall(r'name="point" value="(\d+)" class="act plain">Restore', page)
    assert buttons == ["4", "2"]
    assert page.count('name="path" value="/letters/0.txt"') == 1
    assert "Preview" in page


def test_a_difference_is_counted_listed_and_chosen(admin: Browser, on: Shelf) -> None:
    source = f"/t/acme/sources/{on.source}/difference"

    since_before = admin.get(f"{source}?to=3").text
    removed = admin.get(f"{source}?from=4&to=1&change=removed").text

    for word, count in (("Added", 1), ("Changed", 1), ("Removed", 1)):
        assert re.search(rf"{word} <b><bdi dir=\"ltr\">{count}</bdi></b>", since_before), word
    assert ">#2</bdi>" in since_before
    assert "gone.txt" in removed
    assert '<input type="hidden" name="point" value="1">' in removed  # as it was before
    assert "There is nothing to compare it with." in admin.get(f"{source}?to=1").text


def test_a_point_that_goes_while_it_is_looked_at_is_answered(admin: Browser, on: Shelf) -> None:
    top = f"/t/acme/points/2/sources/{on.source}/"
    assert admin.get(top).status_code == 200
    on.remove(1, 2)

    gone, point = admin.get(top), admin.get("/t/acme/points/2")
    compared = admin.get(f"/t/acme/sources/{on.source}/difference?from=2&to=4")

    assert gone.status_code == compared.status_code == 409
    assert "What this restore point had was removed." in gone.text
    assert '<a class="act" href="/t/acme/points/3">' in gone.text
    assert point.status_code == 200
    assert "It was removed; nothing of it can be restored." in point.text
    assert "Restore all of it" not in point.text
    assert '<a href="/t/acme/points/3">' in point.text


def test_a_point_that_is_not_listed_yet_can_be_restored_and_not_browsed(
    admin: Browser, on: Shelf, runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        mine = update(PointSource).where(PointSource.point_id == on.points[3])
        session.execute(mine.values(catalogued_at=None))

    answer = admin.get(f"/t/acme/points/4/sources/{on.source}/")
    point = admin.get("/t/acme/points/4").text

    assert answer.status_code == 409
    assert "is not listed yet" in answer.text
    assert "Restore all of it" in point
    assert f"/t/acme/points/4/sources/{on.source}/" not in point


def test_every_code_of_browsing_has_words() -> None:
    raised = {errors.no_source, errors.no_part, errors.gone, errors.no_path, errors.bad_cursor}
    codes = {make().code for make in raised} | {errors.NotListedYet.code}
    assert codes == set(ANSWERS)


def test_tables_are_browsed_searched_and_chosen_as_tables(runtime: Runtime, acme: Tenant) -> None:
    on = shelf(runtime, acme, [{}], name="erp")
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.execute(update(Source).where(Source.id == on.source).values(kind="postgres"))
    with (
        runtime.database.session(Role.WORKER, tenant=acme.id) as session,
        catalogue.recording(session, on.source, 1) as recorded,
    ):
        recorded.add(Entry("/public", "dir", 0, None, "", parent="/"))
        recorded.add(Entry("/public/invoices", "table", 12345, None, "x", parent="/public"))
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))
    top = f"/t/acme/points/1/sources/{on.source}/"

    root, inside = admin.get(top).text, admin.get(f"{top}?folder=/public&sort=time").text
    found = admin.get("/t/acme/search?q=invoices").text

    assert "1 schema" in root
    assert 'type="checkbox"' not in root
    assert "Restore all of this source" in inside
    assert 'type="checkbox" name="table" value="public.invoices"' in inside
    assert 'form="look" name="table" value="public.invoices"' in inside
    assert "12,345 rows" in inside
    assert "1 table" in inside
    assert '<input type="hidden" name="table" value="public.invoices">' in found
    arabic = admin.get(f"{top}?folder=/public&lang=ar").text
    said = set(LATIN_WORD.findall(visible(arabic)))
    assert not said - {"English", "Acme", "Trading", "Person", "PostgreSQL"}
