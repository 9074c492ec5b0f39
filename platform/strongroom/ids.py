"""Ids of rows: UUID version 7 (RFC 9562, 5.7), so that they sort by the time they were made."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime


def new_id() -> uuid.UUID:
    """48 bits of milliseconds since 1970, then 74 random bits."""
    moment = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    number = (moment << 80) | (random & ((1 << 80) - 1))
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return uuid.UUID(int=number)


def made_at(row_id: uuid.UUID) -> datetime:
    """When an id of ours was made, on the clock of the host that made it."""
    return datetime.fromtimestamp((row_id.int >> 80) / 1000, UTC)


def first_id(moment: datetime) -> uuid.UUID:
    """Not above any id that is made from this moment on, and above all that were made before."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)
