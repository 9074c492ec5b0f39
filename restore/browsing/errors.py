"""What can be wrong with what somebody wants to look at.

StrongroomError
├── BadCursor     2  a "next page" that this server did not write
├── NotListedYet  2  the point is there, its contents are not in the catalogue yet
└── NotFound      2  not there, or another tenant's; the code says which thing
"""

from __future__ import annotations

from strongroom.errors import BadValue, NotFound

NO_PART = "nothing-stored"
GONE = "point-gone"


class BadCursor(BadValue):
    """The mark of a page was changed, or belongs to another list."""

    code = "bad-cursor"


class NotListedYet(BadValue):
    """The point can be restored; what is in it is not written down yet."""

    code = "not-catalogued"


def no_source() -> NotFound:
    return NotFound("There is no such source.", code="unknown-source")


def no_part() -> NotFound:
    """For a point or source that is not there, is another's, or do not go together."""
    return NotFound(
        "The point holds nothing of that source, or there is no such point. Choose another.",
        code=NO_PART,
    )


def gone() -> NotFound:
    return NotFound(
        "What the point had of that source was removed. Choose a later point.", code=GONE
    )


def no_path() -> NotFound:
    return NotFound(
        "The point does not have this path. See its history for the points that do.",
        code="path-not-in-point",
    )


def bad_cursor() -> BadCursor:
    return BadCursor("This is no page of that list. Begin again with its first page.")
