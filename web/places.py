"""Which platform is meant: the stack of a home, or what STRONGROOM_* variables say."""

from __future__ import annotations

import os
from pathlib import Path

from strongroom import settings
from strongroom.errors import BadValue
from strongroom.stack.home import find_stack

HOME_VARIABLE = "STRONGROOM_HOME"


def find_settings(home: Path | None) -> settings.Settings:
    """Raises what is wrong, in words."""
    if home is not None:
        return settings.from_stack(find_stack(home))
    if any(name.startswith("STRONGROOM_DATABASE_URL") for name in os.environ):
        return settings.from_environment(os.environ)
    raise BadValue(
        "Which platform? Name the folder of a running stack with --home (or STRONGROOM_HOME), "
        "or set STRONGROOM_* for a production one. `strongroom up --home DIR` starts a stack.",
        code="no-platform",
    )
