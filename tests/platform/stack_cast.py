"""What the tests of the stack share: homes that leave nothing behind, stacks in processes of
their own, and who still runs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.stack import quarters

DRIVER = Path(__file__).with_name("stack_driver.py")
ROOT = os.geteuid() == 0


@contextmanager
def new_home(prefix: str = "stack-test-") -> Iterator[Path]:
    """A path that does not exist yet; nothing of it is left, and nothing of it runs, after."""
    parent = Path(tempfile.mkdtemp(prefix=prefix))
    home = parent / "home"
    try:
        yield home
        assert until(lambda: not processes_of(home)), processes_of(home)
    finally:
        quarters.clear(home / "postgres")
        shutil.rmtree(parent)


def places_of(home: Path) -> list[str]:
    """The folders of a home, wherever they lie."""
    pointer = home / "postgres" / quarters.POINTER
    return [str(home), *([pointer.read_text()] if pointer.exists() else [])]


def processes_of(home: Path) -> list[str]:
    """Command lines of live processes that work in the home or name it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            folder = str((entry / "cwd").readlink())
        except OSError:
            continue
        if any(place in line or folder.startswith(place) for place in places_of(home)):
            found.append(f"{entry.name} {line}")
    return found


def until(holds: Callable[[], bool], *, seconds: float = 90.0) -> bool:
    """Ask until it holds; False when the time is up."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def driven(home: Path, *, regions: int = 0, user: str = "") -> Iterator[subprocess.Popen[str]]:
    """A stack in a process of its own, ready when this returns."""
    driver = start_driver(home, regions=regions, user=user)
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        yield driver
    finally:
        if driver.poll() is None:
            driver.terminate()
        driver.communicate(timeout=180)


def start_driver(home: Path, *, regions: int = 0, user: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, str(DRIVER), str(home), str(regions), *([user] if user else [])]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@contextmanager
def acting_as_nobody() -> Iterator[None]:
    """With the rights of the account `nobody`; skipped where we may not become it."""
    if not ROOT:
        pytest.skip("only root can become another account")
    entry = pwd.getpwnam("nobody")
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
