"""Signed records: what lies in the buckets beside the backups, so that all can be built again.

A record is one JSON document: what it says, the public half of the key that signed it, and an
Ed25519 signature over both the kind of document and its canonical form. Whoever reads one trusts
keys that he knows from elsewhere (his own, or those written on the shares of the escrow key), never
the key in the document. The private half lies outside of the database and of the tenants' key
store.

    RecordRefused      it does not say what we said
    ├── Malformed      no record at all
    └── Forged         signed by nobody we trust, or changed since
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from strongroom.errors import BadValue, StrongroomError

DOMAIN = b"strongroom.record.v1\n"
MOST_BYTES = 4 * 1024 * 1024  # of one record; what is longer was not written by us
SEED_BYTES = 32

Body = Mapping[str, Any]


class RecordRefused(StrongroomError):
    """A record in a bucket is not to be believed."""

    code = "record-refused"
    permanent = True


class Malformed(RecordRefused):
    """These bytes are no record."""

    code = "record-malformed"


class Forged(RecordRefused):
    """Signed by a key that is not trusted here, or changed after it was signed."""

    code = "record-forged"


class NoRecordKey(BadValue):
    """This process was not given the key that signs records."""

    code = "no-record-key"


@dataclass(frozen=True)
class Signer:
    """The key that signs records; `public` is what readers trust."""

    seed: bytes = field(repr=False)  # 32 bytes

    @classmethod
    def from_text(cls, text: str) -> Signer:
        """From 64 hexadecimal digits, as the setting has them. Raises NoRecordKey."""
        try:
            seed = bytes.fromhex(text)
        except ValueError:
            seed = b""
        if len(seed) != SEED_BYTES:
            raise NoRecordKey(
                "Wanted the key that signs the records in the buckets, found "
                f"{'none' if not text else 'something else'}. Give 64 hexadecimal digits in the "
                "file that STRONGROOM_RECORD_KEY_FILE names (`openssl rand -hex 32` makes some)."
            )
        return cls(seed)

    @property
    def public(self) -> str:
        """64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, body: Body) -> bytes:
        """The record as it is stored."""
        signature = self._key.sign(_signed(body))
        document = {"record": body, "key": self.public, "signature": signature.hex()}
        return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1).encode()

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def read(data: bytes, *, kind: str, trusted: Collection[str]) -> dict[str, Any]:
    """What a record says, once it is known that one of the trusted keys said it."""
    document = _parsed(data)
    body: dict[str, Any] = document["record"]
    key = document["key"]
    if key not in trusted:
        raise Forged(f"A record of kind {kind} is signed by {key}, which is not trusted here.")
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(document["signature"]), _signed(body))
    except (InvalidSignature, ValueError):
        raise Forged(f"A record of kind {kind} was changed after it was signed.") from None
    if body.get("kind") != kind:
        raise Forged(f"Wanted a record of kind {kind}, found one of kind {body.get('kind')!r}.")
    return body


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MOST_BYTES:
        raise Malformed(f"A record has at most {MOST_BYTES} bytes, this has {len(data)}.")
    try:
        document: dict[str, Any] = json.loads(data)
        if (
            isinstance(document["record"], dict)
            and isinstance(document["key"], str)
            and isinstance(document["signature"], str)
        ):
            return document
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Malformed("These bytes are no signed record: cut short, or something else.")


def _signed(body: Body) -> bytes:
    """What the signature is over; equal bodies give equal bytes."""
    return (
        DOMAIN
        + json.dumps(
            body, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False
        ).encode()
    )
