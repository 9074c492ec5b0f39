"""What can go wrong with restic, and the one table from its exit codes.

ResticError            1, 2 and any signal: could not be done
├── SomeUnread         3    backup: a source could not be read; forget: one was not deleted
├── NoRepository       10   also a missing bucket or config: never a reason to create one
├── RepositoryLocked   11
├── WrongKey           12
├── Interrupted        130  a signal, or a stream that was refused; no proof of a cancelled job
├── NoAnswer           an accepted exit code, but not exactly one summary
├── SourceMissing      the folder to back up is not there
├── StreamBroken       a stream did not end as it should; no snapshot of it counts
│   └── StreamEmpty    it ended well, with nothing in it
├── NothingMatched     a restore that named paths brought back none
├── StillThere         forgotten snapshots are still listed
├── CopyMissing        copied snapshots are not listed in the other region
└── TooOld             this restic lacks what we rely on
"""

from __future__ import annotations

from collections.abc import Iterable

from strongroom.errors import Incomplete, StrongroomError

DETAIL = 1000  # characters of restic's own words in a message


class ResticError(StrongroomError):
    """restic could not do what was asked."""

    code = "restic-failed"


class SomeUnread(ResticError, Incomplete):
    """restic did it in part."""

    code = "restic-partly"


class NoRepository(ResticError):
    """There is no repository at this address, or its bucket or config is gone."""

    code = "restic-no-repository"


class RepositoryLocked(ResticError):
    """Somebody else's lock is in the way."""

    code = "restic-locked"


class WrongKey(ResticError):
    """No key of the repository opens with this password."""

    code = "restic-wrong-key"
    permanent = True


class Interrupted(ResticError):
    """restic was told to stop, or refused a stream."""

    code = "restic-interrupted"


class NoAnswer(ResticError):
    """restic ended well but did not say what it did."""

    code = "restic-no-answer"


class SourceMissing(ResticError):
    """The folder to back up is not there."""

    code = "source-missing"


class StreamBroken(ResticError):
    """A stream did not end as it should; no snapshot of it counts."""

    code = "stream-broken"


class StreamEmpty(StreamBroken):
    """A stream ended well, with nothing in it."""

    code = "stream-empty"


class NothingMatched(ResticError):
    """None of the paths that were asked for is in the snapshot."""

    code = "nothing-matched"
    permanent = True


class StillThere(ResticError):
    """Snapshots that were to be forgotten are still listed."""

    code = "snapshots-still-there"


class CopyMissing(ResticError):
    """Snapshots that were to be copied are not listed on the other side."""

    code = "copy-missing"


class TooOld(ResticError):
    """This restic lacks what we rely on."""

    code = "restic-too-old"
    permanent = True


EXIT_CODES: dict[int, type[ResticError]] = {
    3: SomeUnread,
    10: NoRepository,
    11: RepositoryLocked,
    12: WrongKey,
    130: Interrupted,
}

_REMEDIES: dict[type[ResticError], str] = {
    SomeUnread: "See what could not be read or removed, and the rights to it.",
    NoRepository: "If this tenant was backed up before, look at the bucket; create nothing.",
    RepositoryLocked: "Under the tenant's own lease, remove left-over locks and try again.",
    WrongKey: "Check that the wrapped password and the key hint belong to this repository.",
    Interrupted: "Try again.",
}


def failed(command: str, code: int, detail: str) -> ResticError:
    """The exception for an exit code; `detail` is restic's own words, already masked."""
    kind = EXIT_CODES.get(code, ResticError)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    said = f": {detail[-DETAIL:].strip()}" if detail.strip() else " and said nothing"
    remedy = _REMEDIES.get(kind, "Look at restic's words and at the object store.")
    return kind(f"restic {command} {how}{said}. {remedy}", command=command, exit=code)


def masked(text: str, secrets: Iterable[bytes]) -> str:
    """The text without any of the secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret.decode("utf-8", "replace"), "***")
    return text
