"""Makes a delivery and kills itself on the way: dying_maker.py STACK TENANT DELIVERY WHERE.

STACK is a file like an embedded stack's stack.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from restore.delivery import making, zips
from strongroom import settings, storage
from tests.restore.dying_restorer import dying
from web import models, parts

WHERE: dict[str, tuple[Any, str, bool]] = {  # module, function, and whether it dies after it
    "while the data lies opened": (zips, "_info", False),
    "before the upload ends": (storage.Store, "end_upload", False),
    "right after the upload": (storage.Store, "end_upload", True),
}


def main() -> None:
    stack, tenant, delivery, where = sys.argv[1:]
    assert models.METADATA.tables  # all of them are known
    runtime = parts.make_runtime(settings.from_stack(json.loads(Path(stack).read_text())))
    module, name, afterwards = WHERE[where]
    setattr(module, name, dying(getattr(module, name), afterwards=afterwards))
    making.carry_out(runtime, UUID(tenant), UUID(delivery))


if __name__ == "__main__":
    main()
