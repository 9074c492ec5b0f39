"""Carries out a restore and kills itself on the way: dying_restorer.py STACK TENANT RESTORE WHERE.

STACK is a file like an embedded stack's stack.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from restore import (
    databases,
    fetching,
    folders,
    landing_databases,
    landing_folders,
    restoring,
    safety,
    scratch,
)
from strongroom import settings
from web import models, parts

WHERE: dict[str, tuple[Any, str, bool]] = {  # module, function, and whether it dies after it
    "in the safety point": (safety.runs, "make", False),
    "after the safety point": (safety.runs, "make", True),
    "after fetching": (landing_folders.commands, "restore", True),
    "before the exchange": (folders, "_rename", False),
    "right after the exchange": (folders, "_rename", True),
    "after all but the report": (landing_folders, "_land", True),
    "while the throw-away cluster runs": (scratch, "load", True),
    "while it is loaded beside": (databases, "_whole", False),
    "before the swap": (databases, "in_place", False),
    "right after the swap": (databases, "in_place", True),
    "right after it was named": (databases, "aside", True),
    "while the dump is written": (fetching, "dump", True),
    "right after the dump has its name": (landing_databases.os, "link", True),
}


def main() -> None:
    stack, tenant, restore, where = sys.argv[1:]
    assert models.METADATA.tables  # all of them are known
    runtime = parts.make_runtime(settings.from_stack(json.loads(Path(stack).read_text())))
    module, name, afterwards = WHERE[where]
    setattr(module, name, dying(getattr(module, name), afterwards=afterwards))
    restoring.carry_out(runtime, UUID(tenant), UUID(restore))


def dying(function: Callable[..., Any], *, afterwards: bool) -> Callable[..., Any]:
    def wrapped(*given: Any, **more: Any) -> Any:
        if afterwards:
            function(*given, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


if __name__ == "__main__":
    main()
