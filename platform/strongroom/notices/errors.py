"""Why something could not be told.

StrongroomError
├── NotDelivered      tried again, unless it is permanent
├── NothingToSendBy   no mail server is set, or an optional package is missing
└── BadChannel        what was said of a channel cannot be used
"""

from __future__ import annotations

from strongroom.errors import BadValue, StrongroomError


class NotDelivered(StrongroomError):
    """The receiving side did not take a message. The text names no secret."""

    code = "not-delivered"

    def __init__(
        self, message: str, *, code: str | None = None, permanent: bool = False, **params: object
    ) -> None:
        super().__init__(message, code=code, **params)
        self.permanent = permanent


class NothingToSendBy(NotDelivered):
    """There is no way out of here for it yet; somebody may set one up."""

    code = "nothing-to-send-by"


class BadChannel(BadValue):
    """A channel cannot be as it was described."""

    code = "bad-channel"
