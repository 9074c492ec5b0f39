"""A real browser looking at our pages: what it complains about is collected and asserted.

Window    one tab: goes to pages, fills in forms by their labels, and after each page is asked
          whether anything was wrong with it (`looked_at`)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    TimeoutError,
)

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What is in order is not listed with every element: that took longer than to find it out.
ASKED = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
SERIOUS = ("serious", "critical")
MOST_BYTES = 200_000  # of a page before images
NARROW, WIDE = 320, 1280  # CSS pixels
HEIGHT = 900


@dataclass
class Window:
    """One tab of one person."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    bytes: dict[str, int] = field(default_factory=dict)  # of this page and its files, by address

    @classmethod
    def of(cls, context: BrowserContext, origin: str) -> Window:
        page = context.new_page()
        page.set_default_timeout(90_000)
        window = cls(page, origin)
        page.on("console", window._note)
        page.on("pageerror", lambda error: window.complaints.append(str(error)))
        page.on("response", window._weigh)
        return window

    def go(self, address: str) -> None:
        """An address of ours, from / on; or a whole one."""
        self.page.goto(address if "://" in address else self.origin + address)

    def fill(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).fill(value)

    def press(self, name: str) -> None:
        """A button, by the words on it."""
        self._click(self.page.get_by_role("button", name=name, exact=True).first)

    def follow(self, name: str) -> None:
        """A link, by its words."""
        self._click(self.page.get_by_role("link", name=name, exact=True).first)

    def _click(self, wanted: Locator) -> None:
        try:
            wanted.click()
        except TimeoutError as error:  # what was there instead is what one has to know
            raise AssertionError(f"{error}\n{self.page.url} shows:\n{self.text}") from error

    @property
    def text(self) -> str:
        return self.page.locator("main").inner_text()

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.origin)

    def speak(self, language: str) -> None:
        """The same page in another language, which is remembered."""
        mark = "&" if "?" in self.page.url else "?"
        self.page.goto(f"{self.page.url.split('#')[0]}{mark}lang={language}")

    def looked_at(self) -> None:
        """Fails on anything that is wrong with the page as it is shown now."""
        self.page.wait_for_load_state()
        assert self.complaints == [], (self.page.url, self.complaints)
        assert self.faults() == [], (self.page.url, self.faults())
        for width in (NARROW, WIDE):
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
            assert self.overflow() == 0, f"{self.page.url} scrolls sideways at {width} px"
        assert sum(self.bytes.values()) < MOST_BYTES, (self.page.url, self.bytes)

    def faults(self) -> list[str]:
        """What axe finds serious, one line each with the element."""
        found = Axe().run(self.page, options=ASKED)
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:160]}: {node['failureSummary']}"
            for each in found.response["violations"]
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the window."""
        script = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        wider: int = self.page.evaluate(script)
        return max(0, wider)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _weigh(self, response: Response) -> None:
        """By what is sent; fonts and images are not counted, a file that was kept counts again."""
        kind, size = response.request.resource_type, int(response.headers.get("content-length", 0))
        if kind == "document":
            self.bytes = {name: each for name, each in self.bytes.items() if "/static/" in name}
        if kind in ("document", "stylesheet", "script"):
            self.bytes[response.url] = size


def options(**more: Any) -> dict[str, Any]:
    """Of a context: nothing is kept from one person to the next."""
    return {"viewport": {"width": WIDE, "height": HEIGHT}, "reduced_motion": "reduce", **more}
