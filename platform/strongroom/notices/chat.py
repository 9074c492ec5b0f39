"""Operators' own services by way of Apprise: the one module that knows the library.

It says yes or no and nothing more, and its own log names addresses with their secrets: so it is kept
silent, and runs only where the optional package is installed.
"""

from __future__ import annotations

import logging
from typing import Any

from strongroom.notices.errors import NotDelivered, NothingToSendBy
from strongroom.notices.letters import Letter


def send(url: str, letter: Letter) -> dict[str, Any]:
    """The receipt: the service took it. Raises NotDelivered."""
    try:
        import apprise
    except ImportError:
        raise NothingToSendBy(
            "This channel needs the package `strongroom[apprise]`, which is not installed.",
            code="no-apprise",
        ) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    asset = apprise.AppriseAsset(secure_logging=True, async_mode=False)
    services = apprise.Apprise(asset=asset)
    if not services.add(url):
        raise NotDelivered("Apprise does not know such an address.", code="chat-address")
    if not services.notify(title=letter.subject, body=letter.text, body_format="text"):
        raise NotDelivered("The service did not take the message.", code="chat-refused")
    return {"by": "apprise", "service": url.partition("://")[0]}
