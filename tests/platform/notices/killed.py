"""A courier in a process of its own, for a test that kills it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strongroom import runtime
from strongroom.db import Role
from strongroom.notices import outward
from strongroom.settings import Settings
from tests.platform.notices.post_office import PostOffice


def deliver(told: dict[str, Any]) -> None:
    """One round, by the settings given; it waits for its answer until it is killed."""
    outward.STEP_SECONDS = outward.WHOLE_SECONDS = 300.0
    keys = Path(told["keys"])
    known = Settings(
        databases={Role(role): url for role, url in told["databases"].items()},
        broker="memory://",
        regions={},
        keys=keys,
        work=keys.parent / "work",
    )
    PostOffice(runtime.make(known)).courier().round()
