"""Chromium for the tests of the pages. From the system, else from Debian, unpacked aside."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tools import debian
from tools.trouble import Trouble

PACKAGES = ("chromium", "fonts-noto-core")
# Where an unpacked program finds what it needs; nothing of the system is asked for.
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """A browser that can be started."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)  # beside the usual


def find(tools: Path) -> Chromium | None:
    """The one of the system or the one that was unpacked; None if there is neither."""
    system = shutil.which("chromium")
    if system is not None:
        return Chromium(Path(system))
    place = tools / "chromium"
    program = place / "usr" / "lib" / "chromium" / "chromium"
    if not program.exists():
        return None
    patterns = ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/*-linux-gnu/pulseaudio")
    libraries = [str(each) for pattern in patterns for each in place.glob(pattern)]
    environment = {
        "LD_LIBRARY_PATH": ":".join(libraries),
        "FONTCONFIG_FILE": str(place / "fonts.conf"),
    }
    return Chromium(program, environment)


def provide(tools: Path) -> Chromium:
    """Raises Trouble where it cannot be had; all of it is unpacked, or nothing."""
    found = find(tools)
    if found is not None:
        return found
    place = tools / "chromium"
    with debian.placed(place) as fresh:
        debian.unpack_with_needed(PACKAGES, into=fresh)
        fonts, cache = place / "usr" / "share" / "fonts", place / "cache"
        (fresh / "fonts.conf").write_text(FONTS.format(fonts=fonts, cache=cache))
    found = find(tools)
    if found is None:
        raise Trouble(
            wanted="Chromium",
            found="packages without its program",
            remedy="install chromium of your distribution; without it the tests in a browser fail",
        )
    return found
