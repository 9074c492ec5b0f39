"""What can go wrong with people.

StrongroomError
├── BadValue
│   └── BadAccount    an address, name, role or password that cannot be used
└── Refused
    ├── NotProven     whoever it is did not prove it; never says which part was wrong
    ├── TooMany       too many tries; says when to come back
    └── NotAllowed    proven, and still not theirs to do; `verdict` says what is missing
"""

from __future__ import annotations

from strongroom.errors import BadValue, Refused


class BadAccount(BadValue):
    """A value of an account cannot be used."""

    code = "bad-account"


class NotProven(Refused):
    """The same for an unknown account, a wrong password, a used code and a link that has ended."""

    code = "not-proven"


class TooMany(Refused):
    """Too many tries in a while."""

    code = "too-many-tries"


class NotAllowed(Refused):
    """Somebody known asked for something that is not theirs."""

    code = "not-allowed"
