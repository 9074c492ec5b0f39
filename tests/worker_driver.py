"""A worker in a process of its own, to be killed or stopped: started by `tests.workers`.

From standard input it reads JSON: the settings, what to do, and where to stand still. There it
says "reached" and waits, until it is killed or a line comes.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from backup import copies, mending, removal, runs, tasks, verify
from backup.repositories import Site
from strongroom import lifecycle
from strongroom import runtime as runtimes
from strongroom.db import Role
from strongroom.settings import Settings
from strongroom.storage import Credentials
from web import models, parts

WORK: dict[str, Callable[..., object]] = {
    "run": lambda runtime, tenant, row: tasks.run(str(tenant), str(row)),
    "make": runs.make,
    "copy": copies.bring,
    "prove": verify.prove,
    "remove": removal.apply,
    "heal": mending.heal,
}


def main() -> None:
    told = json.loads(sys.stdin.readline())
    if told["lease"] is not None:
        lifecycle.LEASE = timedelta(seconds=told["lease"])
        importlib.import_module("backup.leases").LEASE = lifecycle.LEASE  # type: ignore[attr-defined]
        importlib.import_module("strongroom.keeper").MARGIN_SECONDS = 0.5  # type: ignore[attr-defined]
    if told["upload_kib"] is not None:
        slow_down(told["upload_kib"])
    if told["at"] is not None:
        stand_still(*told["at"])
    assert models.METADATA.tables  # every part's tables are known
    runtime = parts.make_runtime(settings(told["settings"]))
    if told["lease"] is not None:
        runtime.keeper._beat = 0.5
    runtimes.use(runtime)
    say("started")
    result = WORK[told["work"]](runtime, UUID(told["tenant"]), UUID(told["row"]))
    say("nothing" if result is None else "done")


def settings(told: dict[str, Any]) -> Settings:
    return Settings(
        databases={Role(role): url for role, url in told["databases"].items()},
        broker=told["broker"],
        regions={name: Credentials(*pair) for name, pair in told["regions"].items()},
        keys=Path(told["keys"]),
        work=Path(told["work"]),
        restic=told["restic"],
        small_bytes=told["small_bytes"],
    )


def slow_down(kib: int) -> None:
    """Let restic upload at most so much a second."""
    fast = Site.restic_with
    Site.restic_with = lambda self, credentials: replace(  # type: ignore[method-assign]
        fast(self, credentials), upload_kib=kib
    )


def stand_still(place: str, when: str) -> None:
    """Before or after the function `module:name` or `module:Class.name` is called, once."""
    module, _, name = place.partition(":")
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    function = getattr(owner, last)

    def standing(*arguments: Any, **options: Any) -> Any:
        setattr(owner, last, function)
        if when == "before":
            wait()
        result = function(*arguments, **options)
        if when == "after":
            wait()
        return result

    setattr(owner, last, standing)


def wait() -> None:
    say("reached")
    sys.stdin.readline()


def say(word: str) -> None:
    print(f"#{word}", flush=True)


if __name__ == "__main__":
    main()
