"""What can go wrong with the record.

StrongroomError
├── RecordRefused     what lies in a region and what is here cannot both be true; nothing is signed
│   ├── Behind        a region has a newer checkpoint than the database: it was put back
│   ├── Forked        both have a checkpoint of one size, with two roots
│   ├── Changed       the log here is not the one that was signed
│   └── Malformed     an object in a region is not what its name says
└── NoRegion          no region answers, so that nothing can be signed for now
"""

from __future__ import annotations

from strongroom.errors import Incomplete, StrongroomError


class RecordRefused(StrongroomError):
    """The signer refuses, until a person has looked."""

    code = "record-refused"
    permanent = True


class Behind(RecordRefused):
    """The database was put back to an older state than what was signed already."""

    code = "record-behind"


class Forked(RecordRefused):
    """One log says two things."""

    code = "record-forked"


class Changed(RecordRefused):
    """The database's rows do not give the root that was signed over them."""

    code = "record-changed"


class Malformed(RecordRefused):
    """An object of the record in a region cannot be read."""

    code = "record-malformed"


class NoRegion(Incomplete):
    """Entries wait; nothing is lost."""

    code = "record-no-region"
