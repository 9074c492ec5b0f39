"""Passwords: argon2id, and the same work where there is none to compare with.

19 MiB, two passes, one lane: the least that OWASP's password storage guide names for argon2id, so
that many may sign in at once in a small process. A stronger setting later is taken up by each
account at its next sign-in.
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from strongroom.people.errors import BadAccount

LEAST, MOST = 12, 200  # characters
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hashed(password: str) -> str:
    """Raises BadAccount for one that is too short or too long."""
    if not LEAST <= len(password) <= MOST:
        raise BadAccount(
            f"A password has {LEAST} to {MOST} characters; this one has {len(password)}.",
            code="bad-password",
            least=LEAST,
            most=MOST,
        )
    return HASHER.hash(_as_typed(password))


def fits(encoded: str | None, password: str) -> bool:
    """Whether it is the one; takes as long where there is none."""
    try:
        HASHER.verify(encoded or _nobodys(), _as_typed(password[:MOST]))
    except (VerificationError, InvalidHashError):
        return False
    return encoded is not None


def outgrown(encoded: str) -> bool:
    """Whether it was hashed with a weaker setting than today's."""
    return HASHER.check_needs_rehash(encoded)


def _as_typed(password: str) -> bytes:
    """Keyboards write the same letters in more than one way (NFKC, as RFC 8265 has it)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


@cache
def _nobodys() -> str:
    return HASHER.hash(secrets.token_bytes(32))


def warm_up() -> None:
    """So that the first guess at an unknown account takes no longer than the next."""
    _nobodys()
