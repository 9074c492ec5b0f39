"""Where the record lies in the regions, beside the backups and apart from them.

record/keys/0001.json              who signs: signed by the record key, and by the log's key before
record/keys/0001.sealed            the private half, in an envelope
record/checkpoints/000/000/000/042.note    what was signed when the log had 42 entries
record/leaves/000/000/000/042.json         the leaves that came with it, so that a database that was
                                           put back gets them again

Names sort by size whatever a clock says, so that the newest is found by a few listings. Checkpoints
and leaves are locked: nobody can take them away or put others in their place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from strongroom import reaching
from strongroom.audit.errors import Malformed
from strongroom.regions import Region
from strongroom.settings import Settings
from strongroom.storage import Act, Missing, StorageError, Store

PREFIX = "record/"
LOCKED = timedelta(days=366)
DIGITS, GROUP = 12, 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Batch:
    """The leaves that came between two checkpoints."""

    first: int
    leaves: Sequence[bytes]

    def encoded(self) -> bytes:
        said = {"first": self.first, "leaves": [each.decode() for each in self.leaves]}
        return json.dumps(said, separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Batch:
        """Raises Malformed."""
        try:
            said = json.loads(data)
            return cls(int(said["first"]), [each.encode() for each in said["leaves"]])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Malformed("The leaves of a checkpoint in a region cannot be read.") from None


class Place:
    """One region's copy of the record. Raises StorageErrors."""

    def __init__(self, settings: Settings, region: Region) -> None:
        self.name = region.name
        self._settings = settings
        self._region = region
        self._stores: dict[Act, Store] = {}

    def newest(self) -> tuple[int, bytes] | None:
        """The checkpoint over most entries, and the size in its name; None where there is none."""
        folder = f"{PREFIX}checkpoints/"
        for _ in range(DIGITS // GROUP - 1):
            names = [name for name in self._store(Act.RECORD).folders(folder) if name.isdecimal()]
            if not names:
                return None
            folder += f"{max(names)}/"
        keys = [each.key for each in self._store(Act.RECORD).list(folder)]
        sizes = [size for key in keys if (size := _size_of(key)) is not None]
        return (max(sizes), self.checkpoint(max(sizes)) or b"") if sizes else None

    def sizes(self) -> list[int]:
        """Of all checkpoints that lie there, from the smallest."""
        listed = self._store(Act.RECORD).list(f"{PREFIX}checkpoints/")
        return sorted(size for each in listed if (size := _size_of(each.key)) is not None)

    def checkpoint(self, size: int) -> bytes | None:
        return self._get(_key("checkpoints", size, "note"))

    def batch(self, size: int) -> Batch | None:
        """The leaves that came with a checkpoint. Raises Malformed."""
        data = self._get(_key("leaves", size, "json"))
        return None if data is None else Batch.decoded(data)

    def keep(self, size: int, note: bytes, batch: Batch, *, now: datetime) -> None:
        """The leaves first: a checkpoint that lies there can be rebuilt from there."""
        self._put(_key("leaves", size, "json"), batch.encoded(), now)
        self._put(_key("checkpoints", size, "note"), note, now)

    def key(self, number: int) -> tuple[bytes, bytes] | None:
        """The statement and the envelope of a key."""
        said, sealed = (self._get(name) for name in _key_names(number))
        return None if said is None or sealed is None else (said, sealed)

    def keep_key(self, number: int, statement: bytes, envelope: bytes) -> None:
        said, sealed = _key_names(number)
        store = self._store(Act.RECORD)
        store.put(sealed, envelope)
        store.put(said, statement)

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store(Act.RECORD).get(key)
        except Missing:
            return None

    def _put(self, key: str, data: bytes, now: datetime) -> None:
        version = self._store(Act.RECORD).put(key, data)
        if version is None:
            return
        try:
            self._store(Act.LOCK).retain_until(key, version, now + LOCKED)
        except StorageError as error:  # a bucket without locks keeps it all the same
            log.warning("an object of the record is not locked", key=key, error=error.message)

    def _store(self, act: Act) -> Store:
        if act not in self._stores:
            self._stores[act] = reaching.store(self._settings, self._region, prefix=PREFIX, act=act)
        return self._stores[act]


def _key(kind: str, size: int, ending: str) -> str:
    digits = f"{size:0{DIGITS}d}"
    groups = [digits[at : at + GROUP] for at in range(0, DIGITS, GROUP)]
    return f"{PREFIX}{kind}/{'/'.join(groups)}.{ending}"


def _key_names(number: int) -> tuple[str, str]:
    return f"{PREFIX}keys/{number:04d}.json", f"{PREFIX}keys/{number:04d}.sealed"


def _size_of(key: str) -> int | None:
    """What the name of a checkpoint says; None for what is none of ours."""
    name = key.removeprefix(f"{PREFIX}checkpoints/")
    digits = name.removesuffix(".note").replace("/", "")
    right = name.endswith(".note") and digits.isdecimal() and len(digits) == DIGITS
    return int(digits) if right else None
