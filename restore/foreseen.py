"""What a restore of a folder would do, item by item: counted in full, named up to a bound. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup.restic.outputs import Restored

MOST_NAMED = 100  # of each kind
LONGEST = 1000  # signs of one name
KINDS = ("new", "changed", "deleted")
# restic's words, and ours.
ACTIONS = {"restored": "new", "updated": "changed"}


@dataclass
class Foreseen:
    """Collects what is told of each item."""

    items: int = 0  # files, links and folders, whatever becomes of them
    bytes: int = 0  # of all of them
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    named: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    known: set[int] = field(default_factory=set)  # hashes: a point may have millions of paths
    written: set[int] = field(default_factory=set)  # the same, of what restic would write

    def item(self, told: Restored) -> None:
        """What restic would do with it; what stays as it is is not named."""
        self.items += 1
        self.bytes += told.size
        self.known.add(hash(told.path))
        kind = ACTIONS.get(told.action)
        if kind is not None:
            self._note(kind, told.path)
        if kind == "new":
            self.written.add(hash(told.path))

    def live(self, path: str, *, goes: bool) -> None:
        """Told of everything that is there now; `goes` if the restore would replace what holds it.

        restic calls every folder restored, whether or not it is there.
        """
        name = hash(path)
        if name in self.written:
            self.written.remove(name)
            self.counts["new"] -= 1
            self.named["new"] = [each for each in self.named["new"] if each != path]
        elif goes and name not in self.known:
            self._note("deleted", path)

    def _note(self, kind: str, path: str) -> None:
        self.counts[kind] += 1
        if len(self.named[kind]) < MOST_NAMED:
            self.named[kind].append(path[:LONGEST])
