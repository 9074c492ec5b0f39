"""What a command prints: one JSON document, or words and tables for people.

Results go to stdout, messages and progress to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Screen:
    """Where a command speaks."""

    as_json: bool
    quiet: bool = False

    def say(self, message: str) -> None:
        """A message for people: to stderr, unless nobody wants to hear."""
        if not self.quiet:
            click.echo(message, err=True)

    def give(self, document: Any, *, text: str | None = None) -> None:
        """The result: the document as JSON, or the text for people."""
        if self.as_json:
            click.echo(json.dumps(document, default=_plain, ensure_ascii=False))
        elif text is not None:
            click.echo(text)

    def table(self, document: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """The result as a table, or the document as JSON."""
        if self.as_json:
            self.give(document)
            return
        if not rows:
            click.echo("Nothing to show.")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def size(count: float | None) -> str:
    """Bytes for people, in powers of 1024."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def when(moment: datetime | None) -> str:
    """A moment for people, in UTC, to the second."""
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
