"""How the processes of the platform are called."""

from __future__ import annotations

import sys
from pathlib import Path


def argv(part: str, *options: str, home: Path | None) -> list[str]:
    """The command that runs a dispatcher, worker or upkeep; `options` as `web.working` reads them."""
    where = [] if home is None else ["--home", str(home)]
    return [sys.executable, "-m", "web.working", "serve", part, *options, *where]
