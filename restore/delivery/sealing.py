"""An artefact in chunks of a fixed size, each sealed by itself: any range opens without the rest.

    chunk 0, chunk 1, …, last chunk        AES-256-GCM, each CHUNK bytes (the last one fewer) + 16

A chunk's nonce is its number and whether it is the last one; tenant and delivery are authenticated
with each, and the key belongs to this artefact alone. So chunks that are moved, doubled, changed
or of another artefact do not open, and an end that was cut off is missed: how many chunks there are
follows from the size, which stands in the *head*, sealed by the same key. The construction is STREAM
(Hoang, Reyhanitabar, Rogaway, Vizár 2015), as in `strongroom.sealed_streams`.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.errors import StrongroomError

CHUNK = 1024 * 1024  # bytes of a chunk before it is sealed
TAG = 16
KEY_BYTES = 32
MIDDLE, LAST, HEAD = b"\x00", b"\x01", b"\x02"  # the end of a nonce


class ArtefactDamaged(StrongroomError):
    """What lies in the region is not what was made."""

    code = "artefact-damaged"
    permanent = True


@dataclass(frozen=True)
class Head:
    """What is known of the artefact once it is whole, and what reads it."""

    size: int  # bytes, opened
    sha256: str  # of them
    object_key: str
    version_id: str | None
    access_key: str  # short rights to read this artefact and nothing else
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


@dataclass(frozen=True)
class Seal:
    """The key of one artefact, and whose it is."""

    key: bytes = field(repr=False)
    tenant: uuid.UUID
    delivery: uuid.UUID

    def chunks(self, plain: Iterable[bytes]) -> Iterator[bytes]:
        """Sealed, from pieces of any size; at least one."""
        number = 0
        held: bytes | None = None
        for chunk in cut(plain, CHUNK):
            if held is not None:
                yield self._closed(held, number, MIDDLE)
                number += 1
            held = chunk
        yield self._closed(held or b"", number, LAST)

    def opened(self, sealed: bytes, number: int, *, of: int) -> bytes:
        """Chunk `number` of so many. Raises ArtefactDamaged."""
        nonce = _nonce(number, LAST if number == of - 1 else MIDDLE)
        try:
            return self._cipher().decrypt(nonce, sealed, self._bound())
        except (InvalidTag, ValueError):
            raise ArtefactDamaged(
                f"Chunk {number} of delivery {self.delivery} does not open: what lies in the region "
                "was changed, cut short or put out of order. Ask for it again.",
                delivery=str(self.delivery),
            ) from None

    def close_head(self, head: Head) -> bytes:
        return self._closed(json.dumps(asdict(head)).encode(), 0, HEAD)

    def open_head(self, sealed: bytes) -> Head:
        """Raises ArtefactDamaged."""
        try:
            text = self._cipher().decrypt(_nonce(0, HEAD), sealed, self._bound())
        except (InvalidTag, ValueError):
            raise ArtefactDamaged(
                f"The head of delivery {self.delivery} does not open. Ask for it again.",
                delivery=str(self.delivery),
            ) from None
        return Head(**json.loads(text))

    def _closed(self, plain: bytes, number: int, end: bytes) -> bytes:
        return self._cipher().encrypt(_nonce(number, end), plain, self._bound())

    def _cipher(self) -> AESGCM:
        return AESGCM(self.key)

    def _bound(self) -> bytes:
        whose = b"strongroom-delivery-1" + self.tenant.bytes + self.delivery.bytes
        return hashlib.sha256(whose).digest()


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def count(size: int) -> int:
    """How many chunks an artefact of so many bytes has."""
    return max(1, -(-size // CHUNK))


def sealed_size(size: int) -> int:
    """How many bytes lie in the region then."""
    return size + count(size) * TAG


def cut(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of so many; the last one may be shorter, none is empty."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _nonce(number: int, end: bytes) -> bytes:
    return number.to_bytes(11, "big") + end
