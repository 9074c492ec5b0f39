"""What can go wrong when data is given back.

StrongroomError
├── WillNotLoad      1  a dump that an empty database does not take
├── TooBig           1  a dump that outgrew its budget
├── NotAsItWas       1  what was loaded is not what the manifest says
├── NotSwapped       1  the live thing could not be exchanged; it is as it was
├── Violated         1  a constraint of the live database said no; it is as it was
└── Refused          4
    └── Unsafe       4  a target, or a right on it, that a restore must not rely on
"""

from __future__ import annotations

from collections.abc import Sequence

from backup.sources.manifest import Difference
from strongroom.errors import Refused, StrongroomError

SHOWN = 5  # differences that a message names; the rest is counted


class WillNotLoad(StrongroomError):
    """An empty database does not take this dump."""

    code = "dump-will-not-load"
    permanent = True


class TooBig(StrongroomError):
    """The dump outgrew its budget."""

    code = "dump-too-big"
    permanent = True


class NotAsItWas(StrongroomError):
    """What was loaded differs from the manifest that was taken with the dump."""

    code = "not-as-it-was"
    permanent = True

    def __init__(self, message: str, *, differences: Sequence[Difference] = ()) -> None:
        super().__init__(message, differences=[str(each) for each in differences])
        self.differences = tuple(differences)

    @classmethod
    def of(cls, differences: Sequence[Difference]) -> NotAsItWas:
        named = "; ".join(str(each) for each in differences[:SHOWN])
        rest = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        return cls(
            f"What was loaded is not what was backed up: {named}{rest}. Nothing live was touched; "
            "restore another point, and have this one verified.",
            differences=differences,
        )


class NotSwapped(StrongroomError):
    """The live thing could not be exchanged, and is as it was."""

    code = "not-swapped"


class Violated(StrongroomError):
    """A constraint of the live database does not hold with the restored rows; nothing changed."""

    code = "constraint-violated"
    permanent = True


class Unsafe(Refused):
    """The target is not one that a restore may rely on; nothing was changed."""

    code = "unsafe-target"
