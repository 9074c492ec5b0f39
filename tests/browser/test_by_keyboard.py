"""With the keyboard alone: the order of stops, whether they can be seen, and a way out of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.browser import office as offices
from tests.browser.office import Office
from tests.browser.serving import served
from tests.browser.window import Window

Opener = Callable[..., Window]
MOST_STOPS = 300
WHERE = """() => {
  const found = document.activeElement;
  if (!found || found === document.body || found === document.documentElement) return null;
  const box = found.getClientRects()[0] || found.getBoundingClientRect();
  const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const style = getComputedStyle(found);
  const room = found.closest('header.top') ? 1 : found.closest('.tenant-head') ? 2
    : found.closest('main') ? 3 : 0;
  return {
    place: [...document.querySelectorAll('*')].indexOf(found),
    called: (found.innerText || found.name || found.id || found.tagName).trim().slice(0, 60),
    room: room,
    outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    seen: top !== null && (found.contains(top) || top.contains(found)
      || (top.closest('label') !== null && top.closest('label').control === found)),
  };
}"""
STOPS = """() => {
  const all = [...document.querySelectorAll('*')];
  const kinds = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]';
  return all.filter(each => each.matches(kinds) && !each.disabled && each.checkVisibility())
    .map(each => all.indexOf(each));
}"""


@pytest.fixture
def office(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Iterator[Office]:
    with served(runtime) as origin:
        yield offices.office(runtime, acme, origin, tmp_path / "srv" / "office")


def stops(page: Page) -> list[dict[str, Any]]:
    """Each place that Tab comes to, from the top of the page until it leaves it."""
    found: list[dict[str, Any]] = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        now = page.evaluate(WHERE)
        if now is None or found and now["place"] == found[0]["place"]:
            return found  # a browser without a bar of its own may go round at once
        if not found or now["place"] != found[-1]["place"]:  # a date has a stop for each part of it
            found.append(now)
    raise AssertionError(f"Tab never leaves {page.url}; last: {found[-3:]}")


def check(page: Page) -> None:
    there = page.evaluate(STOPS)
    found = stops(page)
    places = [each["place"] for each in found]
    assert places == sorted(set(places)), (page.url, found)
    assert set(there) <= set(places), (page.url, set(there) - set(places))
    rooms = [each["room"] for each in found]
    assert rooms == sorted(rooms), (page.url, found)  # navigation first, then the page itself
    for each in found:
        assert each["outlined"], (page.url, each)
        assert each["seen"], (page.url, each)


def test_tab_goes_through_every_main_page_in_its_order(office: Office, open_window: Opener) -> None:
    window = open_window(office.origin, locale="en")
    office.enter(window)
    page = window.page
    for address in (
        *("/t/acme/", f"/t/acme/points/{office.point.number}", office.browse),
        *("/t/acme/search?q=0", "/t/acme/restores", "/t/acme/downloads", "/t/acme/access"),
        *("/account/", "/t/acme/nowhere"),
    ):
        window.go(address)
        check(page)
    window.go(f"/t/acme/points/{office.point.number}")
    window.press("Restore all of it")
    office.work()
    page.reload()
    check(page)


def test_the_first_stop_leads_past_the_navigation(office: Office, open_window: Opener) -> None:
    window = open_window(office.origin, locale="en")
    office.enter(window)
    window.go("/t/acme/")
    keys = window.page.keyboard

    keys.press("Tab")
    expect(window.page.locator(".skip")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")

    assert window.page.evaluate(WHERE)["room"] >= 2


def test_a_file_is_chosen_and_restored_without_a_mouse(office: Office, open_window: Opener) -> None:
    window = open_window(office.origin, locale="en")
    office.enter(window)
    window.go(office.browse)
    page, keys = window.page, window.page.keyboard

    page.locator("input[type=checkbox]").first.focus()
    keys.press("Space")
    button = page.locator(".bar button").first
    for _ in range(MOST_STOPS):
        keys.press("Tab")
        if button.evaluate("each => each === document.activeElement"):
            break
    keys.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("What the restore would do")
    assert "/restores/" in window.path
