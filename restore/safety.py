"""The safety point: what is live is saved before it is replaced, so that there is a way back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import update

from backup import followers, places, planning, runs
from backup.models import BackupRun, Point, PointSource, Source
from backup.planning import Order
from backup.sources import kinds
from backup.sources.connection import Access, NoSuchDatabase, NoSuchSchema
from backup.sources.directory import Directory
from backup.sources.postgres import Postgres
from backup.states import Outcome, Trigger
from restore import landing_databases
from restore.errors import Unsafe
from restore.going import Going, Phase
from restore.models import Restore
from strongroom.actors import WORKER
from strongroom.errors import NotFound, StrongroomError

PATIENCE = timedelta(minutes=15)

log = structlog.get_logger(__name__)


class NoSafetyPoint(Unsafe):
    """What is live could not be saved first, so it is not replaced."""

    code = "no-safety-point"


class BackupUnderWay(StrongroomError):
    """Somebody else works in the repository for long; the restore goes on when that has ended."""

    code = "backup-running"


def take(going: Going, source: Source) -> None:
    """Save what is live before it is replaced; done once, also if the restore is tried again.

    Where nothing is live any more there is nothing to save. Raises NoSafetyPoint, or
    BackupUnderWay where it is worth waiting.
    """
    if going.row.safety_run_id is None:
        if is_gone(going, source):
            return
        _ask(going, source)
    going.enter(Phase.SAFETY)
    run_id = going.row.safety_run_id
    assert run_id is not None  # it has just been asked for
    with going.session() as session:
        point = session.get(Point, run_id)
    if point is None:
        point = runs.make(going.runtime, source.tenant_id, run_id)
    if point is None:
        point = _awaited(going, run_id)
    with going.session() as session:
        followers.hand_over(session, run_id)
    if point is None or not _holds(going, point, source):
        raise NoSafetyPoint(
            f"What {source.name} holds now could not be saved first, so nothing was replaced. "
            "Restore aside instead, or mend what `strongroom source test` says.",
            run=str(run_id),
        )


def checked(access: Access) -> Path:
    """The folder that the allow-list has, and not what the source's path leads to by now."""
    assert access.folder is not None  # every folder that was admitted has one
    return access.folder


def is_gone(going: Going, source: Source) -> bool:
    """True only when it is certain that nothing is there: no folder or an empty one, no database,
    no schema."""
    with going.session() as session:
        parsed, access = places.reach(going.runtime, session, source)
    try:
        if isinstance(parsed, Directory) and not any(checked(access).iterdir()):
            return True
    except OSError:
        log.info("the live folder cannot be listed", source=source.name)
    try:
        kinds.check(parsed, access, home=going.runtime.settings.home or places.NO_HOME)
    except (NotFound, NoSuchSchema):
        return True
    except NoSuchDatabase:  # or it is there, and closed to us
        return isinstance(parsed, Postgres) and not landing_databases.exists(parsed.login(access))
    except StrongroomError:
        return False
    return False


def _ask(going: Going, source: Source) -> None:
    """Noted at once, so that an attempt after this one takes up the same run."""
    now = going.runtime.now()
    with going.session() as session:
        order = Order(Trigger.SAFETY, WORKER, now, only_source=source.id)
        run = planning.request_run(session, source.tenant_id, order)
        run.nudged_at = now
        session.flush()
        session.execute(
            update(Restore).where(Restore.id == going.row.id).values(safety_run_id=run.id)
        )
    going.row.safety_run_id = run.id


def _awaited(going: Going, run_id: UUID) -> Point | None:
    """A safety run that could not be made at once: another worker may hold the repository."""
    deadline = going.runtime.now() + PATIENCE
    while going.runtime.now() < deadline and not going.stop.wait(1.0):
        with going.session() as session:
            run = session.get_one(BackupRun, run_id)
            point = session.get(Point, run_id)
        if point is not None:
            return point
        if run.ended_at is not None:
            return None
        if run.due_at <= going.runtime.now():
            made = runs.make(going.runtime, run.tenant_id, run_id)
            if made is not None:
                return made
    going.stop.check()
    raise BackupUnderWay(
        "A backup holds the repository, so what is live cannot be saved yet. The restore goes on "
        "by itself when that has ended.",
        run=str(run_id),
    )


def _holds(going: Going, point: Point, source: Source) -> bool:
    with going.session() as session:
        parts = session.query(PointSource).filter_by(point_id=point.id, source_id=source.id)
        return any(part.outcome is Outcome.COMPLETE for part in parts)
