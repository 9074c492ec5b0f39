"""What processes used: CPU and memory, as the kernel counts them (proc(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PEAK, NOW = "VmHWM", "VmRSS"


@dataclass(frozen=True)
class Process:
    """One process as /proc/PID/stat has it."""

    pid: int
    parent: int
    seconds: float  # user and system, of itself and of the children it has waited for
    argv: tuple[str, ...]


def processes() -> dict[int, Process]:
    """Everything that runs, by pid; what ends while we look is left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            argv = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        used = sum(map(int, fields[11:15])) / TICKS
        found[int(folder.name)] = Process(int(folder.name), int(fields[1]), used, tuple(argv))
    return found


def tree(root: int, known: dict[int, Process]) -> Iterator[Process]:
    """The process and all below it."""
    yield known[root]
    for process in known.values():
        if process.parent == root:
            yield from tree(process.pid, known)


def cpu(roots: dict[str, int]) -> dict[str, float]:
    """Seconds of CPU that each of these process trees has used so far, ended children included."""
    known = processes()
    return {
        name: sum(each.seconds for each in tree(root, known)) if root in known else 0.0
        for name, root in roots.items()
    }


def backends(database: str) -> float:
    """Seconds of CPU of PostgreSQL's processes that serve a database, as their titles say."""
    return sum(
        each.seconds
        for each in processes().values()
        if each.argv[0].startswith("postgres: ") and f" {database} " in each.argv[0]
    )


def memory(pid: int, what: str = PEAK) -> int:
    """Bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak(pid: int) -> None:
    """From here on the peak is that of what follows (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Load:
    """How busy the machine was, and how much of that was not ours."""

    def __init__(self) -> None:
        self._ours, self._all, self._began = _ours(), _busy(), time.monotonic()

    def foreign(self) -> float:
        """Processors that others kept busy since, on average."""
        passed = max(time.monotonic() - self._began, 0.001)
        return max(0.0, (_busy() - self._all) - (_ours() - self._ours)) / passed


def _busy() -> float:
    """Seconds of CPU that all processors spent at work since the machine started."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / TICKS


def _ours() -> float:
    me = os.getpid()
    return cpu({"me": me})["me"]
