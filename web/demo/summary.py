"""What was made or changed, in figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Figures of one source: a database has tables, a folder has files."""

    tables: tuple[tuple[str, int], ...] = ()  # name, and rows written to it
    files: int = 0  # files written
    bytes: int = 0  # in those files

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.tables)

    def __str__(self) -> str:
        if self.tables:
            return f"{len(self.tables)} tables, {self.rows:,} rows"
        return f"{self.files:,} files, {self.bytes:,} bytes"
