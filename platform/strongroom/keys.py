"""Envelope keys: a key-encryption key (KEK) per tenant wraps everything secret of that tenant.

The local store keeps each KEK in a file outside the database, mode 0600: AES-256-GCM, with what
the secret is for bound in as associated data, so that a row moved to another tenant, repository
or purpose does not open. Deleting a file of this store is *logical* deletion: copies of the disk
may hold it. Providers that can do better follow the same interface.

    KeysError
    ├── KeyMissing      there is no such key, or it was destroyed
    └── WrongContext    the secret was wrapped for something else, or was tampered with
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.errors import StrongroomError

ALGORITHM = "AES-256-GCM"
NONCE_BYTES = 12


class KeysError(StrongroomError):
    """A key could not be used."""

    code = "keys"


class KeyMissing(KeysError):
    """There is no such key on this machine, or it was destroyed."""

    code = "key-missing"
    permanent = True


class WrongContext(KeysError):
    """The secret does not open: wrapped for something else, or tampered with."""

    code = "key-wrong-context"
    permanent = True


@dataclass(frozen=True)
class Context:
    """What a secret is for; all of it is authenticated with the ciphertext."""

    tenant: uuid.UUID
    subject: uuid.UUID  # the repository or source it belongs to
    purpose: str  # "repository-password", "source-password"

    def encoded(self) -> bytes:
        """Length-prefixed fields, so that no two contexts read alike."""
        parts = [b"strongroom.v1", self.tenant.bytes, self.subject.bytes, self.purpose.encode()]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True)
class Wrapped:
    """A secret as it rests in the database; useless without the KEK."""

    provider: str
    key_id: str
    key_version: int
    algorithm: str
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class KeyProvider(Protocol):
    """Where KEKs live; none of them ever leaves it."""

    def create(self, tenant: uuid.UUID) -> None: ...
    def wrap(self, secret: bytes, context: Context) -> Wrapped: ...
    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes: ...


class LocalKeys:
    """KEKs in files of one folder: for the embedded stack."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, tenant: uuid.UUID) -> None:
        """Make the tenant's KEK if it has none; safe against a crash and against a twin."""
        path = self._path(tenant)
        if path.exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = json.dumps({"version": 1, "key": os.urandom(32).hex()}).encode()
        draft = path.with_suffix(f".{os.urandom(8).hex()}.draft")  # a twin may be a thread of ours
        _write_private(draft, body)
        try:
            os.link(draft, path)  # fails if a twin was faster: its key stays
        except FileExistsError:
            return
        finally:
            draft.unlink()
            _sync_folder(self._folder)

    def wrap(self, secret: bytes, context: Context) -> Wrapped:
        version, key = self._read(context.tenant)
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(key).encrypt(nonce, secret, context.encoded())
        return Wrapped(self.name, str(context.tenant), version, ALGORITHM, nonce, sealed)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        _, key = self._read(context.tenant)
        try:
            return AESGCM(key).decrypt(wrapped.nonce, wrapped.ciphertext, context.encoded())
        except InvalidTag:
            raise WrongContext(
                f"The {context.purpose} of {context.subject} does not open with the key of tenant "
                f"{context.tenant}: it was wrapped for something else, or was changed.",
            ) from None

    def _read(self, tenant: uuid.UUID) -> tuple[int, bytes]:
        path = self._path(tenant)
        try:
            body = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise KeyMissing(
                f"The key of tenant {tenant} is not in {self._folder}. Nothing of this tenant can "
                "be opened without it; bring the key store back from its backup.",
            ) from None
        return int(body["version"]), bytes.fromhex(body["key"])

    def _path(self, tenant: uuid.UUID) -> Path:
        return self._folder / f"{tenant}.kek"


def _write_private(path: Path, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
