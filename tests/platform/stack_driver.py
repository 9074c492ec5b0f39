"""Starts a stack and waits, for tests that kill it: stack_driver.py HOME REGIONS [ACCOUNT]."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import threading
from pathlib import Path

import structlog

from strongroom.errors import StrongroomError
from strongroom.stack.embedded import Embedded


def main() -> int:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if len(sys.argv) > 3:
        become(sys.argv[3])
    try:
        with Embedded(Path(sys.argv[1]), regions=int(sys.argv[2])) as stack:
            print("ready", flush=True)
            stack.children.watch(stop)
    except StrongroomError as error:
        print(error.code, error.message, flush=True)
        return error.exit_code
    return 0


def become(name: str) -> None:
    """For good; done here and not before, as the account may be unable to enter Python's folder."""
    entry = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    sys.exit(main())
