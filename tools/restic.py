"""restic for the checkout: from PATH if it is new enough, else from Debian, unpacked aside."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tools import debian
from tools.trouble import Trouble

WANTED = (0, 19, 1)  # exit codes and JSON changed here
SUITES = ("forky", "testing", "unstable")


def provide(tools: Path) -> Path:
    """A restic that is new enough; `tools` is where one from Debian is kept."""
    kept = tools / "restic" / "usr" / "bin" / "restic"
    for candidate in [*on_path(os.environ.get("PATH", "")), kept]:
        if new_enough(candidate):
            return candidate
    _fetch(tools / "restic")
    if not new_enough(kept):
        raise _missing(f"the one from Debian does not run here ({version(kept)})")
    return kept


def on_path(path: str) -> list[Path]:
    """Every restic on the path, but not a link of ours in a virtual environment."""
    folders = [name for name in path.split(os.pathsep) if name]
    # os, not pathlib: a folder on the path that we may not enter is no reason to stop.
    ours = [name for name in folders if os.access(f"{name}/activate", os.F_OK)]
    found = [f"{name}/restic" for name in folders if name not in ours]
    return [Path(program).absolute() for program in found if os.access(program, os.X_OK)]


def new_enough(program: Path) -> bool:
    found = version(program)
    return found is not None and found >= WANTED


def version(program: Path) -> tuple[int, ...] | None:
    """None if it does not run, or does not say."""
    try:
        said = subprocess.run(
            [program, "version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"restic (\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(number) for number in match.groups()) if match else None


def _fetch(place: Path) -> None:
    """All of it or nothing: the folder gets its name when it is complete."""
    place.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for suite in SUITES:
        try:
            with debian.placed(place) as fresh:
                debian.unpack("restic", suite=suite, into=fresh)
            return
        except Trouble as trouble:
            reasons.append(trouble.found)
    raise _missing(
        "none on PATH that is new enough, and from Debian: " + "; ".join(dict.fromkeys(reasons))
    )


def _missing(found: str) -> Trouble:
    number = ".".join(map(str, WANTED))
    return Trouble(
        wanted=f"restic {number} or newer",
        found=found,
        remedy=f"put restic {number} on PATH (its releases page has one file per system, and most "
        "distributions package it), then run this again",
    )
