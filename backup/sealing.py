"""How restic seals bytes: nonce, AES-256-CTR ciphertext, Poly1305-AES tag over the ciphertext.

As in restic's design document ("Keys, Encryption and MAC"). Pure: nonces come from outside.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

NONCE = 16
TAG = 16


class Unsealable(Exception):
    """These bytes were not sealed with this key, or are damaged."""


@dataclass(frozen=True)
class SealKey:
    """A key to seal with: a repository's master key, or one derived from a password."""

    encrypt: bytes = field(repr=False)  # 32 bytes, AES-256
    k: bytes = field(repr=False)  # 16 bytes, AES-128 of the nonce
    r: bytes = field(repr=False)  # 16 bytes, Poly1305

    def __post_init__(self) -> None:
        if [len(self.encrypt), len(self.k), len(self.r)] != [32, 16, 16]:
            raise Unsealable("parts of a key have the wrong length")
        if not (any(self.encrypt) and any(self.k) and any(self.r)):
            raise Unsealable("a part of the key is all zero")


def seal(key: SealKey, plain: bytes, nonce: bytes) -> bytes:
    """The nonce must be 16 random bytes, never used before with this key."""
    if len(nonce) != NONCE or not any(nonce):
        raise ValueError("a nonce is 16 bytes and not all zero")
    cipher = _stream(key, nonce, plain)
    return nonce + cipher + Poly1305.generate_tag(one_time_key(key, nonce), cipher)


def unseal(key: SealKey, sealed: bytes) -> bytes:
    """Raises Unsealable unless the tag over the ciphertext is right."""
    if len(sealed) < NONCE + TAG:
        raise Unsealable("too short")
    nonce, cipher, tag = sealed[:NONCE], sealed[NONCE:-TAG], sealed[-TAG:]
    try:
        Poly1305.verify_tag(one_time_key(key, nonce), cipher, tag)
    except InvalidSignature as error:
        raise Unsealable("the tag does not match") from error
    return _stream(key, nonce, cipher)


def master_to_json(key: SealKey) -> bytes:
    parts = {name: base64.b64encode(getattr(key, name)).decode() for name in ("k", "r", "encrypt")}
    document = {"mac": {"k": parts["k"], "r": parts["r"]}, "encrypt": parts["encrypt"]}
    return json.dumps(document, separators=(",", ":")).encode()


def master_from_json(text: bytes) -> SealKey:
    try:
        raw = json.loads(text)
        return SealKey(
            encrypt=base64.b64decode(raw["encrypt"], validate=True),
            k=base64.b64decode(raw["mac"]["k"], validate=True),
            r=base64.b64decode(raw["mac"]["r"], validate=True),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unsealable("not a master key") from error


def one_time_key(key: SealKey, nonce: bytes) -> bytes:
    """The Poly1305 key of one message: r || AES-128(k, nonce)."""
    # ECB of a single block is the block cipher itself, as Poly1305-AES is defined.
    block = Cipher(algorithms.AES(key.k), modes.ECB()).encryptor()  # noqa: S305
    return key.r + block.update(nonce) + block.finalize()


def _stream(key: SealKey, nonce: bytes, text: bytes) -> bytes:
    counter = Cipher(algorithms.AES(key.encrypt), modes.CTR(nonce)).encryptor()
    return counter.update(text) + counter.finalize()
