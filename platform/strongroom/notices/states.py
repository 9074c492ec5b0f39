"""The life of a message, and the ways out of here."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from strongroom.audit.leaves import Ending


class MessageState(enum.StrEnum):
    """Where a message is."""

    QUEUED = "queued"  # until it is due; also between two attempts
    SENDING = "sending"  # a courier holds it
    DELIVERED = "delivered"  # the receiving side said that it has it
    FAILED = "failed"  # given up: nobody took it in time, or it never can be taken
    WITHHELD = "withheld"  # not sent on purpose: refused by its reader, or there is no reader


MESSAGE_STEPS: Mapping[MessageState, frozenset[MessageState]] = {
    MessageState.QUEUED: frozenset({MessageState.SENDING}),
    MessageState.SENDING: frozenset(
        {
            MessageState.QUEUED,
            MessageState.DELIVERED,
            MessageState.FAILED,
            MessageState.WITHHELD,
        }
    ),
    MessageState.DELIVERED: frozenset(),
    MessageState.FAILED: frozenset(),
    MessageState.WITHHELD: frozenset(),
}
MESSAGES_ON_RECORD: Mapping[MessageState, Ending | None] = {
    MessageState.QUEUED: None,  # the act that it tells of is on record
    MessageState.SENDING: None,
    MessageState.DELIVERED: Ending.DONE,
    MessageState.FAILED: Ending.FAILED,
    MessageState.WITHHELD: Ending.REFUSED,
}
OVER = frozenset({MessageState.DELIVERED, MessageState.FAILED, MessageState.WITHHELD})


class ChannelKind(enum.StrEnum):
    """How a channel of operators is reached."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    APPRISE = "apprise"  # any service that the library of that name knows


class ReaderKind(enum.StrEnum):
    """What a message's `reader_id` names."""

    CHANNEL = "channel"  # of operators
    ACCOUNT = "account"  # a person
