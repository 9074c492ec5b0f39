"""Random tokens and codes, and the hashes that are stored instead of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

TOKEN_BYTES = 32
CODE_BYTES = 10  # 80 bits: 16 letters and digits of base32


def new_token() -> str:
    """256 random bits, safe in cookies and addresses."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hashed(token: str) -> bytes:
    """SHA-256. What is random enough needs no stretching."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def derived(token: str, purpose: str) -> str:
    """Another token that only the holder of this one knows: for forms, beside the cookie."""
    made = hmac.new(token.encode(), purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def same(one: str, other: str) -> bool:
    """In a time that says nothing."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def new_code() -> str:
    """A recovery code in groups that can be read out: `abcd-efgh-jkmn-pqrs`."""
    text = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def plain_code(typed: str) -> str:
    """As it is hashed: without what people put between groups."""
    return "".join(each for each in typed.lower() if each.isalnum())
