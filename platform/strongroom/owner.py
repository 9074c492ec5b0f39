"""Who holds a lease: this process, told apart from every other one that ever was."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path


def me() -> str:
    """`host:boot:pid:start` of the calling process; a child after fork gets its own."""
    return _of(os.getpid())


def is_gone(owner: str) -> bool:
    """True only when it is certain that the process has ended: it was of this host and boot.

    A process of another host, or one we cannot judge, is never called gone; its lease has to run
    out.
    """
    place, _, rest = owner.partition(f"{socket.gethostname()}:{_boot()}:")
    pid, _, start = rest.partition(":")
    if place or not pid.isdecimal() or not start:
        return False
    return _start(int(pid)) != start


@lru_cache(maxsize=8)
def _of(pid: int) -> str:
    return f"{socket.gethostname()}:{_boot()}:{pid}:{_start(pid)}"


@lru_cache(maxsize=1)
def _boot() -> str:
    """This boot and this PID namespace: two containers may share a host name and a boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    return f"{boot}.{namespace}"


def _start(pid: int) -> str:
    """Start time in clock ticks since boot: field 22 of /proc/PID/stat; "" if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
