"""The demo's steps: each is timed, says what it saw, and stops the demo when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from strongroom.errors import StrongroomError


class NotProven(StrongroomError):
    """The demo saw something else than it should."""

    code = "not-proven"


@dataclass(frozen=True)
class Seen:
    """What a step saw."""

    detail: str
    bytes: int | None = None


@dataclass(frozen=True)
class Step:
    """One step that has ended."""

    name: str
    ok: bool
    seconds: float
    bytes: int | None
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "bytes": self.bytes,
            "detail": self.detail,
        }


@dataclass
class Record:
    """The steps so far, and whom to tell."""

    say: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)

    def step(self, name: str, act: Callable[[], Seen]) -> None:
        """Carry out one step. Whatever it raises is told as its failure, and raised on."""
        self.say(f"▸ {name} …")
        began = time.monotonic()
        try:
            seen = act()
        except Exception as error:  # an edge: the failing step is named, then the demo ends
            said = error.message if isinstance(error, StrongroomError) else repr(error)
            self._end(name, began, ok=False, seen=Seen(said))
            raise
        self._end(name, began, ok=True, seen=seen)

    def _end(self, name: str, began: float, *, ok: bool, seen: Seen) -> None:
        seconds = time.monotonic() - began
        self.steps.append(Step(name, ok, seconds, seen.bytes, seen.detail))
        self.say(f"  {'✓' if ok else '✗'} {seconds:5.1f} s  {seen.detail}")

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)


def require(condition: bool, message: str) -> None:
    """Raises NotProven: the demo claims nothing that it has not seen."""
    if not condition:
        raise NotProven(message)
