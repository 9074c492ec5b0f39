"""Rows as CSV and as JSON Lines: `docs/portable-layout.md` says what a reader may rely on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from restore.delivery.copied import Row
from restore.delivery.names import harmless, is_number

GATHERED = 256 * 1024  # characters that are passed on at once
WHOLE = frozenset({"smallint", "integer", "bigint"})
FLOATING = frozenset({"real", "double precision"})
NOT_JSON = frozenset({"NaN", "Infinity", "-Infinity"})
Line = Callable[[Row], str]


def csv(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
    """RFC 4180 in UTF-8 with a line of names first. Nothing at all is NULL, "" an empty text."""

    def line(row: Row) -> str:
        return ",".join("" if each is None else cell(each) for each in row) + "\r\n"

    return _gathered(line, [tuple(columns)], rows)


def cell(text: str) -> str:
    """One cell that nothing in it can leave, and that no spreadsheet runs.

    Quoted unless it is a number or nothing but letters and digits: behind a number, where a comma
    is for fractions, `-5` and `1+SUM(A1)` would otherwise be read as one formula.
    """
    text = harmless(text)
    if is_number(text) or text.isalnum():
        return text
    return '"' + text.replace('"', '""') + '"'


def json_lines(
    columns: Sequence[str], kinds: Sequence[str], rows: Iterable[Row]
) -> Iterator[bytes]:
    """An object a row, with the columns in their order."""
    writers = [json.dumps(name, ensure_ascii=False) + ":" for name in columns]

    def line(row: Row) -> str:
        values = (
            name + value(each, kind) for name, each, kind in zip(writers, row, kinds, strict=True)
        )
        return "{" + ",".join(values) + "}\n"

    return _gathered(line, (), rows)


def value(text: str | None, kind: str) -> str:
    """As JSON: numbers that every reader holds exactly as numbers, all else as text."""
    if text is None:
        return "null"
    if kind == "boolean" and text in ("t", "f"):
        return "true" if text == "t" else "false"
    if kind in WHOLE and text.lstrip("-").isdecimal():
        return text
    if kind in FLOATING and text not in NOT_JSON:
        return _number(text)
    if kind in ("json", "jsonb"):
        return _embedded(text)
    return json.dumps(text, ensure_ascii=False)


def _number(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return json.dumps(text)
    return text if type(found) in (int, float) else json.dumps(text)


def _embedded(text: str) -> str:
    """Itself, on one line: outside of its strings a newline is only space."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text.replace("\r", " ").replace("\n", " ")


def _gathered(line: Line, first: Iterable[Row], rows: Iterable[Row]) -> Iterator[bytes]:
    held: list[str] = []
    length = 0
    for some in (first, rows):
        for row in some:
            held.append(line(row))
            length += len(held[-1])
            if length >= GATHERED:
                yield _encoded(held)
                held, length = [], 0
    if held:
        yield _encoded(held)


def _encoded(held: list[str]) -> bytes:
    return "".join(held).encode("utf-8", "replace")
