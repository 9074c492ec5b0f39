"""`strongroom up`: the embedded stack, the schema, the regions, and our own processes beside it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from strongroom import clock, schema, settings
from strongroom.control_restores import RecoveryUnfinished
from strongroom.db import Database, Role
from strongroom.errors import StrongroomError
from strongroom.ids import new_id
from strongroom.program import Command
from strongroom.regions import Region, RegionState
from strongroom.stack import ports
from strongroom.stack.children import Child
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import RECOVERING, find_stack
from tenants import plans
from web import programs
from web.demo.customers import Customers
from web.models import METADATA

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Wanted:
    """How the stack is to be started."""

    home: Path
    regions: int = 2
    port: int | None = None  # of the web page; None: one that is free, and the same next time
    concurrency: int = 2  # of the workers that make backups


@dataclass(frozen=True)
class Running:
    """A stack that runs."""

    path: Path  # its home
    web: str  # the address of the page
    stack: Embedded
    customers: Customers | None  # of a demo home: the database server of its tenants


@contextmanager
def running(wanted: Wanted) -> Iterator[Running]:
    """The whole stack for the length of the block. Call it from the main thread."""
    require_restic(settings.restic_program())
    if wanted.port is not None:
        require_free(wanted.port)
    _require_recovered(wanted.home)
    stack = Embedded(wanted.home, regions=wanted.regions)
    with stack:
        known = settings.from_stack(find_stack(stack.path))
        schema.upgrade(known.databases[Role.MIGRATOR], METADATA)
        register(known, stack)
        customers = _customers(stack)
        port = wanted.port or _page_port(stack)
        for child in processes(stack.path, port=port, concurrency=wanted.concurrency):
            stack.children.start(child)
        web = f"http://localhost:{port}"
        stack.publish(web=web)
        yield Running(stack.path, web, stack, customers)


def _require_recovered(home: Path) -> None:
    """Before the database is made: a recovery may have been killed earlier than that."""
    if os.path.lexists(home / RECOVERING):  # false also where we may not look: `prepare` says so
        raise RecoveryUnfinished(
            f"A recovery into {home} was begun and has not ended, so nothing is started. Run the "
            "same `strongroom recover` again; it goes on where it was."
        )


class NoRestic(StrongroomError):
    """The program that everything rests on is not there."""

    code = "no-restic"


def require_restic(program: str) -> None:
    """Before anything is started or made."""
    if shutil.which(program) is None:
        raise NoRestic(
            f"Wanted to start, but there is no restic ({program}). Run `make setup`, or put restic "
            "0.19.1 or newer on the PATH."
        )


def require_free(port: int) -> None:
    """The page's port, before anything is started."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ports.PortTaken(
            f"Wanted to show the pages on 127.0.0.1:{port}, but: {error.strerror}. Choose another "
            "with --port, or leave it out."
        ) from error


def until_told(running: Running) -> None:
    """Look after the children until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running.stack.children.watch(stop)


def register(known: settings.Settings, stack: Embedded) -> None:
    """Write the regions into the database, and the shipped plans if there are none."""
    database = Database(known.databases)
    now = clock.now()
    with database.session(Role.OPERATOR) as session:
        for rank, service in enumerate(stack.regions):
            entry = service.published()
            session.execute(
                insert(Region)
                .values(
                    id=new_id(),
                    rank=rank,
                    state=RegionState.OPEN,
                    created_at=now,
                    **{name: entry[name] for name in REGION_COLUMNS},
                    **EMBEDDED_PLACES[rank % len(EMBEDDED_PLACES)],
                )
                .on_conflict_do_update(
                    index_elements=["name"], set_={"endpoint": entry["endpoint"]}
                )
            )
        if not plans.newest(session):
            plans.apply(session, plans.read(plans.SHIPPED), now=now)
    database.close()


# All of them lie on this machine; placement and distances are to be seen at work all the same.
EMBEDDED_PLACES: tuple[dict[str, Any], ...] = (
    {"latitude": 25.2048, "longitude": 55.2708, "country": "AE", "provider": "embedded"},
    {"latitude": 24.7136, "longitude": 46.6753, "country": "SA", "provider": "embedded"},
    {"latitude": 26.2285, "longitude": 50.5860, "country": "BH", "provider": "embedded"},
    {"latitude": 50.1109, "longitude": 8.6821, "country": "DE", "provider": "embedded"},
)
REGION_COLUMNS = ("name", "endpoint", "bucket", "location", "role_arn")


def processes(home: Path, *, port: int, concurrency: int) -> list[Child]:
    """Our own processes, in the order in which they start."""
    backup = ["--queue", "backup", "--queue", "copy", "--queue", "verify", "--queue", "removal"]
    many = ["--concurrency", str(concurrency)]
    web = [sys.executable, "-m", "web.cli", "serve", "web"]
    return [
        _child("dispatcher", programs.argv("dispatcher", home=home)),
        _child("worker", programs.argv("worker", *backup, *many, home=home)),
        _child("worker-restore", programs.argv("worker", "--queue", "restore", home=home)),
        _child("upkeep", programs.argv("upkeep", home=home)),
        _child("web", [*web, "--port", str(port), "--home", str(home)], page=port),
    ]


def _child(name: str, argv: list[str], *, page: int | None = None) -> Child:
    command = Command(
        argv,
        environment={"PATH": PATH, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
        folder=Path("/"),
    )
    return Child(
        name=name,
        command=command,
        ready=None if page is None else lambda: _answers(page),
        grace=10.0,
    )


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _customers(stack: Embedded) -> Customers | None:
    """In a demo home the tenants' own database server runs beside the stack."""
    if not (stack.path / "demo").exists():
        return None
    customers = Customers(stack.path)
    stack.children.start(customers)
    return customers


def _page_port(stack: Embedded) -> int:
    (port,) = ports.reserve(stack.home.ports, ports.Need("web", count=1))
    return port
