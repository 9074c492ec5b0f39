"""A name that somebody else chose, in a form that plays no tricks.

The name itself is needed to ask on and to restore; what people see is `text`: what cannot be
printed (a newline, a right-to-left override) is written out, and of a long one the middle is left
out. It is not escaped for HTML: that is the template's, which escapes everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from restore import tree

MOST = 200  # signs that are shown


@dataclass(frozen=True)
class Shown:
    """A name as data, and as people see it."""

    name: str
    text: str
    odd: bool  # `text` is not the whole truth: something was written out, cut or replaced


def shown(name: str, *, most: int = MOST) -> Shown:
    text = tree.shown(name)
    if len(text) > most:
        half = (most - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return Shown(name, text, odd=text != name or "\ufffd" in name)
