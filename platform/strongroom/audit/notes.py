"""Signed notes and checkpoints, as others read and write them. Pure.

A note is a text, an empty line, and a line for each signature (c2sp.org/signed-note):

    — NAME BASE64(first 4 bytes of SHA-256(NAME, newline, 0x01, public key), Ed25519 signature)

A checkpoint is a note whose text is origin, size and root in base64, a line each
(c2sp.org/tlog-checkpoint). A proof that one leaf is in the log is a checkpoint with what leads up to
it (c2sp.org/tlog-proof).

    NoteRefused       it does not say what we said
    ├── BadNote       no note at all, or no checkpoint
    └── Unsigned      none of the trusted keys signed it
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from strongroom.audit.merkle import HASH_BYTES
from strongroom.errors import BadValue, StrongroomError

ED25519 = b"\x01"
KEY_BYTES = 32
ID_BYTES = 4
SIGNATURE_BYTES = 64
MOST_BYTES = 64 * 1024
MOST_SIGNATURES = 100
NAME = re.compile(r"[^\s+]+")
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
PROOF_HEAD = "c2sp.org/tlog-proof@v1"


class NoteRefused(StrongroomError):
    """A note is not to be believed."""

    code = "note-refused"
    permanent = True


class BadNote(NoteRefused):
    """These bytes are no note, or no checkpoint."""

    code = "note-malformed"


class Unsigned(NoteRefused):
    """None of the keys that are trusted here signed it, or it was changed since."""

    code = "note-unsigned"


@dataclass(frozen=True)
class PublicKey:
    """Who may be believed."""

    name: str
    raw: bytes  # 32 bytes

    @classmethod
    def from_text(cls, said: str) -> PublicKey:
        """From `NAME+ID+BASE64`, as Go's note package writes them. Raises BadValue."""
        parts = said.strip().split("+", 2)
        try:
            name, hint, encoded = parts
            data = _binary(encoded)
            key = cls(name, data[1:])
            right = data[:1] == ED25519 and len(key.raw) == KEY_BYTES and NAME.fullmatch(name)
            if not right or key.id.hex() != hint:
                raise ValueError
            Ed25519PublicKey.from_public_bytes(key.raw)
        except ValueError:
            raise BadValue(
                f"Wanted a key like NAME+0123abcd+BASE64, found {said[:80]!r}."
            ) from None
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_text(ED25519 + self.raw)}"

    @property
    def id(self) -> bytes:
        """4 bytes, a hint which key it was."""
        named = self.name.encode() + b"\n" + ED25519 + self.raw
        return hashlib.sha256(named).digest()[:ID_BYTES]

    def signed(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """Who signs."""

    name: str
    seed: bytes = field(repr=False)  # 32 bytes

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.name, self._key.public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        """The signature line under this text."""
        return f"— {self.name} {_text(self.public.id + self._key.sign(text.encode()))}\n"

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def sign(text: str, signers: Iterable[SigningKey]) -> bytes:
    """The note. Raises ValueError for a text that is none."""
    if not text.endswith("\n") or "\n\n" in f"\n{text}" or not _plain(text):
        raise ValueError("the text of a note is whole, non-empty lines")
    return (text + "\n" + "".join(each.line(text) for each in signers)).encode()


def opened(note: bytes, trusted: Iterable[PublicKey]) -> tuple[str, list[PublicKey]]:
    """The text, and which of the trusted keys signed it. Raises BadNote or Unsigned.

    Signatures of unknown keys are passed over; one of a known key that is wrong makes the whole
    note worthless.
    """
    text, signatures = _parsed(note)
    known = {(each.name, each.id): each for each in trusted}
    found: list[PublicKey] = []
    for name, data in signatures:
        key = known.get((name, data[:ID_BYTES]))
        if key is None or key in found:
            continue
        if not key.signed(text, data[ID_BYTES:]):
            raise Unsigned(f"The signature of {name} is not one of this text: it was changed.")
        found.append(key)
    if not found:
        names = ", ".join(name for name, _ in signatures)[:200]
        raise Unsigned(f"It is signed by {names}, with no key that is trusted here.")
    return text, found


@dataclass(frozen=True)
class Checkpoint:
    """What a log commits to at one size."""

    origin: str  # which log
    size: int
    root: bytes  # of the Merkle tree at that size
    further: tuple[str, ...] = ()  # lines for later readers

    @property
    def text(self) -> str:
        lines = (self.origin, str(self.size), _text(self.root), *self.further)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Raises BadNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not SIZE.fullmatch(lines[1]):
            raise BadNote(
                "A checkpoint is an origin, a size and a root, each on a line of its own."
            )
        try:
            root = _binary(lines[2])
        except ValueError:
            root = b""
        if len(root) != HASH_BYTES:
            raise BadNote("The root of a checkpoint is 32 bytes in base64.")
        return cls(lines[0], int(lines[1]), root, tuple(lines[3:-1]))


def checkpoint(note: bytes, *, origin: str, trusted: Iterable[PublicKey]) -> Checkpoint:
    """What a note says, once it is known that the log said it. Raises NoteRefused."""
    text, _ = opened(note, trusted)
    found = Checkpoint.from_text(text)
    if found.origin != origin:
        raise BadNote(
            f"Wanted a checkpoint of the log {origin}, found one of {found.origin[:100]}."
        )
    return found


def proof(index: int, path: Sequence[bytes], note: bytes) -> bytes:
    """That a leaf is at this place of the log, for who has neither the log nor us."""
    lines = [PROOF_HEAD, f"index {index}", *(_text(each) for each in path), ""]
    return "".join(f"{line}\n" for line in lines).encode() + note


def read_proof(data: bytes) -> tuple[int, list[bytes], bytes]:
    """Index, path and checkpoint. Raises BadNote."""
    head, found, note = data.partition(b"\n\n")
    try:
        lines = [line for line in head.decode().split("\n") if not line.startswith("extra ")]
        if not found or lines[0] != PROOF_HEAD or not lines[1].startswith("index "):
            raise ValueError
        if not SIZE.fullmatch(lines[1].removeprefix("index ")):
            raise ValueError
        path = [_binary(line) for line in lines[2:]]
        if any(len(each) != HASH_BYTES for each in path):
            raise ValueError
    except (ValueError, IndexError):
        raise BadNote("These bytes are no proof that something is in a log.") from None
    return int(lines[1].removeprefix("index ")), path, note


def _parsed(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    try:
        if len(note) > MOST_BYTES:
            raise ValueError
        said = note.decode()
        text, found, below = said.rpartition("\n\n")
        lines = below.split("\n")
        if not found or not _plain(said) or lines.pop() or not 1 <= len(lines) <= MOST_SIGNATURES:
            raise ValueError
        return text + "\n", [_signature(line) for line in lines]
    except ValueError:
        raise BadNote("These bytes are no signed note: cut short, or something else.") from None


def _signature(line: str) -> tuple[str, bytes]:
    mark, name, encoded = line.split(" ")
    data = _binary(encoded)
    if mark != "—" or not NAME.fullmatch(name) or len(data) < ID_BYTES + 1:
        raise ValueError(line)
    return name, data


def _plain(text: str) -> bool:
    """Without control characters, except where lines end."""
    return all(mark == "\n" or ord(mark) >= 0x20 for mark in text)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _binary(said: str) -> bytes:
    """Raises ValueError."""
    data = base64.b64decode(said, validate=True)
    if _text(data) != said:
        raise ValueError("one number has one way to be written")
    return data
