"""Carries out a drill and kills itself on the way: dying_rehearser.py STACK TENANT DRILL WHERE."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from restore import scratch
from restore.rehearsed import drills, rehearsing
from strongroom import settings
from tests.restore.dying_restorer import dying
from web import models, parts

WHERE: dict[str, tuple[Any, str, bool]] = {  # module, function, and whether it dies after it
    "while a database is loaded": (scratch, "load", False),
    "while a database is compared": (scratch.fingerprint, "take", False),
    "while a folder is restored": (rehearsing.commands, "restore", False),
    "while a folder is compared": (rehearsing.likeness, "compare", False),
    "before it is written down": (drills, "_record", False),
}


def main() -> None:
    stack, tenant, drill, where = sys.argv[1:]
    assert models.METADATA.tables  # all of them are known
    runtime = parts.make_runtime(settings.from_stack(json.loads(Path(stack).read_text())))
    module, name, afterwards = WHERE[where]
    setattr(module, name, dying(getattr(module, name), afterwards=afterwards))
    drills.carry_out(runtime, UUID(tenant), UUID(drill))


if __name__ == "__main__":
    main()
