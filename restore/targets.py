"""Which folders may be restored into at all."""

from __future__ import annotations

import os
from pathlib import Path

from backup.sources.allowance import resolved
from restore.errors import Unsafe


def require_no_link(target: Path) -> None:
    """Raises Unsafe unless the path is as it was resolved: whoever asks for it names the end."""
    if resolved(target) != target:
        raise Unsafe(
            f"{target} leads through a link to {resolved(target)}, or has changed since it was "
            "asked for. Name the folder itself.",
            folder=str(target),
        )


def require_exchangeable(real: Path) -> None:
    """Raises Unsafe unless it is a folder, or nothing yet, that can change places with another."""
    if os.path.lexists(real) and (real.is_symlink() or not real.is_dir()):
        raise Unsafe(f"{real} is no folder. Name the folder it lies in.", folder=str(real))
    if not real.parent.is_dir():
        raise Unsafe(f"There is no folder {real.parent}. Make it first.", folder=str(real.parent))
    inside = [mount for mount in _mounts() if mount.is_relative_to(real)]
    if inside or (real.exists() and real.stat().st_dev != real.parent.stat().st_dev):
        raise Unsafe(
            f"{real} is or holds a mount point ({', '.join(map(str, inside)) or real}), which "
            "cannot change places with another folder. Restore aside, or into a folder below it.",
            code="target-is-mounted",
            folder=str(real),
        )


def _mounts() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    fields = [line.split(b" ")[4] for line in lines]
    return [Path(os.fsdecode(each.decode("unicode_escape").encode("latin-1"))) for each in fields]
