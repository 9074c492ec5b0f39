"""The mark of a page: where the next one goes on, as text for an address.

What comes back may have been changed by anybody. It only ever says where to go on in a list that
the reader may read anyway, so it is checked for its form and not signed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from restore.browsing.errors import bad_cursor

LONGEST = 4096  # signs


def written(*values: str | int | bool) -> str:
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, kinds: Sequence[type]) -> list[Any]:
    """The values, of exactly these kinds; raises BadCursor."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise bad_cursor() from None
    if len(cursor) > LONGEST or not isinstance(values, list) or len(values) != len(kinds):
        raise bad_cursor()
    if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
        raise bad_cursor()
    if any(isinstance(value, str) and not _storable(value) for value in values):
        raise bad_cursor()
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in values):
        raise bad_cursor()
    return values


def _storable(value: str) -> bool:
    """No zero byte and no lone surrogate: the database takes neither."""
    return "\0" not in value and not any("\ud800" <= sign <= "\udfff" for sign in value)
