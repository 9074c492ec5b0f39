"""A closed view of the file system for one child: what it may open, whatever names lead where.

The kernel's Landlock (landlock(7), Linux 5.13) binds rights to folders themselves, not to their
paths: who swaps a folder inside a source for a link leads nobody out of it, and a program that was
talked into something by the data it reads finds neither the key store nor another tenant's files.
It needs no rights, and takes none of the program's own but those of gaining more
(`no_new_privs`). Names and sizes can still be asked for by whoever knows a path; nothing outside
can be read, listed or written. Sockets and pipes stay as they are.

A view belongs to the thread that closes it and to what that thread starts. So each child gets a
thread of its own, which lives until the child has ended, as `setpriv --pdeathsig` needs.
"""

from __future__ import annotations

import ctypes
import os
import select
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from subprocess import Popen

from strongroom.errors import StrongroomError

# linux/landlock.h; the numbers of the calls are the same on every architecture
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1 << 0  # a flag of CREATE_RULESET
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
CHANGES = sum(1 << bit for bit in range(4, 13))  # removing and making, of every kind
REFER, TRUNCATE = 1 << 13, 1 << 14  # known from the second and the third version on
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE  # the others are of folders alone
NO_NEW_PRIVS = 38  # linux/prctl.h

READING = READ_FILE | READ_DIR
WRITING = READING | WRITE_FILE | CHANGES | REFER | TRUNCATE

Place = Path | int  # by name, or by an open descriptor, which no swap can lead elsewhere

PROGRAMS = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")))
# What every program may need to find hosts, accounts, certificates and the machine's size.
COMMON = tuple(
    Path("/etc", name)
    for name in (
        *("ssl", "pki", "ca-certificates", "crypto-policies", "ld.so.cache", "localtime"),
        *("hosts", "resolv.conf", "nsswitch.conf", "host.conf", "gai.conf", "services"),
        *("passwd", "group"),
    )
) + tuple(map(Path, ("/dev/urandom", "/dev/random", "/sys/fs/cgroup", "/sys/kernel/mm")))
DEVICES = (Path("/dev/null"),)


class CannotClose(StrongroomError):
    """The view of a child could not be closed, so the child was not started."""

    code = "view-not-closed"


@dataclass(frozen=True)
class View:
    """What a child may open beside the system's programs and libraries: all that lies below."""

    read: tuple[Place, ...] = ()
    write: tuple[Place, ...] = ()  # and read
    run: tuple[Place, ...] = ()  # and read


@cache
def version() -> int:
    """Of Landlock on this machine; 0 where the kernel or a filter of calls does without."""
    return max(0, _call(CREATE_RULESET, None, 0, VERSION))


def start_inside(view: View, begin: Callable[[], Popen[bytes]]) -> Popen[bytes]:
    """What `begin` starts sees only the view; where Landlock is missing it sees everything.

    Raises what `begin` raises, and CannotClose when a place of the view cannot be opened.
    """
    if not version():
        return begin()
    started: SimpleQueue[Popen[bytes] | BaseException] = SimpleQueue()

    def whole_life() -> None:
        try:
            _close(view)
            process, watch = _watched(begin)
        except BaseException as error:  # noqa: BLE001 - raised again by who asked
            started.put(error)
            return
        started.put(process)
        try:
            end = select.poll()
            end.register(watch, select.POLLIN)
            end.poll()
        finally:
            os.close(watch)

    threading.Thread(target=whole_life, name="closed view", daemon=True).start()
    outcome = started.get()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _watched(begin: Callable[[], Popen[bytes]]) -> tuple[Popen[bytes], int]:
    """The child, and a descriptor that can be read once it has ended."""
    process = begin()
    try:
        return process, os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise


def _close(view: View) -> None:
    """For the calling thread, and for good."""
    handled = EXECUTE | WRITING
    handled &= ~(REFER * (version() < 2) | TRUNCATE * (version() < 3))
    rules = _done(_call(CREATE_RULESET, struct.pack("Q", handled), 8, 0), "made")
    try:
        for places, rights in (
            ((*_there(PROGRAMS), *view.run), READING | EXECUTE),
            ((*_there(COMMON), *view.read), READING),
            (_there(DEVICES), READING | WRITE_FILE),
            (view.write, WRITING & handled),
        ):
            for place in places:
                _allow(rules, place, rights)
        _done(_libc().prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "kept from gaining rights")
        _done(_call(RESTRICT_SELF, rules, 0), "closed")
    finally:
        os.close(rules)


def _there(places: Iterable[Path]) -> list[Path]:
    return [place for place in places if place.exists()]


def _allow(rules: int, place: Place, rights: int) -> None:
    with _opened(place) as descriptor:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _done(_call(ADD_RULE, rules, PATH_BENEATH, rule, 0), f"opened to {place}")


@contextmanager
def _opened(place: Place) -> Iterator[int]:
    if isinstance(place, int):
        yield place
        return
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise CannotClose(
            f"A program was to be kept to {place} and little else, but that cannot be opened: "
            f"{error.strerror}. Make it, or let the platform's account in.",
            place=str(place),
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _call(number: int, *words: object) -> int:
    """A system call; its result, or the error's number made negative."""
    result: int = _libc().syscall(ctypes.c_long(number), *words)
    return result if result >= 0 else -ctypes.get_errno()


def _done(result: int, what: str) -> int:
    if result >= 0:
        return result
    raise CannotClose(
        f"The closed view of a program could not be {what}: {os.strerror(-result)}. "
        "Run `strongroom doctor`.",
        errno=-result,
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
