"""Whether the control database's schema is older than this code, without what migrates it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

HISTORY = Path(__file__).parent / "migrations" / "versions"
LINE = re.compile(r'^(down_revision|revision)\b.*= (?:"(\w+)"|None)$', re.MULTILINE)


def is_old(session: Session) -> bool:
    """A newer one is fine: migrations keep what the code before them needs."""
    found = session.execute(text("select version_num from alembic_version")).scalar()
    return found is None or found in history()[:-1]


@cache
def history() -> Sequence[str]:
    """The versions that this code knows, the newest last."""
    below = dict(_read(file.read_text()) for file in HISTORY.glob("*.py"))
    ordered: list[str] = []
    last: str | None = None
    while above := [each for each, down in below.items() if down == last]:
        ordered += above
        last = above[-1]
    return ordered


def _read(source: str) -> tuple[str, str | None]:
    """A migration's version, and the one below it."""
    found = dict(LINE.findall(source))
    return found["revision"], found["down_revision"] or None
