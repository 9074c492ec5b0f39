"""Webhooks, signed as Standard Webhooks wants it (standardwebhooks.com, version 1.0.0).

webhook-id         the message's id, the same for every attempt: the receiver's idempotency key
webhook-timestamp  seconds since 1970, of this attempt
webhook-signature  v1,BASE64(HMAC-SHA256(secret, "ID.TIMESTAMP.BODY"))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from strongroom.hosts import Resolve
from strongroom.notices import outward
from strongroom.notices.errors import BadChannel, NotDelivered
from strongroom.notices.letters import Letter
from strongroom.notices.outward import Target

PREFIX = "whsec_"
SECRET_BYTES = (24, 64)  # as the specification says
TOLERANCE_SECONDS = 300
GONE = 410


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that sign. Raises BadChannel, without the secret."""
    try:
        found = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    least, most = SECRET_BYTES
    if not least <= len(found) <= most:
        raise BadChannel(
            f"A webhook's secret is {PREFIX} and {least} to {most} bytes in Base64; leave it out, and "
            "one is made."
        )
    return found


def signature(secret: str, name: str, at: int, body: bytes) -> str:
    signed = f"{name}.{at}.".encode() + body
    made = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def is_signed(
    secret: str, name: str, at: str, body: bytes, *, signatures: str, now: datetime
) -> bool:
    """What a receiver does: one of the signatures is right, and the attempt is of these minutes."""
    if not at.isdecimal() or abs(now.timestamp() - int(at)) > TOLERANCE_SECONDS:
        return False
    wanted = signature(secret, name, int(at), body)
    return any(hmac.compare_digest(wanted.encode(), each.encode()) for each in signatures.split())


def body_of(letter: Letter, *, kind: str, at: datetime) -> bytes:
    """The same for every attempt."""
    document: dict[str, Any] = {
        "type": kind,
        "timestamp": at.isoformat(),
        "data": {**letter.data, "title": letter.subject, "text": letter.text},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def send(
    to: Target,
    secret: str,
    body: bytes,
    *,
    name: UUID,
    now: datetime,
    allowed: Sequence[str] = (),
    resolve: Resolve | None = None,
) -> dict[str, Any]:
    """The receipt: any status of 2xx. Raises NotDelivered; for 410 for good."""
    at = int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Strongroom",
        "webhook-id": str(name),
        "webhook-timestamp": str(at),
        "webhook-signature": signature(secret, str(name), at, body),
    }
    status = outward.post(to, body, headers, allowed=allowed, resolve=resolve)
    if 200 <= status < 300:
        return {"by": "webhook", "server": to.host, "status": status}
    raise NotDelivered(
        f"{to.shown} did not take the message ({status}).",
        code="webhook-gone" if status == GONE else "webhook-refused",
        permanent=status == GONE,
        answer=status,
    )
