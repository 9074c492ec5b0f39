"""The dead man's switch: an address outside of here is asked every minute, for as long as all is well.

Whoever keeps it raises the alarm when nothing comes any more: that is the one alert that needs nothing of
ours to work. It is asked only while the dispatcher's rounds succeed *and* the courier and the watch, who
carry every other alert, give signs of life. That asking fails disturbs nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
import structlog

EVERY_SECONDS = 60.0
WAITS_SECONDS = 10.0

log = structlog.get_logger(__name__)


@dataclass
class Switch:
    """The asking of one process."""

    url: str = field(repr=False)  # who knows it can keep the alarm from coming
    is_well: Callable[[], bool]
    every: float = EVERY_SECONDS

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.wait(self.every):
            self.press()

    def press(self) -> bool:
        """Ask once, if all is well; whether the other side took it."""
        try:
            if not self.is_well():
                log.error("all is not well: the dead man's switch is not pressed")
                return False
            answer = requests.get(
                self.url, timeout=WAITS_SECONDS, allow_redirects=False, stream=True
            )
            with answer:
                taken = answer.ok
        except Exception as error:  # noqa: BLE001 - an edge: the dispatcher goes on whatever happens here
            log.warning(
                "the dead man's switch could not be pressed",
                server=urlsplit(self.url).hostname,
                error=type(error).__name__,  # the error itself names the address
            )
            return False
        if not taken:
            log.warning("the dead man's switch was not taken", status=answer.status_code)
        return taken
