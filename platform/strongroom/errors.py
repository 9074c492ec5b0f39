"""The root of our exceptions.

    StrongroomError         1   could not be done
    ├── BadValue            2   what was asked for makes no sense as it stands
    │   └── NotFound        2   no such thing, or not yours
    ├── Incomplete          3   done in part
    └── Refused             4   a guard, a hold or a missing right said no

The numbers are the exit codes of the command line. A message says what was wanted, what was
found and what to do; it carries ids, never secrets. `code` and `params` are what is stored, so
that the same reason can be said in any language.
"""

from __future__ import annotations


class StrongroomError(Exception):
    """Something that was wanted could not be done."""

    code = "failed"
    exit_code = 1
    permanent = False  # True: trying again without a change cannot help

    def __init__(self, message: str, *, code: str | None = None, **params: object) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.params = params


class BadValue(StrongroomError):
    """A value that was given cannot be used."""

    code = "bad-value"
    exit_code = 2
    permanent = True


class NotFound(BadValue):
    """Nothing by that name, or it belongs to somebody else."""

    code = "not-found"


class Incomplete(StrongroomError):
    """Some of it was done, and the message says what was not."""

    code = "incomplete"
    exit_code = 3


class Refused(StrongroomError):
    """A guard said no, and nothing was changed."""

    code = "refused"
    exit_code = 4
    permanent = True
