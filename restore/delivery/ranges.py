"""What part of a file is asked for (RFC 9110, section 14), and which parts were sent. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WANTED = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
MOST_KEPT = 1000  # ranges that are remembered apart from each other


@dataclass(frozen=True)
class Span:
    """Bytes `first` to `last`, both included; of an empty file last is -1."""

    first: int
    last: int
    partial: bool = True

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class NotSatisfiable(ValueError):
    """Nothing of the file lies in the range: 416."""


def wanted(header: str | None, size: int, *, still: bool = True) -> Span:
    """One range, or all of it: for none, for several, for what is no range of bytes, and where
    If-Range names another file (`still` is False). Raises NotSatisfiable."""
    whole = Span(0, size - 1, partial=False)
    found = WANTED.fullmatch((header or "").strip())
    if found is None or not still:
        return whole
    first, last = found.groups()
    if not first and not last:
        return whole
    if not first:  # the last so many
        length = min(int(last), size)
        if not length:
            raise NotSatisfiable
        return Span(size - length, size - 1)
    if last and int(last) < int(first):
        return whole
    if int(first) >= size:
        raise NotSatisfiable
    return Span(int(first), min(int(last), size - 1) if last else size - 1)


@dataclass(frozen=True)
class Sent:
    """What was sent of a file, as ranges that do not touch, in order."""

    spans: tuple[tuple[int, int], ...] = ()  # first, last

    def and_(self, first: int, last: int) -> Sent:
        """With these as well."""
        if last < first:
            return self
        merged: list[tuple[int, int]] = []
        for one in sorted([*self.spans, (first, last)]):
            if merged and one[0] <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], one[1]))
            else:
                merged.append(one)
        return Sent(tuple(merged[:MOST_KEPT]))

    def is_all(self, size: int) -> bool:
        return size == 0 or self.spans == ((0, size - 1),)

    def to_json(self) -> dict[str, Any]:
        return {"spans": [list(each) for each in self.spans]}

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Sent:
        return cls(tuple((int(a), int(b)) for a, b in (values or {}).get("spans", ())))
