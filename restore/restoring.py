"""Carrying out a restore: choose a copy, take a safety point, bring the data, land it.

Anything live is touched in the very last step only, which is atomic for what it replaces; a
restore that dies before it is taken up again from the start, one that dies in it is finished.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import update

from backup import places, planning, runs
from backup.making import failure_of
from backup.models import BackupRun, Point, PointSource, Source
from backup.planning import Order
from backup.sources import kinds
from backup.sources.connection import NoSuchDatabase, NoSuchSchema
from backup.sources.directory import Directory
from backup.states import Outcome, Trigger
from restore import choosing, landing_databases, landing_folders
from restore.choosing import NowhereReached
from restore.errors import Unsafe
from restore.going import Going
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom import owner
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import NotFound, StrongroomError
from strongroom.lifecycle import Move, Overtaken, Reason, advance, take
from strongroom.runtime import Runtime

ATTEMPTS = 5
SAFETY_PATIENCE = timedelta(minutes=15)

log = structlog.get_logger(__name__)


class NoSafetyPoint(Unsafe):
    """What is live could not be saved first, so it is not replaced."""

    code = "no-safety-point"


def carry_out(runtime: Runtime, tenant: UUID, restore_id: UUID) -> None:
    """Carry out a restore that waits; its row says how it ended."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(Restore, restore_id)
        if row is None:
            log.warning("a doorbell named no restore of this tenant", restore=str(restore_id))
            return
        fence = take(session, row, owner=owner.me(), move=Move(by=WORKER, at=runtime.now()))
    if fence is None:
        return
    with runtime.keeper.holding(row, fence) as held:
        going = Going(runtime, row, held)
        try:
            report = _carry_out(going)
        except Overtaken as error:
            log.warning("a restore went on elsewhere", restore=str(row.id), error=error.message)
        except NowhereReached as error:
            _again(going, error) if row.attempt < ATTEMPTS else _fail(going, error)
        except StrongroomError as error:
            _fail(going, error)
        else:
            _end(going, RestoreState.DONE, Reason("restored"), {"report": report})


def _carry_out(going: Going) -> dict[str, Any]:
    with going.session() as session:
        source = session.get_one(Source, going.row.source_id)
        parsed, access = places.reach(going.runtime, session, source)
    if isinstance(parsed, Directory):
        finished = landing_folders.recover(going, parsed)
        if finished is not None:
            return finished
    chosen = choosing.choose(going.runtime, going.row)
    going.note(region=chosen.site.region.name)
    if going.row.destination is Destination.IN_PLACE and not going.row.dry_run:
        _safety_point(going, source, parsed)
    if isinstance(parsed, Directory):
        report = landing_folders.land(going, parsed, chosen)
    else:
        report = landing_databases.land(going, (parsed, access), chosen)
    return report | {
        "region": chosen.site.region.name,
        "verified": chosen.verified,
        "passed_over": list(chosen.passed_over),
    }


def _safety_point(going: Going, source: Source, parsed: kinds.Source) -> None:
    """Save what is live before it is replaced; done once, also if the restore is tried again.

    Where nothing is live any more there is nothing to save. Raises NoSafetyPoint.
    """
    if going.row.safety_run_id is not None or _is_gone(going, source):
        return
    going.note(phase="safety-point")
    runtime = going.runtime
    with going.session() as session:
        order = Order(Trigger.SAFETY, WORKER, runtime.now(), only_source=source.id)
        run = planning.request_run(session, source.tenant_id, order)
        run.nudged_at = runtime.now()
    point = runs.make(runtime, source.tenant_id, run.id)
    if point is None:
        point = _awaited(going, run.id)
    if point is None or not _holds(going, point, source):
        raise NoSafetyPoint(
            f"What {source.name} holds now could not be saved first, so nothing was replaced. "
            "Restore aside instead, or mend what `strongroom source test` says.",
            run=str(run.id),
        )
    with going.session() as session:
        session.execute(
            update(Restore).where(Restore.id == going.row.id).values(safety_run_id=point.id)
        )
    going.row.safety_run_id = point.id


def _awaited(going: Going, run_id: UUID) -> Point | None:
    """A safety run that could not be made at once: another worker may hold the repository."""
    deadline = going.runtime.now() + SAFETY_PATIENCE
    while going.runtime.now() < deadline and not going.held.lost.wait(1.0):
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
    return None


def _is_gone(going: Going, source: Source) -> bool:
    """True only when it is certain that nothing is there: no folder, no database, no schema."""
    with going.session() as session:
        parsed, access = places.reach(going.runtime, session, source)
    try:
        kinds.check(parsed, access, home=going.runtime.settings.home or places.NO_HOME)
    except (NotFound, NoSuchDatabase, NoSuchSchema):
        return True
    except StrongroomError:
        return False
    return False


def _holds(going: Going, point: Point, source: Source) -> bool:
    with going.session() as session:
        parts = session.query(PointSource).filter_by(point_id=point.id, source_id=source.id)
        return any(part.outcome is Outcome.COMPLETE for part in parts)


def _again(going: Going, error: StrongroomError) -> None:
    values = {
        "due_at": going.runtime.now() + back_off(going.row.attempt),
        "nudged_at": None,
        "failure": failure_of(error),
    }
    _end(going, RestoreState.WAITING, Reason(error.code), values)


def _fail(going: Going, error: StrongroomError) -> None:
    log.warning("a restore failed", restore=str(going.row.id), error=error.message)
    _end(going, RestoreState.FAILED, Reason(error.code), {"failure": failure_of(error)})


def _end(going: Going, state: RestoreState, reason: Reason, values: dict[str, Any]) -> None:
    now = going.runtime.now()
    if state is not RestoreState.WAITING:
        values = values | {"ended_at": now, "phase": None}
    values = values | {"owner": None, "lease_until": None}
    move = Move(by=WORKER, at=now, reason=reason, fence=going.held.fence, values=values)
    try:
        with going.session() as session:
            advance(session, session.get_one(Restore, going.row.id), state, move)
    except Overtaken as error:
        log.warning("a restore went on elsewhere", restore=str(going.row.id), error=error.message)
