"""Envelope keys: a key-encryption key (KEK) per tenant wraps everything secret of that tenant.

Here is the contract; `key_stores/` keeps it four times: a folder, AWS KMS, Vault or OpenBao
transit, a PKCS#11 token. A KEK has versions, counted from 1. The newest wraps; those before still
open what they wrapped, until they are retired. What a secret is for is bound in, so that a row
moved to another tenant, repository or purpose does not open.

Lost, unreachable and destroyed are three different things:

    KeysError
    ├── KeyMissing       lost: the store answers, and has no such key; never destroyed by us
    ├── KeyDestroyed     destroyed on purpose: for ever
    ├── KeyDisabled      there, and closed: disabled, or waiting for its destruction
    ├── KeyRetired       this version of the key opens nothing any more
    ├── KeyUnreachable   the store gives no usable answer: nothing is known, work waits
    │   └── KeyDenied    the store answers, but not to us
    ├── WrongContext     the secret was wrapped for something else, or was tampered with
    ├── OtherProvider    the secret was wrapped by another kind of store than is set
    └── NotOffered       this kind of store cannot do that
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from strongroom.errors import Refused, StrongroomError


class KeysError(StrongroomError):
    """A key could not be used."""

    code = "keys"


class KeyMissing(KeysError):
    """The store has no such key, and nobody of us destroyed it."""

    code = "key-missing"
    permanent = True


class KeyDestroyed(KeysError):
    """The key was destroyed on purpose, and nothing it wrapped will ever open."""

    code = "key-destroyed"
    permanent = True


class KeyDisabled(KeysError):
    """The key is there and opens nothing until somebody enables it."""

    code = "key-disabled"


class KeyRetired(KeysError):
    """The version of the key that wrapped this was retired: an old row was put back."""

    code = "key-retired"
    permanent = True


class KeyUnreachable(KeysError):
    """The store gave no usable answer; a later try may succeed. Never a reason for another key."""

    code = "key-unreachable"


class KeyDenied(KeyUnreachable):
    """The store refuses our sign-in or our rights; mended by an operator, not by a new key."""

    code = "key-denied"


class WrongContext(KeysError):
    """The secret does not open: wrapped for something else, or tampered with."""

    code = "key-wrong-context"
    permanent = True


class OtherProvider(KeysError):
    """The secret was wrapped by another provider than the one in the settings."""

    code = "key-other-provider"
    permanent = True


class NotOffered(KeysError, Refused):
    """What was asked is nothing this kind of store can do."""

    code = "key-not-offered"


@dataclass(frozen=True)
class Context:
    """What a secret is for; all of it is authenticated with the ciphertext."""

    tenant: uuid.UUID
    subject: uuid.UUID  # the repository or source it belongs to
    purpose: str  # "repository-password", "source-password"
    generation: int = 1  # of the secret; an older one put in its place does not open

    def fields(self) -> dict[str, str]:
        """The same as words; they stand in logs of the key service, so ids only."""
        return {
            "strongroom": "v1",
            "tenant": str(self.tenant),
            "subject": str(self.subject),
            "purpose": self.purpose,
            "generation": str(self.generation),
        }

    def encoded(self) -> bytes:
        """Length-prefixed fields, so that no two contexts read alike."""
        parts = [
            b"strongroom.v1",
            self.tenant.bytes,
            self.subject.bytes,
            self.purpose.encode(),
            self.generation.to_bytes(4, "big"),
        ]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True)
class Wrapped:
    """A secret as it rests in the database; useless without the KEK."""

    provider: str
    key_id: str  # as the provider names the key
    key_version: int
    algorithm: str
    nonce: bytes = field(repr=False)  # empty where the provider keeps it in the ciphertext
    ciphertext: bytes = field(repr=False)


class KeyState(enum.StrEnum):
    """What the store says of a key. That it says nothing is no state: see KeyUnreachable."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_DESTRUCTION = "pending-destruction"  # opens nothing; can be called off until then
    DESTROYED = "destroyed"
    MISSING = "missing"  # lost, or the store keeps no memory of what was destroyed


@dataclass(frozen=True)
class KeyStatus:
    """A key as the store has it now."""

    state: KeyState
    version: int | None = None  # the newest, which wraps
    oldest: int | None = None  # the oldest that still opens
    until: datetime | None = None  # when it will be destroyed
    destroyed_at: datetime | None = None  # where the store remembers


