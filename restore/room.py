"""Whether the disk has room for what is to be tried: asked before, and when something failed."""

from __future__ import annotations

import shutil
from pathlib import Path

from restore.scratch import MIB
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from strongroom.stack import quarters

SPARE = 256 * MIB  # beyond what is restored: logs, indexes of the repository, the others
FULL = 32 * MIB  # with less than this left, what fails may have failed for that


class NoRoom(StrongroomError):
    """The disk that rehearsed restores use is too full for this one."""

    code = "no-room"


def require(runtime: Runtime, wanted: int) -> None:
    """Raises NoRoom unless so many bytes, and some more, can be restored."""
    free = _free(runtime)
    if free < wanted + SPARE:
        raise NoRoom(
            f"A rehearsed restore needs {(wanted + SPARE) // MIB} MiB below "
            f"{runtime.settings.work}, and {free // MIB} MiB are free. Make room, or give the "
            "workers a larger disk; it is tried again by itself.",
            wanted=wanted + SPARE,
            free=free,
        )


def require_some_left(runtime: Runtime) -> None:
    """Raises NoRoom when the disk is full by now."""
    if _free(runtime) < FULL:
        require(runtime, 0)


def _free(runtime: Runtime) -> int:
    """Clusters may lie outside of the work folder, where another account can get at them."""
    places = [runtime.settings.work, quarters.OUTSIDE]
    return min(shutil.disk_usage(place).free for place in places if _is_folder(place))


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except OSError:
        return False
