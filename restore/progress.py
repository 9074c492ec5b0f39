"""How far a restore is: percent, bytes, speed and time left. The figures are pure; writing is not.

Speed is smoothed over some ten seconds: a fetch comes in gusts, and a time left that jumps is worse
than none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

SMOOTH_SECONDS = 10.0
WRITE_SECONDS = 1.0  # at most this often on the row
LEAST_SECONDS = 2.0  # before a speed is told at all


@dataclass(frozen=True)
class Told:
    """What stands on the row."""

    percent: int | None  # None: the total is not known
    bytes: int
    total: int | None
    rate: float | None  # bytes a second; None: too early to say
    left: float | None  # seconds

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Meter:
    """Smooths what is seen. Pure; moments are seconds of one clock that does not jump."""

    began: float | None = None
    last: tuple[float, int] = (0.0, 0)
    rate: float = 0.0

    def seen(self, done: int, total: int | None, *, at: float) -> Told:
        """Figures for this moment; `done` of `total` bytes."""
        if self.began is None:
            self.began, self.last = at, (at, done)
        else:
            self._smooth(done, at)
        told = None
        if at - self.began >= LEAST_SECONDS and self.rate > 0:
            told = self.rate
        # A dump is compressed a little differently each time: never more than all.
        known = total is not None and total > 0
        percent = min(99 if done < (total or 0) else 100, done * 100 // (total or 1))
        left = max(0, (total or 0) - done) / told if known and told else None
        return Told(percent if known else None, done, total if known else None, told, left)

    def _smooth(self, done: int, at: float) -> None:
        then, before = self.last
        passed = at - then
        if passed <= 0:
            return
        now = max(0, done - before) / passed
        weight = 1 - math.exp(-passed / SMOOTH_SECONDS)
        self.rate = now if self.rate == 0 else self.rate + weight * (now - self.rate)
        self.last = (at, done)


class Teller:
    """Told by whoever moves bytes, several times a second; writes once a second."""

    def __init__(self, write: Callable[[dict[str, Any]], None], *, total: int | None) -> None:
        self._write, self._total = write, total
        self._meter = Meter()
        self._next = 0.0

    def __call__(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + WRITE_SECONDS
        self._write(self._meter.seen(done, total or self._total, at=now).to_json())
