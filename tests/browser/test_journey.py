"""The whole way in a real browser, in both languages: from signing in to having undone a restore."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from strongroom.people.rules import TenantRole
from tests.browser.standing import Stand
from tests.browser.window import Window
from tests.browser.words import said
from tests.people.cast import PASSWORD, People, Somebody

Opener = Callable[..., Window]
MOMENT = 90_000  # milliseconds in which the stack does a piece of work on a busy machine


class Person:
    """Somebody at a browser, who reads one language."""

    def __init__(self, stand: Stand, who: Somebody, window: Window, language: str) -> None:
        self.stand, self.who, self.window, self.language = stand, who, window, language

    def say(self, message: str) -> str:
        return said(self.language, message)

    def press(self, message: str) -> None:
        self.window.press(self.say(message))

    def follow(self, message: str) -> None:
        self.window.follow(self.say(message))

    def fill(self, label: str, value: str) -> None:
        self.window.fill(self.say(label), value)

    def sees(self, message: str) -> None:
        expect(self.window.page.locator("main")).to_contain_text(self.say(message), timeout=MOMENT)

    def sign_in(self) -> None:
        self.window.go("/")
        self.fill("E-mail address", self.who.email)
        self.fill("Password", PASSWORD)
        self.press("Sign in")
        if self.who.secret:
            self.prove()
        self.window.page.wait_for_url(f"**/t/{self.stand.tenant.slug}**")

    def prove(self) -> None:
        """With the code that the app shows."""
        self.fill("Code", self.stand.code(self.who))
        self.press("Go on")


@pytest.fixture
def person(request: pytest.FixtureRequest, stand: Stand, open_window: Opener) -> Iterator[Person]:
    window = open_window(stand.origin, locale=request.param, accept_downloads=True)
    owner = People(stand.platform).member(stand.tenant, TenantRole.OWNER)
    found = Person(stand, owner, window, request.param)
    found.sign_in()
    window.looked_at()
    yield found
    assert stand.harm() == []


def invoices(stand: Stand) -> list[Path]:
    return sorted(stand.folder.path.rglob("*فاتورة*.pdf"))


@pytest.mark.parametrize(
    "person", ["ar", pytest.param("en", marks=pytest.mark.long)], indirect=True
)
def test_a_deleted_invoice_comes_back_and_the_restore_is_undone(
    stand: Stand, person: Person
) -> None:
    invoice = invoices(stand)[0]
    was = invoice.read_bytes()
    invoice.unlink()
    window = person.window

    person.follow("Search")
    window.looked_at()
    window.page.locator("#q").fill(invoice.name)
    window.page.locator("form[role=search] button").click()
    window.looked_at()
    person.press("Restore")
    person.press("In place of the live data")
    person.sees("Nothing has been changed. The figures below say what would happen.")
    window.looked_at()
    window.fill(person.say("Account id"), stand.tenant.slug)
    person.press("Replace the live data")
    person.sees("What came back")
    window.looked_at()
    assert invoice.read_bytes() == was

    person.press("See what undoing would do")
    person.sees("Nothing has been changed. The figures below say what would happen.")
    window.looked_at()
    window.fill(person.say("Account id"), stand.tenant.slug)
    person.press("Undo the restore")
    person.sees("What came back")
    assert not invoice.exists()
    person.follow("Restores")
    window.looked_at()
    invoice.write_bytes(was)


@pytest.mark.parametrize(
    "person", ["en", pytest.param("ar", marks=pytest.mark.long)], indirect=True
)
def test_a_folder_is_looked_into_and_downloaded(stand: Stand, person: Person) -> None:
    window = person.window
    person.follow("Open this restore point")
    window.looked_at()
    window.page.get_by_role("link", name=person.say("Browse"), exact=True).first.click()
    window.looked_at()
    while window.page.locator("a.folder").count():
        window.page.locator("a.folder").first.click()
        window.page.wait_for_load_state()
    window.looked_at()
    window.page.get_by_role("button", name=person.say("Preview"), exact=True).first.click()
    expect(window.page.locator("main")).not_to_contain_text(
        person.say("This takes a few seconds."), timeout=MOMENT
    )
    window.looked_at()
    window.page.go_back()
    person.press("Download this whole folder")
    window.looked_at()
    person.press("Prepare the download")
    person.sees("Download now")
    window.looked_at()
    with window.page.expect_download(timeout=MOMENT) as fetched:
        person.press("Download now")
    with zipfile.ZipFile(fetched.value.path()) as found:
        there = {Path(name).name: found.read(name) for name in found.namelist() if name[-1] != "/"}
    live = {path.name: path.read_bytes() for path in stand.folder.path.rglob("*.*")}
    named = {name: data for name, data in there.items() if name in live}
    assert named
    assert all(live[name] == data for name, data in named.items())
    person.sees(
        "Everything was sent. Compare the checksum below if you want to be sure; to "
        "download it again, ask for it again."
    )
    window.looked_at()


def test_a_viewer_sees_how_things_stand_and_no_name(stand: Stand, open_window: Opener) -> None:
    window = open_window(stand.origin, locale="en")
    viewer = Person(stand, stand.viewer, window, "en")
    viewer.sign_in()
    window.looked_at()
    viewer.follow("Open this restore point")
    window.looked_at()

    for word in ("Browse", "Restore all of it", "Download all of it"):
        assert window.page.get_by_text(word, exact=True).count() == 0
    assert invoices(stand)[0].name not in window.page.content()
