"""A Chromium for all tests of a process; a context (cookies, language) for each person.

chromium      the browser
open_window   `open_window(origin, locale="ar")` → Window, closed at the end of the test
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import window
from tests.browser.standing import Stand, standing
from tests.browser.window import Window
from tools import chromium as provided

TOOLS = Path(__file__).parents[2] / ".tools"
# No network but ours is there for it; as root it has no sandbox of its own.
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = provided.find(TOOLS)
    assert found is not None, "There is no Chromium. `make setup` says why it could not be had."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(found.program), args=QUIET, env={**os.environ, **found.environment}
        )
        yield browser
        browser.close()


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[Callable[..., Window]]:
    contexts = []

    def open_one(origin: str, **more: Any) -> Window:
        context = chromium.new_context(**window.options(**more))
        contexts.append(context)
        return Window.of(context, origin)

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with standing() as found:
        yield found
