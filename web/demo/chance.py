"""Seeded randomness: one independent stream a topic, the same on every machine."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def stream(seed: int, *topic: object) -> random.Random:
    """A stream of its own for each topic, so that a change in one table moves no other."""
    name = "/".join(str(part) for part in (seed, *topic))
    return random.Random(name)  # noqa: S311 - sample data, nothing secret comes from it


def favourite(chance: random.Random, items: Sequence[Item]) -> Item:
    """As `choice`, but the first items come much more often: few customers buy most."""
    return items[int(len(items) * chance.random() ** 2)]


def identifier(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)
