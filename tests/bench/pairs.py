"""Pairs of measurements: ours and plain restic's, one right after the other."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.usage import Load


@dataclass(frozen=True)
class Pair:
    """One pair."""

    ours: float
    plain: float
    foreign: float  # processors that others kept busy meanwhile

    @property
    def ratio(self) -> float:
        return self.ours / self.plain


@dataclass(frozen=True)
class Spread:
    """Middle, least and most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        return {
            "median": round(self.median, 4),
            "min": round(self.least, 4),
            "max": round(self.most, 4),
        }


@dataclass(frozen=True)
class Compared:
    """All pairs of one bar."""

    pairs: tuple[Pair, ...]

    @property
    def ratio(self) -> Spread:
        return Spread.of([pair.ratio for pair in self.pairs])

    @property
    def ours(self) -> Spread:
        return Spread.of([pair.ours for pair in self.pairs])

    @property
    def plain(self) -> Spread:
        return Spread.of([pair.plain for pair in self.pairs])

    @property
    def foreign(self) -> Spread:
        return Spread.of([pair.foreign for pair in self.pairs])


def compare(ours: Callable[[], float], plain: Callable[[], float], *, pairs: int) -> Compared:
    """A B B A: whatever drifts meets both sides alike."""
    found = []
    for number in range(pairs):
        load = Load()
        if number % 2:
            second, first = plain(), ours()
        else:
            first, second = ours(), plain()
        found.append(Pair(first, second, load.foreign()))
    return Compared(tuple(found))


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    return {"processors": os.cpu_count(), "load": [round(each, 2) for each in os.getloadavg()]}
