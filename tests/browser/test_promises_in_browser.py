"""The promise register in a real browser: both languages, wide and narrow, nothing to complain of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tests.browser import window
from tests.browser.serving import served
from tests.browser.window import Window
from tests.cast import FakeClock
from tests.people.cast import People, token_for
from tests.web import promising


@pytest.mark.long
def test_the_register_is_readable_everywhere(
    runtime: Runtime, clock: FakeClock, open_window: Callable[..., Window]
) -> None:
    world = promising.make(runtime, clock)
    world.run("datacore", "update snapshots set verified_at = null where tenant_id = :tenant")
    privacy = People(runtime).staff(StaffRole.PRIVACY)
    with served(world.runtime) as origin:
        for language in ("en", "ar"):
            looking = open_window(origin, locale=language)
            token = token_for(world.runtime, privacy)
            looking.page.context.add_cookies(
                [{"name": "strongroom", "value": token, "url": origin}]
            )
            for address in ("/promises", "/promises/datacore-latest-verified"):
                looking.go(address)
                looking.looked_at()
                picture(looking, f"promises-{language}-{address.count('/')}")
        assert window.WIDE > window.NARROW


def picture(looking: Window, name: str) -> None:
    folder = os.environ.get("LOOK_AT")
    if folder:
        for width in (window.WIDE, window.NARROW):
            looking.page.set_viewport_size({"width": width, "height": window.HEIGHT})
            looking.page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=False)
