"""A secret of the platform itself, for each who may open it: the escrow keys, and its own KEK.

Of the escrow keys people hold the private halves; the platform's KEK lies with those of the tenants
in the key store. So a backup of the key store opens it, and without any the shares do.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from strongroom import sealed_boxes
from strongroom.errors import StrongroomError
from strongroom.escrow import EscrowKey
from strongroom.keys import Context, KeyProvider, KeysError, Wrapped

PLATFORM = uuid.UUID("00000000-0000-7000-8000-000000000000")  # stands where a tenant's id would
Entry = Mapping[str, Any]


class EnvelopeClosed(StrongroomError):
    """None of the keys at hand opens it."""

    code = "envelope-closed"
    permanent = True


@dataclass(frozen=True)
class Opener:
    """The keys at hand."""

    private: bytes | None = field(default=None, repr=False)  # of the escrow key
    provider: KeyProvider | None = None


def close(
    secret: bytes, purpose: str, *, escrow: Iterable[EscrowKey], provider: KeyProvider
) -> list[dict[str, str]]:
    """An entry for each who may open it, as plain JSON."""
    bound = _context(purpose)
    provider.create(PLATFORM)
    entries = [to_json(provider.wrap(secret, bound))]
    for key in escrow:
        box = sealed_boxes.seal(key.public, secret, bound=bound.encoded())
        entries.append({"escrow": str(key.id), "sealed": text(box)})
    return entries


def unseal(entries: Iterable[Entry], purpose: str, opener: Opener) -> bytes:
    """The secret. Raises EnvelopeClosed."""
    bound = _context(purpose)
    for entry in entries:
        try:
            if "escrow" in entry and opener.private is not None:
                box = binary(entry["sealed"])
                return sealed_boxes.unseal(opener.private, box, bound=bound.encoded())
            if "provider" in entry and opener.provider is not None:
                return opener.provider.unwrap(from_json(entry), bound)
        except (sealed_boxes.BoxClosed, KeysError, KeyError, ValueError, TypeError):
            continue  # another entry may open
    raise EnvelopeClosed(
        f"None of the keys at hand opens the {purpose}. Give enough shares of the escrow key that "
        "was in use, or the key store's backup with --key-store."
    )


def to_json(wrapped: Wrapped) -> dict[str, Any]:
    """A wrapped secret as it stands in records: as in its row."""
    return {
        **asdict(wrapped),
        "nonce": text(wrapped.nonce),
        "ciphertext": text(wrapped.ciphertext),
    }


def from_json(entry: Entry) -> Wrapped:
    """Raises KeyError, ValueError or TypeError for what is none."""
    return Wrapped(
        provider=entry["provider"],
        key_id=entry["key_id"],
        key_version=int(entry["key_version"]),
        algorithm=entry["algorithm"],
        nonce=binary(entry["nonce"]),
        ciphertext=binary(entry["ciphertext"]),
    )


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def binary(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _context(purpose: str) -> Context:
    return Context(tenant=PLATFORM, subject=PLATFORM, purpose=purpose)
