"""Long secrets in pieces: sealed and opened with little memory, whatever their length.

    MAGIC, length of the head (4 bytes), head (JSON: who may open it), pieces

Each piece is 64 KiB under AES-256-GCM with a key made for this stream alone; its nonce is its number
and whether it is the last one, the head's hash is authenticated with each. So a piece that is
missing, doubled, moved or changed, and an end that was cut off, are noticed before anything of the
piece is given out. The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015), as in age.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.errors import StrongroomError

MAGIC = b"strongroom-sealed-1\n"
PIECE = 64 * 1024
TAG = 16
KEY_BYTES = 32
HEAD_MOST = 1024 * 1024


class StreamDamaged(StrongroomError):
    """A sealed stream was cut short, put out of order or changed, or the key is another one's."""

    code = "sealed-stream-damaged"
    permanent = True


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def seal(plain: IO[bytes], into: IO[bytes], *, key: bytes, head: Mapping[str, Any]) -> int:
    """Seal to the end of `plain`; gives how many bytes that were."""
    text = json.dumps(head, sort_keys=True).encode()
    into.write(MAGIC + len(text).to_bytes(4, "big") + text)
    cipher, bound = AESGCM(key), hashlib.sha256(text).digest()
    total, number = 0, 0
    piece = _fill(plain)
    while True:
        following = _fill(plain) if len(piece) == PIECE else b""
        into.write(cipher.encrypt(_nonce(number, last=not following), piece, bound))
        total += len(piece)
        if not following:
            return total
        piece, number = following, number + 1


def head_of(sealed: IO[bytes]) -> dict[str, Any]:
    """The head, not authenticated yet: only for finding the key. Reads up to the first piece."""
    if sealed.read(len(MAGIC)) != MAGIC:
        raise StreamDamaged("These bytes are no sealed stream of ours.")
    length = int.from_bytes(sealed.read(4), "big")
    text = sealed.read(length) if length <= HEAD_MOST else b""
    try:
        head: dict[str, Any] = json.loads(text)
    except ValueError:
        raise StreamDamaged("The head of a sealed stream cannot be read.") from None
    return head


def unseal(sealed: IO[bytes], *, key: bytes) -> Iterator[bytes]:
    """The plain pieces from the beginning of `sealed`. Raises StreamDamaged, at the latest at the
    end: what was given out before is not to be used then."""
    start = sealed.tell()
    head_of(sealed)
    length = sealed.tell() - start - len(MAGIC) - 4
    sealed.seek(start + len(MAGIC) + 4)
    bound = hashlib.sha256(sealed.read(length)).digest()
    cipher, number = AESGCM(key), 0
    piece = _fill(sealed, PIECE + TAG)
    while True:
        following = _fill(sealed, PIECE + TAG) if len(piece) == PIECE + TAG else b""
        try:
            yield cipher.decrypt(_nonce(number, last=not following), piece, bound)
        except (InvalidTag, ValueError):
            raise StreamDamaged(
                f"Piece {number} of a sealed stream does not open: the stream was cut short, put "
                "out of order or changed, or this is not its key."
            ) from None
        if not following:
            return
        piece, number = following, number + 1


def _fill(file: IO[bytes], size: int = PIECE) -> bytes:
    """So many bytes, fewer only at the end: a pipe gives what it has."""
    parts: list[bytes] = []
    missing = size
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
