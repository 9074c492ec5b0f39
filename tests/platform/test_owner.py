"""A process is called gone only when that is certain."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import pytest

from strongroom import owner

HOST, BOOT, PID, START = owner.me().rsplit(":", 3)


def test_we_are_ourselves_and_not_gone() -> None:
    assert owner.me() == owner.me()
    assert int(PID) == os.getpid()
    assert not owner.is_gone(owner.me())


def test_a_child_has_a_name_of_its_own() -> None:
    mine, theirs = owner.me(), multiprocessing.get_context("spawn").Queue()
    child = multiprocessing.get_context("spawn").Process(target=_tell, args=(theirs,))
    child.start()
    told = theirs.get(timeout=120)
    child.join()
    theirs.close()
    theirs.join_thread()
    assert told.rsplit(":", 2)[0] == mine.rsplit(":", 2)[0]
    assert told != mine
    assert owner.is_gone(told)


def _tell(queue: multiprocessing.Queue[str]) -> None:
    queue.put(owner.me())


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen(["sleep", "600"])
    known = f"{HOST}:{BOOT}:{child.pid}:{owner._start(child.pid)}"
    assert not owner.is_gone(known)
    child.kill()
    deadline = time.monotonic() + 60
    while owner._start(child.pid) and time.monotonic() < deadline:
        time.sleep(0.005)  # until the kernel has made it one; nobody has waited for it
    assert owner.is_gone(known)
    child.wait()
    assert owner.is_gone(known)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("HOST:BOOT:PID:1", True),  # its number belongs to us now
        ("HOST:BOOT:4194305:1", True),  # above every number there can be
        ("other-HOST:BOOT:PID:1", False),
        ("HOST:another-boot:PID:1", False),
        ("x:HOST:BOOT:PID:1", False),
        ("HOST:BOOT:PID", False),
        ("HOST:BOOT:self:1", False),
        ("HOST:BOOT:-1:1", False),
        ("by hand", False),
        ("", False),
    ],
)
def test_who_is_gone(name: str, gone: bool) -> None:
    told = name.replace("HOST", HOST).replace("BOOT", BOOT).replace("PID", PID)
    assert owner.is_gone(told) is gone


def test_another_container_of_this_host_and_boot_is_told_apart() -> None:
    namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    assert BOOT.endswith(f".{namespace}")
    elsewhere = BOOT.removesuffix(namespace) + "1"
    assert not owner.is_gone(f"{HOST}:{elsewhere}:{PID}:1")


def test_a_program_whose_name_looks_like_the_end_of_its_line_is_read_right() -> None:
    script = "import sys, time; open('/proc/self/comm', 'w').write(') Z 1'); print(1, flush=True)"
    child = subprocess.Popen(
        ["python3", "-c", f"{script}; time.sleep(600)"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert owner._start(child.pid).isdecimal()
    child.kill()
    child.communicate()
