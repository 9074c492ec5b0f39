"""How the tests of restores ask for one, carry it out and look at what it did."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from backup import runs
from backup.models import BackupRun, Point, Source
from restore import requests, restoring
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import ADA, queue, rows_of

Face = tuple[int, int, int, int, str]


def stored(runtime: Runtime, tenant: Tenant) -> Point:
    """A point in one region, neither copied nor proven: enough to restore from."""
    point = runs.make(runtime, tenant.id, queue(runtime, tenant))
    assert point is not None
    return point


def ask(
    runtime: Runtime,
    point: Point,
    source: Source,
    to: Destination | Path = Destination.IN_PLACE,
    **more: Any,
) -> Restore:
    """`more` is paths, tables or dry_run."""
    destination, target = (Destination.FOLDER, to) if isinstance(to, Path) else (to, None)
    wish = Wish(point.id, source.id, destination, target, **more)
    with runtime.database.session(Role.OPERATOR, tenant=point.tenant_id) as session:
        return requests.ask(session, point.tenant_id, wish, by=ADA, at=runtime.now())


def carry_out(runtime: Runtime, row: Restore) -> Restore:
    """The row afterwards."""
    restoring.carry_out(runtime, row.tenant_id, row.id)
    return current(runtime, row)


def current(runtime: Runtime, row: Restore) -> Restore:
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        return session.get_one(Restore, row.id)


def give_back(
    runtime: Runtime,
    point: Point,
    source: Source,
    to: Destination | Path = Destination.IN_PLACE,
    **more: Any,
) -> Restore:
    """Asked for, carried out, and well ended."""
    row = carry_out(runtime, ask(runtime, point, source, to, **more))
    assert row.state is RestoreState.DONE, row.failure
    assert row.report is not None
    return row


def report(row: Restore) -> dict[str, Any]:
    assert row.report is not None, row.failure
    return row.report


def failure(row: Restore) -> str:
    """The code with which it failed."""
    assert row.state is RestoreState.FAILED
    assert row.failure is not None
    return str(row.failure["code"])


def take_back(runtime: Runtime, row: Restore) -> Restore:
    """Undo it."""
    with runtime.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        undoing = requests.undo(session, row.id, by=ADA, at=runtime.now())
    ended = carry_out(runtime, undoing)
    assert ended.state is RestoreState.DONE, ended.failure
    return ended


def faces(folder: Path) -> dict[str, Face]:
    """Everything below the folder: kind and mode, owner, group, time, and content or link."""
    return {str(path.relative_to(folder)): face(path) for path in sorted(folder.rglob("*"))}


def face(path: Path) -> Face:
    status = path.lstat()
    content = ""
    if path.is_symlink():
        content = str(path.readlink())
    elif path.is_file():
        content = path.read_bytes().hex()
    time = 0 if stat.S_ISLNK(status.st_mode) else status.st_mtime_ns
    return status.st_mode, status.st_uid, status.st_gid, time, content


def beside(folder: Path) -> set[str]:
    """What lies beside it, without itself: nothing of ours may stay but what a report names."""
    return {each.name for each in folder.parent.iterdir()} - {folder.name}


def safety_runs(runtime: Runtime, tenant: Tenant) -> list[BackupRun]:
    return rows_of(runtime, tenant, BackupRun, BackupRun.trigger == "safety")


def make_owned(path: Path, owner: int) -> None:
    """By another account, where we are root."""
    if os.geteuid() == 0:
        os.chown(path, owner, owner)
