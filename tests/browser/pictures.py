"""`make pictures`: the main pages as they look, in both languages, light and dark, into docs/images/.

A stack is started with one tenant of the demo; what is shown is what it really holds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from strongroom.people.rules import StaffRole
from tests.browser import window
from tests.browser.conftest import QUIET, TOOLS
from tests.browser.standing import Stand, standing
from tests.browser.window import Window
from tests.browser.words import said
from tests.people.cast import People, Somebody, token_for
from tools import chromium as provided

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LOOKS = (("en", "light"), ("ar", "light"), ("en", "dark"), ("ar", "dark"))
MOMENT = 60_000
Act = Callable[[Window, str], None]


def main() -> int:
    found = provided.find(TOOLS)
    if found is None:
        print("There is no Chromium. `make setup` says why it could not be had.", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with standing() as stand, sync_playwright() as playwright:
        operator = People(stand.platform).staff(StaffRole.OPERATOR)
        damage(stand)
        browser = playwright.chromium.launch(
            executable_path=str(found.program), args=QUIET, env={**os.environ, **found.environment}
        )
        for name, who, act in (
            ("console", operator, to_console),
            ("calendar", stand.owner, to_calendar),
            ("browse", stand.owner, to_folder),
            ("search", stand.owner, to_search),
            ("plan", stand.owner, to_plan),
        ):
            for language, scheme in LOOKS:
                picture(browser, stand, who, act, (name, language, scheme))
        browser.close()
    return 0


def damage(stand: Stand) -> None:
    """A day's changes, another point, and then a loss: so that there is something to see."""
    for thing in (stand.database, stand.folder):
        thing.change_a_day()
    stand.back_up()
    stand.folder.damage()


def picture(
    browser: Browser, stand: Stand, who: Somebody, act: Act, called: tuple[str, str, str]
) -> None:
    name, language, scheme = called
    context = browser.new_context(**window.options(locale=language, color_scheme=scheme))
    token = token_for(stand.platform, who)
    context.add_cookies([{"name": "strongroom", "value": token, "url": stand.origin}])
    looking = Window.of(context, stand.origin)
    act(looking, language)
    file = f"{name}-{language}{'' if scheme == 'light' else '-dark'}.png"
    looking.page.screenshot(path=IMAGES / file)
    context.close()
    print(f"docs/images/{file}", flush=True)


def to_console(looking: Window, _language: str) -> None:
    looking.go("/")


def to_calendar(looking: Window, _language: str) -> None:
    looking.go("/")


def to_folder(looking: Window, language: str) -> None:
    looking.go("/")
    looking.follow(said(language, "Open this restore point"))
    looking.page.get_by_role("link", name=said(language, "Browse"), exact=True).first.click()
    for _ in range(2):
        looking.page.locator("a.folder").first.click()
        looking.page.wait_for_load_state()


def to_search(looking: Window, language: str) -> None:
    looking.go("/")
    looking.follow(said(language, "Search"))
    looking.page.locator("#q").fill("فاتورة")
    looking.page.locator("form[role=search] button").click()
    looking.page.wait_for_load_state()


def to_plan(looking: Window, language: str) -> None:
    looking.go("/")
    looking.follow(said(language, "Open this restore point"))
    looking.press(said(language, "Restore all of it"))
    looking.press(said(language, "In place of the live data"))
    words = said(language, "Nothing has been changed. The figures below say what would happen.")
    expect(looking.page.locator("main")).to_contain_text(words, timeout=MOMENT)


if __name__ == "__main__":
    sys.exit(main())
