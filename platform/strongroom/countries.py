"""Countries of ISO 3166-1, by their two letters."""

from __future__ import annotations

import re

import babel

from strongroom.errors import BadValue

# CLDR names these too, and ISO 3166 does not: parts of countries, unions, and nowhere at all.
NO_COUNTRIES = frozenset(
    ["AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"]
)


def check(code: str) -> str:
    """The code, if there is such a country. Raises BadValue."""
    known = set(babel.Locale("en").territories) - NO_COUNTRIES
    if not re.fullmatch(r"[A-Z]{2}", code) or code not in known:
        raise BadValue(
            f"{code!r} is no country of ISO 3166. Write two capitals, like AE or EG.",
            code="bad-country",
        )
    return code
