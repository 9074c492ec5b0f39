"""The lifecycle of a delivery, and what can be delivered."""

from __future__ import annotations

import enum


class Kind(enum.StrEnum):
    """What the artefact is."""

    FILE = "file"  # one file as it is
    FOLDER = "folder"  # a zip of files and folders
    TABLE = "table"  # a CSV of one table
    DUMP = "dump"  # a database as it was stored
    SET_CSV = "set-csv"  # a zip with a CSV for each table and a manifest
    SET_JSON = "set-json"  # the same with JSON Lines
    LOOK_FILE = "look-at-file"  # the beginning of a file
    LOOK_TABLE = "look-at-table"  # the first rows of a table

    @property
    def is_preview(self) -> bool:
        return self in (Kind.LOOK_FILE, Kind.LOOK_TABLE)


class DeliveryState(enum.StrEnum):
    """From being chosen to being gone."""

    PROPOSED = "proposed"  # shown to who asked, who has not said yes; nothing is made
    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"  # nobody has fetched anything
    REDEEMED = "redeemed"  # one session fetches it
    ENDING = "ending"  # nobody gets anything any more; what lies in regions is being removed
    ENDED = "ended"  # nothing is left of it but this row
    QUARANTINED = "quarantined"


class End(enum.StrEnum):
    """How it ended."""

    COMPLETE = "complete"  # every byte was fetched
    EXPIRED = "expired"
    REVOKED = "revoked"
    CANCELLED = "cancelled"  # before it was ready
    FAILED = "failed"


_ENDING = frozenset({DeliveryState.ENDING})
DELIVERY_STEPS = {
    DeliveryState.PROPOSED: frozenset({DeliveryState.WAITING, DeliveryState.ENDED}),
    DeliveryState.WAITING: frozenset({DeliveryState.RUNNING}) | _ENDING,
    DeliveryState.RUNNING: frozenset(
        {DeliveryState.READY, DeliveryState.WAITING, DeliveryState.QUARANTINED}
    )
    | _ENDING,
    DeliveryState.READY: frozenset({DeliveryState.REDEEMED}) | _ENDING,
    DeliveryState.REDEEMED: _ENDING,
    DeliveryState.ENDING: frozenset({DeliveryState.ENDED}),
    DeliveryState.QUARANTINED: _ENDING,
    DeliveryState.ENDED: frozenset[DeliveryState](),
}
GOING = (DeliveryState.WAITING, DeliveryState.RUNNING)
SERVED = (DeliveryState.READY, DeliveryState.REDEEMED)
OVER = (DeliveryState.ENDING, DeliveryState.ENDED, DeliveryState.QUARANTINED)
