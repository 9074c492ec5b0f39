"""The escrow key among people: any so many of the shares bring it back, fewer say nothing.

The arithmetic is SLIP-39's, by its authors' library: each share is a line of 33 common words with a
checksum of its own. A share is a text that a person can print, copy by hand and type in again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import shamir_mnemonic  # type: ignore[import-untyped]
from shamir_mnemonic import MnemonicError

from strongroom.errors import BadValue

WORDS = 33  # of a secret with 32 bytes
MOST = 16  # shares, SLIP-39
PER_LINE = 4
ROW = re.compile(r"^(?: *\d{1,2} +[a-z]{4,8})+ *$", re.MULTILINE)
WORD = re.compile(r"[a-z]{4,8}")
FIELD = re.compile(r"^(Escrow key|Records key): +([0-9a-f-]{36,64})$", re.MULTILINE)


class BadShare(BadValue):
    """A share, or what was given as one, cannot be used; its words are never repeated."""

    code = "bad-share"


@dataclass(frozen=True)
class Share:
    """One share as it was read."""

    words: str = field(repr=False)
    key: str | None  # id of the escrow key; None if the text does not say
    records: str | None  # public half of the key that signs records


@dataclass(frozen=True)
class Ceremony:
    """What stands on every share of one key."""

    key: str  # id of the escrow key
    records: str  # public half of the key that signs records: who reads the buckets trusts it
    threshold: int
    made_at: datetime


def split(private: bytes, *, shares: int, threshold: int) -> list[str]:
    """The words of each share. Raises BadValue for numbers that make no sense."""
    if not 2 <= threshold <= shares <= MOST:
        raise BadValue(
            f"Wanted {shares} shares of which {threshold} open; possible are 2 to {MOST} shares, "
            "and a threshold of at least 2 and at most as many as there are."
        )
    [words] = shamir_mnemonic.generate_mnemonics(1, [(threshold, shares)], private)
    return list(words)


def combine(shares: Sequence[Share]) -> bytes:
    """The private half. Raises BadShare when they are too few, mixed up or mistyped."""
    read = [_checked(share, number) for number, share in enumerate(shares, 1)]
    if not read:
        raise BadShare("No share was given. Name the file of each with --share.")
    if len({share.key for share in shares if share.key} | {str(r.identifier) for r in read}) > 2:
        raise BadShare("These shares belong to different escrow keys. Take all from one ceremony.")
    by_number = {each.index: share.words for each, share in zip(read, shares, strict=True)}
    different, wanted = len(by_number), read[0].member_threshold
    if different < wanted:
        raise BadShare(
            f"{wanted} different shares are needed, {different} were given. Fetch the others."
        )
    try:
        return bytes(shamir_mnemonic.combine_mnemonics(list(by_number.values())[:wanted]))
    except (MnemonicError, ValueError):
        raise BadShare(
            f"These {different} shares do not open anything together. Are they of one ceremony?"
        ) from None


def _checked(share: Share, number: int) -> shamir_mnemonic.Share:
    try:
        return shamir_mnemonic.Share.from_mnemonic(share.words)
    except (MnemonicError, ValueError):
        raise BadShare(
            f"The checksum of share {number} is wrong: a word was misread or left out, or two "
            "changed places. Compare it with the paper, word by word."
        ) from None


def text_of(words: str, number: int, count: int, ceremony: Ceremony) -> str:
    """What is written on share `number` of `count`."""
    listed = words.split()
    rows = [
        "   ".join(
            f"{place + 1:2} {listed[place]:<8}"
            for place in range(first, min(first + PER_LINE, len(listed)))
        ).rstrip()
        for first in range(0, len(listed), PER_LINE)
    ]
    table = "\n".join(rows)
    return f"""Strongroom: share {number} of {count} of the escrow key
Any {ceremony.threshold} of the {count} shares together open every backup. This one alone opens nothing.

Escrow key:  {ceremony.key}
Records key: {ceremony.records}
Made:        {ceremony.made_at:%Y-%m-%d %H:%M} UTC

{table}

What to do with it
- Print it or copy it by hand, the two keys above as well. Check it word by word: the last three
  words are a checksum, so a slip is noticed, but only when the share is used.
- Keep it where none of the other shares lies, and no backup of this platform. Then delete this file.
- Say where it is to one other person. Look at it once a year.
- When it is asked for: type it into a file, as it stands here or just the words, and give that with
  --share. `strongroom escrow drill` tries it without changing anything.
- Lost or seen by somebody else? Have a new key made: `strongroom escrow create --replace`.
"""


def parse(text: str) -> Share:
    """From the text of a share, or from its bare words. Raises BadShare."""
    known = dict(FIELD.findall(text))
    words = WORD.findall(" ".join(ROW.findall(text.lower())))
    if len(words) != WORDS:
        words = text.lower().split()
    if len(words) != WORDS:
        raise BadShare(
            f"A share has {WORDS} words, numbered as in its file or just one after the other; "
            f"{len(words)} were found."
        )
    return Share(" ".join(words), known.get("Escrow key"), known.get("Records key"))
