"""Whether a log is what was signed: goes along entries and checkpoints, and names what is wrong. Pure.

Two kinds of evidence: each entry against the hash that was written when it got its place, and the
tree over all hashes against the signed roots. Whoever edits a row and its hash fails at the next
checkpoint; the leaves that lie in a region beside it then say which entry it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from strongroom.audit import leaves, notes
from strongroom.audit.leaves import Leaf
from strongroom.audit.merkle import Range, leaf_hash
from strongroom.audit.notes import Checkpoint, PublicKey

Witness = Callable[[int], Sequence[bytes] | None]  # the leaves that came with a checkpoint
MOST_PROBLEMS = 100  # told one by one; a log that is wrong all over is known by then


@dataclass(frozen=True)
class Row:
    """An entry at its place, as somebody shows it."""

    index: int
    entry: uuid.UUID
    hash: bytes  # as it was written down
    leaf: bytes | None  # None: the entry itself is gone
    salt: bytes | None = field(default=None, repr=False)
    details: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Head:
    """A checkpoint, as somebody shows it."""

    size: int
    note: bytes
    peaks: bytes  # believed only where they give the root that was signed


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was signed."""

    code: str
    words: str
    index: int | None = None
    entry: uuid.UUID | None = None


class Verification:
    """Fed with rows and checkpoints in their order; `problems` says what was found."""

    def __init__(
        self, origin: str, trusted: Sequence[PublicKey], witness: Witness = lambda _: None
    ) -> None:
        self.problems: list[Problem] = []
        self.rows = self.heads = 0
        self.signed = 0  # the size of the last checkpoint that holds
        self._origin, self._trusted, self._witness = origin, trusted, witness
        self._base = Range()  # at the last checkpoint
        self._since: list[Row] = []
        self._broken = False  # since then something was told that breaks the root as well

    @property
    def next(self) -> int:
        return self._base.size + len(self._since)

    def row(self, row: Row) -> None:
        self.rows += 1
        if row.index != self.next and not self._broken:
            self._say(
                "missing",
                f"Place {self.next} is empty: the next entry that is there has {row.index}.",
                index=self.next,
            )
            self._broken = True
        self._since.append(row)
        if row.leaf is None:
            self._say("removed", f"Entry {row.entry} at place {row.index} was removed.", row)
        elif leaf_hash(row.leaf) != row.hash:
            self._say("edited", f"Entry {row.entry} at place {row.index} was edited.", row)
        else:
            self._look_into(row, row.leaf)

    def head(self, head: Head) -> None:
        """What was signed over the rows so far."""
        self.heads += 1
        try:
            said = notes.checkpoint(head.note, origin=self._origin, trusted=self._trusted)
        except notes.NoteRefused as error:
            self._say(
                "checkpoint-refused", f"The checkpoint over {head.size} entries: {error.message}"
            )
            return
        grown = self._base.extended(each.hash for each in self._since)
        if said.size != head.size:
            self._say(
                "checkpoint-refused", f"A checkpoint over {said.size} is shown as {head.size}."
            )
        elif not self._broken and grown.size == said.size and grown.root() == said.root:
            self.signed = said.size
        elif not self._broken:
            self._name(said)
        self._base, self._since, self._broken = _peaks(head, said, grown), [], False

    def end(self) -> list[Problem]:
        """All that was found. Rows behind the last checkpoint are signed by nobody."""
        if self._since:
            self._say(
                "unsigned",
                f"The entries from place {self._base.size} on are under no checkpoint.",
                self._since[0],
            )
        return self.problems

    def _look_into(self, row: Row, data: bytes) -> None:
        try:
            leaf = Leaf.decoded(data)
        except ValueError:
            self._say("malformed", f"What is at place {row.index} is no entry.", row)
            return
        if leaf.id != row.entry:
            self._say("reordered", f"Place {row.index} belongs to another entry.", row)
        elif not _details_fit(row, leaf):
            self._say("details-edited", f"The details of entry {row.entry} were edited.", row)

    def _name(self, said: Checkpoint) -> None:
        """Which of the entries since the last checkpoint it is, if a witness can tell."""
        theirs = self._witness(said.size)
        trees = None if theirs is None else self._base.extended(leaf_hash(each) for each in theirs)
        if theirs is None or trees is None or trees.root() != said.root:
            self._say(
                "changed",
                f"The entries from place {self._base.size} to {said.size - 1} are not those that "
                "were signed: one was edited, removed, inserted or put elsewhere.",
                index=self._base.size,
            )
            return
        for problem in named(self._base.size, self._since, [Leaf.decoded(each) for each in theirs]):
            self._say(problem.code, problem.words, index=problem.index, entry=problem.entry)

    def _say(
        self,
        code: str,
        words: str,
        row: Row | None = None,
        *,
        index: int | None = None,
        entry: uuid.UUID | None = None,
    ) -> None:
        if row is not None:
            index, entry = row.index, row.entry
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(code, words, index, entry))


def named(first: int, ours: Sequence[Row], signed: Sequence[Leaf]) -> list[Problem]:
    """How the rows differ from the leaves that were signed; at least one problem. Pure."""
    here, there = [row.entry for row in ours], [leaf.id for leaf in signed]
    found = [
        Problem("removed", f"Entry {entry} was removed.", first + at, entry)
        for at, entry in enumerate(there)
        if entry not in set(here)
    ]
    found += [
        Problem("inserted", f"Entry {row.entry} was inserted.", row.index, row.entry)
        for row in ours
        if row.entry not in set(there)
    ]
    if found:
        return found
    for row, leaf in zip(ours, signed, strict=False):
        if row.entry != leaf.id:
            words = f"Entry {row.entry} was put at place {row.index}, where {leaf.id} was."
            return [Problem("reordered", words, row.index, row.entry)]
    return [
        Problem("edited", f"Entry {row.entry} was edited, and its hash too.", row.index, row.entry)
        for row, leaf in zip(ours, signed, strict=False)
        if row.hash != leaf.hash
    ] or [Problem("changed", "The entries are not those that were signed.", first)]


def _details_fit(row: Row, leaf: Leaf) -> bool:
    """Details that were erased, or are not shown, say nothing and fit; half of them does not."""
    if row.salt is None or row.details is None:
        return row.salt is None and row.details is None
    return leaves.committed(row.salt, row.details) == leaf.commitment


def _peaks(head: Head, said: Checkpoint, grown: Range) -> Range:
    """From where to go on: what was signed, so that one change is told once."""
    try:
        known = Range.decoded(said.size, head.peaks)
    except ValueError:
        return grown
    return known if known.root() == said.root else grown
