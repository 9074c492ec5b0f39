"""Sealed boxes: anybody seals to a public key, only who holds the private half opens.

X25519 with a key pair for this box alone, HKDF-SHA256 over the shared secret and both public keys,
AES-256-GCM. What the box is for is authenticated with it, as in `keys.Context`: a box moved to
another repository does not open. A box does not say who sealed it: records that carry boxes are
signed.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import StrongroomError

KEY_BYTES = 32
VERSION = b"\x01"
HEAD = len(VERSION) + KEY_BYTES
NONCE = bytes(12)  # each box has a key of its own, so that this one is never used twice with it
INFO = b"strongroom.escrow.v1"


class BoxClosed(StrongroomError):
    """A box does not open: sealed to another key, for something else, or tampered with."""

    code = "box-closed"
    permanent = True


def new_private() -> bytes:
    """32 random bytes that X25519 takes as a private key."""
    return os.urandom(KEY_BYTES)


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def seal(public: bytes, secret: bytes, *, bound: bytes) -> bytes:
    """Version byte, the box's own public key (32), ciphertext with tag."""
    own = X25519PrivateKey.generate()
    mine = own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(public))
    return VERSION + mine + AESGCM(_key(shared, mine, public)).encrypt(NONCE, secret, bound)


def unseal(private: bytes, box: bytes, *, bound: bytes) -> bytes:
    """What was sealed; raises BoxClosed."""
    mine = box[len(VERSION) : HEAD]
    try:
        if not box.startswith(VERSION):
            raise ValueError("no box of ours")
        key = X25519PrivateKey.from_private_bytes(private)
        shared = key.exchange(X25519PublicKey.from_public_bytes(mine))
        own = key.public_key().public_bytes_raw()
        return AESGCM(_key(shared, mine, own)).decrypt(NONCE, box[HEAD:], bound)
    except (InvalidTag, ValueError):
        raise BoxClosed(
            "A sealed box does not open with this escrow key: it was sealed to another one, for "
            "something else, or was changed."
        ) from None


def _key(shared: bytes, box: bytes, recipient: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=box + recipient, info=INFO).derive(shared)
