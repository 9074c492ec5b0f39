"""What a dump holds, read by pg_restore without any server: it writes text, which we read.

The dump is a tenant's and hostile: pg_restore runs with a closed view, without a connection, under
limits, and what it writes is taken for rows or thrown away.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from restore import fetching
from restore.delivery.copied import NotReadable
from restore.fetching import Coming, Origin
from restore.scratch import MIB
from strongroom import program
from strongroom.closed_view import View
from strongroom.program import Command, Finished, Limits, Running
from strongroom.stack import quarters

BUFFER = 1024 * 1024
LIMITS = Limits(memory_bytes=4096 * MIB, core_bytes=0)
SURROUNDINGS = {"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
Named = tuple[str, str]  # schema and table, exactly


@dataclass(frozen=True)
class Wanted:
    """Which part of a dump."""

    only: Named | None = None  # None: all tables
    definitions: bool = False  # the schema instead of the rows
    seconds: float = fetching.SECONDS


@contextmanager
def written(
    origin: Origin, wanted: Wanted, *, whole: Callable[[], bool] = lambda: True
) -> Iterator[IO[bytes]]:
    """The text, read while the dump comes out of its region.

    The block's end raises what restic or pg_restore had against it, restic's word first: what was
    read before is not to be used then. Not where `whole` then says that the rest is not wanted.
    """
    with (
        fetching.begun(origin) as dump,
        ThreadPoolExecutor(1, thread_name_prefix="pg_restore") as pool,
    ):
        child, text = _started(wanted, dump)
        with text:
            ended = pool.submit(child.finish, timeout=wanted.seconds, stop=origin.stop)
            try:
                yield text
                if not whole():
                    text.close()
                    child.end(grace=2)
                    return
                while text.read(BUFFER):
                    pass  # what comes after the last table
            except NotReadable:
                child.end(grace=2)
                dump.judge()
                raise
            except BaseException:
                child.end(grace=2)
                raise
        _require_well(ended.result(), dump)
        dump.close()
        if not wanted.definitions:  # these stand at its beginning, and nothing else is read
            dump.fetched.result()


def _started(wanted: Wanted, dump: Coming) -> tuple[Running, IO[bytes]]:
    reading, writing = os.pipe()
    try:
        child = program.start(
            command(wanted), stdin=dump.reading, stdout=writing, stderr=subprocess.PIPE
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return child, os.fdopen(reading, "rb", BUFFER)


def command(wanted: Wanted) -> Command:
    """Into standard output; a name hangs on its flag, so that none is read as one."""
    programs = quarters.bin_folder()
    return Command(
        [str(programs / "pg_restore"), *flags(wanted)],
        environment=SURROUNDINGS,
        folder=Path("/"),
        limits=LIMITS,
        view=View(run=quarters.libraries_of(programs)),
    )


def flags(wanted: Wanted) -> Sequence[str]:
    what = "--schema-only" if wanted.definitions else "--data-only"
    options = [what, "--format=custom", "--no-owner", "--no-acl", "--file=-"]
    if wanted.only is not None:
        schema, table = wanted.only
        options += [f"--schema={schema}", f"--table={table}"]
    return options


def _require_well(finished: Finished, dump: Coming) -> None:
    if finished.code != 0:
        dump.judge()
        raise NotReadable(
            "The dump could not be read to its end. Take the dump itself, or another point. It "
            f"said: {finished.stderr.strip()[-500:] or 'nothing'}"
        )
