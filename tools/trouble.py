"""What is said when the set-up cannot go on."""

from __future__ import annotations


class Trouble(Exception):
    """Something is missing: what was wanted, what was found, what to do about it."""

    def __init__(self, *, wanted: str, found: str, remedy: str) -> None:
        self.found = found
        super().__init__(f"Wanted: {wanted}\n  Found: {found}\n  To do: {remedy}")