@dataclass(frozen=True)
class Claims:
    """What may be said once a key of this provider was destroyed, and what is offered before."""

    copyable: bool  # somebody may hold a copy of the store, and with it of the key
    window: tuple[int, int]  # least and most days between asking for destruction and its moment
    disables: bool  # a key can be closed and opened again
    rotates: bool = True  # the tenant's key can be given a new version
    per_tenant: bool = True  # destroying it ends one tenant's secrets, and nobody else's

    @property
    def method(self) -> str:
        """ "purge-by-cryptographic-erase" or "logical-deletion" (NIST SP 800-88 r2, 3.2)."""
        erases = self.per_tenant and not self.copyable
        return "purge-by-cryptographic-erase" if erases else "logical-deletion"


class KeyProvider(Protocol):
    """Where KEKs live; none of them ever leaves it. Safe to share between threads.

    All raise KeyUnreachable when nothing is known. What uses a key raises KeyMissing,
    KeyDestroyed or KeyDisabled by its state. What a provider cannot do raises NotOffered.
    """

    @property
    def name(self) -> str: ...

    @property
    def claims(self) -> Claims: ...

    def create(self, tenant: uuid.UUID) -> None:
        """Make the tenant's KEK if it has none; safe against a crash and against a twin."""
        ...

    def wrap(self, secret: bytes, context: Context) -> Wrapped:
        """With the newest version. Never makes a key."""
        ...

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """Raises WrongContext, or KeyRetired for a version that was retired."""
        ...

    def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        """The same secret under the newest version."""
        ...

    def add_version(self, tenant: uuid.UUID) -> int:
        """From now on new wraps use it; gives its number."""
        ...

    def retire(self, tenant: uuid.UUID, *, below: int) -> None:
        """Versions below this one open nothing any more. The caller has proven none is in use."""
        ...

    def disable(self, tenant: uuid.UUID) -> None: ...

    def enable(self, tenant: uuid.UUID) -> None: ...

    def schedule_destruction(self, tenant: uuid.UUID, days: int) -> datetime:
        """Closed at once, destroyed at the moment that is given back."""
        ...

    def cancel_destruction(self, tenant: uuid.UUID) -> None:
        """The key is disabled then. Raises KeyDestroyed or KeyMissing when it is too late."""
        ...

    def status(self, tenant: uuid.UUID) -> KeyStatus: ...

    def probe(self) -> str:
        """Where the keys are, once the store has answered us."""
        ...


def require_open(status: KeyStatus, tenant: uuid.UUID, where: str) -> None:
    """Raises by the state unless the key is enabled."""
    match status.state:
        case KeyState.ENABLED:
            return
        case KeyState.DISABLED:
            raise KeyDisabled(
                f"The key of tenant {tenant} in {where} is disabled, and opens nothing until "
                "somebody enables it there.",
                tenant=str(tenant),
            )
        case KeyState.PENDING_DESTRUCTION:
            raise KeyDisabled(
                f"The key of tenant {tenant} in {where} is to be destroyed on {status.until} and "
                "opens nothing meanwhile. Cancel the destruction if that is a mistake.",
                tenant=str(tenant),
                until=str(status.until),
            )
        case KeyState.DESTROYED:
            raise destroyed(tenant, where)
        case KeyState.MISSING:
            raise missing(tenant, where)


def missing(tenant: uuid.UUID, where: str) -> KeyMissing:
    return KeyMissing(
        f"The key of tenant {tenant} is not in {where}. Nothing of this tenant can "
        "be opened without it; bring the key store back from its backup.",
        tenant=str(tenant),
    )


def destroyed(tenant: uuid.UUID, where: str) -> KeyDestroyed:
    return KeyDestroyed(
        f"The key of tenant {tenant} in {where} was destroyed on purpose. What it wrapped will "
        "never open again; nothing can or should bring it back.",
        tenant=str(tenant),
    )


def retired(wrapped: Wrapped, context: Context) -> KeyRetired:
    return KeyRetired(
        f"The {context.purpose} of {context.subject} was wrapped with version "
        f"{wrapped.key_version} of the key of tenant {context.tenant}, which was retired: an old "
        "row was put back. Recover the secret from the newest record of it.",
        tenant=str(context.tenant),
        version=wrapped.key_version,
    )


def wrong_context(context: Context) -> WrongContext:
    return WrongContext(
        f"The {context.purpose} of {context.subject} does not open with the key of tenant "
        f"{context.tenant}: it was wrapped for something else, or was changed.",
        tenant=str(context.tenant),
        subject=str(context.subject),
    )
