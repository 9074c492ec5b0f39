"""Carries out a rotation and kills itself on the way: dying_rotator.py STACK TENANT ROTATION STAGE.

It dies when all of the stage is done and not a word of it written. STACK is a file like an
embedded stack's stack.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from backup import rotation
from backup.rotating import Going
from strongroom import settings
from web import models, parts

_note = Going.note


def main() -> None:
    stack, tenant, row, stage = sys.argv[1:]
    assert models.METADATA.tables  # all of them are known
    runtime = parts.make_runtime(settings.from_stack(json.loads(Path(stack).read_text())))

    def note(self: Going, session: Any, reached: str, **more: Any) -> None:
        if reached == stage:
            os.kill(os.getpid(), signal.SIGKILL)
        _note(self, session, reached, **more)

    Going.note = note  # type: ignore[method-assign]
    rotation.rotate(runtime, UUID(tenant), UUID(row))


if __name__ == "__main__":
    main()
