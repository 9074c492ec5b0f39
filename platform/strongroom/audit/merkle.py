"""Merkle trees over a log that only grows (RFC 6962, section 2.1; RFC 9162, section 2.1). Pure.

A tree is known by its size and root. A `Range` is what has to be kept of a tree so that it can grow:
the roots of its largest full subtrees, from left to right, one for each bit of the size. Appending
costs O(log n) at most, and nothing that is older is looked at.

`Subtree` gives the hash of the leaves `low` to `high` (excluded), so that proofs do not care where
the hashes lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()

Subtree = Callable[[int, int], bytes]


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Range:
    """A tree as far as it has to be known to grow."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()  # roots of full subtrees, the largest first

    def __post_init__(self) -> None:
        if len(self.peaks) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has not {len(self.peaks)} peaks")

    def extended(self, hashes: Iterable[bytes]) -> Range:
        """With these leaf hashes behind it."""
        size, peaks = self.size, list(self.peaks)
        for each in hashes:
            grown, rest = each, size
            while rest & 1:  # two subtrees of one height become one
                grown = node_hash(peaks.pop(), grown)
                rest >>= 1
            peaks.append(grown)
            size += 1
        return Range(size, tuple(peaks))

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY
        *rest, found = self.peaks
        for peak in reversed(rest):
            found = node_hash(peak, found)
        return found

    def encoded(self) -> bytes:
        """The peaks in a row; the size says how many there are."""
        return b"".join(self.peaks)

    @classmethod
    def decoded(cls, size: int, data: bytes) -> Range:
        """Raises ValueError."""
        if len(data) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(data)} bytes are not the peaks of {size} leaves")
        steps = range(0, len(data), HASH_BYTES)
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in steps))


def root(hashes: Iterable[bytes]) -> bytes:
    """Of the tree over these leaf hashes."""
    return Range().extended(hashes).root()


def over(hashes: Sequence[bytes]) -> Subtree:
    """Subtrees of a tree whose leaf hashes are all at hand."""
    return lambda low, high: root(hashes[low:high])


def inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The audit path of one leaf, from its neighbour up. Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(subtree(middle, high))
            high = middle
        else:
            path.append(subtree(low, middle))
            low = middle
    return path[::-1]


def consistency(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """Shows that the tree of `old` leaves is the beginning of that of `size`. Raises ValueError."""
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {old} is not the beginning of one of {size}")
    if old in (0, size):
        return []
    path: list[bytes] = []
    low, high, known = 0, size, True  # known: whoever asks has the root of low to old
    while high != old or not known:
        if high == old:
            path.append(subtree(low, high))
            break
        middle = low + _split(high - low)
        if old <= middle:
            path.append(subtree(middle, high))
            high = middle
        else:
            path.append(subtree(low, middle))
            low, known = middle, False
    return path[::-1]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], wanted: bytes) -> bool:
    """Whether a leaf hash is at this place of the tree (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for each in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(each, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, each)
        place, last = place >> 1, last >> 1
    return last == 0 and found == wanted


def is_consistent(
    old: int, size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Whether one tree is the beginning of the other (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= size:
        return False
    if old == size:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY
    proof = [*([old_root] if old & (old - 1) == 0 else []), *path]
    if not proof:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = proof[0]
    for each in proof[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_hash(each, first), node_hash(each, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, each)
        place, last = place >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
