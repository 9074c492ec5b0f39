"""SoftHSM for the tests: a PKCS#11 token in files. From the system, else from Debian, unpacked aside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools import debian
from tools.trouble import Trouble

PACKAGES = ("softhsm2", "libsofthsm2")
SYSTEM = Path("/")


@dataclass(frozen=True)
class SoftHsm:
    """Where its two parts lie."""

    library: Path  # what PKCS#11 loads
    utility: Path  # what makes tokens


def find(tools: Path) -> SoftHsm | None:
    """The one of the system or the one that was unpacked; None if there is neither."""
    for root in (SYSTEM, tools / "softhsm"):
        libraries = sorted(root.glob("usr/lib/*/softhsm/libsofthsm2.so"))
        libraries += sorted(root.glob("usr/lib*/softhsm/libsofthsm2.so"))
        utility = root / "usr" / "bin" / "softhsm2-util"
        if libraries and utility.exists():
            return SoftHsm(libraries[0], utility)
    return None


def provide(tools: Path) -> SoftHsm:
    """Raises Trouble where it cannot be had; all of it is unpacked, or nothing."""
    found = find(tools)
    if found is not None:
        return found
    with debian.placed(tools / "softhsm") as fresh:
        for package in PACKAGES:
            debian.unpack(package, suite=None, into=fresh)
    found = find(tools)
    if found is None:
        raise Trouble(
            wanted="SoftHSM",
            found="packages without its library",
            remedy="install softhsm2 of your distribution; without it one test file is skipped",
        )
    return found
