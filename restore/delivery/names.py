"""Names that somebody else chose, made fit for headers, zips and CSV. Pure.

A name keeps its letters in every language; what could harm whoever opens it goes: folders to climb
out to, control signs, what turns text round, what Windows reads as something else.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import quote

MOST_BYTES = 200  # of one name: file systems take 255, and something may be added
FORBIDDEN = frozenset('<>:"/\\|?*')
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # controls, what turns text, half signs
JOINERS = frozenset("\u200c\u200d")  # real letters' joints in Persian, Hindi and emoji
DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # wide ones run too
# Where a cell would begin for a spreadsheet that takes ; or a tab for what parts cells: it knows
# our quotes only at the beginning of what it takes for a cell, so that they hold nothing together.
# At the end of a text the quote that ends it would be taken for one that begins a cell.
BEGINS = re.compile(r"(?<=[;\t\r\n])(\"*)(?=[=+\-@＝＋－＠]|\Z)")


def safe(name: str, *, instead: str = "_") -> str:
    """One name without a folder, never empty, "." or ".."."""
    text = "".join(_sign(each, instead) for each in name)
    text = text.strip(" ").rstrip(". ")
    if not text.strip("."):
        text = instead
    if text.split(".")[0].strip().casefold() in DEVICES:
        text = instead + text
    return _short(text)


def _sign(sign: str, instead: str) -> str:
    if sign in JOINERS:
        return sign
    return instead if sign in FORBIDDEN or unicodedata.category(sign) in HIDDEN else sign


def _short(text: str) -> str:
    """Cut in the middle of nothing: the ending stays, and a digest tells it from its like."""
    raw = text.encode()
    if len(raw) <= MOST_BYTES:
        return text
    stem, dot, ending = text.rpartition(".")
    if not dot or len(ending.encode()) > 16:
        stem, ending = text, ""
    mark = "~" + hashlib.sha256(raw).hexdigest()[:8] + (f".{ending}" if ending else "")
    room = MOST_BYTES - len(mark.encode())
    return stem.encode()[:room].decode(errors="ignore") + mark


class Unique:
    """Names of one folder, so that no two are the same to any file system."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last one given, so that none is tried twice

    def name(self, wanted: str) -> str:
        """The cleaned name, with a number where another one cleaned to the same."""
        clean = safe(wanted)
        stem, dot, ending = clean.rpartition(".")
        if not stem:
            stem, dot, ending = clean, "", ""
        found, number = clean, self._numbers.get(_folded(clean), 1)
        while _folded(found) in self._seen:
            number += 1
            found = f"{stem} ({number}){dot}{ending}"
        self._numbers[_folded(clean)] = number
        self._seen.add(_folded(found))
        return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def disposition(name: str) -> str:
    """A Content-Disposition that saves the file under this name (RFC 6266, RFC 8187)."""
    clean = safe(name)
    plain = unicodedata.normalize("NFKD", clean).encode("ascii", "replace").decode()
    plain = "".join(each if each.isprintable() and each not in '"\\%' else "_" for each in plain)
    plain = plain.replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clean, safe='')}"


def harmless(text: str) -> str:
    """A cell that no spreadsheet runs: an apostrophe before what would begin a formula, also where
    one begins for readers that part cells by ; or by a tab, as Excel does in much of Europe.

    What is a number stays one, with its sign (OWASP, "CSV Injection").
    """
    if is_number(text):
        return text
    text = BEGINS.sub(r"\1'", text)
    return "'" + text if text.startswith(FORMULA) else text


def is_number(text: str) -> bool:
    """As databases write them: -12, 3.50, 1e-09; nothing else that `float` would take."""
    if not text.isascii() or not set(text) <= set("0123456789+-.eE"):
        return False
    if text.startswith("+"):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
