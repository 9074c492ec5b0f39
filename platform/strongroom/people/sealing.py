"""Secrets of people that have to be read again, wrapped by the platform's own key.

The tenant's key would be the wrong one: a person is no tenant's, and a PIN has to survive a change
of the tenant's key without anybody wrapping it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from strongroom import envelopes
from strongroom.envelopes import PLATFORM
from strongroom.keys import Context, KeyProvider


def close(provider: KeyProvider, secret: bytes, subject: uuid.UUID, purpose: str) -> dict[str, Any]:
    """Wrapped and bound to its row and purpose, as JSON. Raises a KeysError."""
    provider.create(PLATFORM)
    return envelopes.to_json(provider.wrap(secret, Context(PLATFORM, subject, purpose)))


def unseal(
    provider: KeyProvider, sealed: Mapping[str, Any], subject: uuid.UUID, purpose: str
) -> bytes:
    """The secret. Raises a KeysError."""
    return provider.unwrap(envelopes.from_json(sealed), Context(PLATFORM, subject, purpose))
