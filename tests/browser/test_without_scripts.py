"""With scripts off every main page is read, and the whole journey is gone by links and forms."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.browser import office as offices
from tests.browser.office import Office
from tests.browser.serving import served
from tests.browser.window import Window
from tests.people.cast import PASSWORD

Opener = Callable[..., Window]


@pytest.fixture
def office(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Iterator[Office]:
    with served(runtime) as origin:
        yield offices.office(runtime, acme, origin, tmp_path / "srv" / "office")


@pytest.fixture
def window(office: Office, open_window: Opener) -> Window:
    """Somebody who has just signed in, by the forms."""
    found = open_window(
        office.origin, locale="en", java_script_enabled=False, accept_downloads=True
    )
    found.go("/")
    found.fill("E-mail address", office.owner.email)
    found.fill("Password", PASSWORD)
    found.press("Sign in")
    found.fill("Code", office.owner.code(office.runtime.now()))
    found.press("Go on")
    return found


def sees(window: Window, words: str) -> None:
    expect(window.page.locator("main")).to_contain_text(words)


def test_every_main_page_is_read(office: Office, window: Window) -> None:
    for address, words in (
        ("/t/acme/", "Restore points, the newest first"),
        (f"/t/acme/points/{office.point.number}", "What it holds"),
        (office.browse, "letters"),
        (f"{office.browse}?folder=/letters", "0.txt"),
        ("/t/acme/search?q=0.txt", "0.txt"),
        (f"/t/acme/sources/{office.source.id}/history?path=/letters/0.txt", "Every state it had"),
        ("/t/acme/restores", "Nothing has been restored yet."),
        ("/t/acme/downloads", "None yet."),
        ("/t/acme/access", "Who has access"),
        ("/account/", "Second factor"),
    ):
        window.go(address)
        expect(window.page.get_by_role("heading", level=1)).to_be_visible()
        sees(window, words)
    assert window.complaints == []


def test_a_file_is_restored_in_place_and_back_again(office: Office, window: Window) -> None:
    letter = office.folder / "letters" / "0.txt"
    was = letter.read_bytes()
    letter.unlink()

    window.go("/t/acme/")
    window.follow("Search")
    window.fill("Part of a name", "0.txt")
    window.page.locator("form[role=search] button").click()
    window.press("Restore")
    sees(window, "Looking what would change")
    window.press("In place of the live data")
    office.work()
    window.follow("Bring this page up to date")
    window.fill("Account id", "acme")
    window.press("Replace the live data")
    office.work()
    window.follow("Bring this page up to date")
    sees(window, "What came back")
    assert letter.read_bytes() == was

    window.press("See what undoing would do")
    office.work()
    window.follow("Bring this page up to date")
    window.fill("Account id", "acme")
    window.press("Undo the restore")
    office.work()
    window.follow("Bring this page up to date")
    sees(window, "What came back")
    assert not letter.exists()
    window.follow("Restores")
    assert window.page.locator("tbody tr").count() == 2


def test_a_file_is_looked_at_and_a_folder_downloaded(office: Office, window: Window) -> None:
    window.go(f"{office.browse}?folder=/letters")
    window.page.get_by_role("button", name="Preview").first.click()
    sees(window, "This takes a few seconds.")
    office.work()
    window.follow("Bring this page up to date")
    sees(window, (office.folder / "letters" / "0.txt").read_text().split()[0])

    window.go(f"{office.browse}?folder=/letters")
    window.press("Download this whole folder")
    window.press("Prepare the download")
    office.work()
    window.follow("Bring this page up to date")
    with window.page.expect_download() as fetched:
        window.press("Download now")
    with zipfile.ZipFile(fetched.value.path()) as found:
        assert any(name.endswith("0.txt") for name in found.namelist())
