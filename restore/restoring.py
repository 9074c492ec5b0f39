"""Carrying out a restore: choose a copy, take a safety point, bring the data, land it.

Anything live is touched in the very last step only, which is atomic for what it replaces; a
restore that dies before it is taken up again from the start, one that dies in it is finished.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import update

from backup import followers, places, planning, runs
from backup.making import failure_of
from backup.models import BackupRun, Point, PointSource, Source
from backup.planning import Order
from backup.restic.errors import NothingMatched, ResticError
from backup.sources import kinds
from backup.sources.connection import Access, NoSuchDatabase, NoSuchSchema
from backup.sources.directory import Directory
from backup.sources.postgres import Postgres
from backup.states import Outcome, Trigger
from restore import choosing, landing_databases, landing_folders
from restore.choosing import Chosen, NowhereReached
from restore.errors import Unsafe
from restore.going import Going
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom import doorbells
from strongroom.actors import WORKER
from strongroom.dispatch import back_off
from strongroom.errors import NotFound, StrongroomError
from strongroom.keys import KeyUnreachable
from strongroom.lifecycle import Move, Overtaken, Reason, advance
from strongroom.runtime import Runtime
from strongroom.storage import StorageError

ATTEMPTS = 5
SAFETY_PATIENCE = timedelta(minutes=15)

log = structlog.get_logger(__name__)


class NoSafetyPoint(Unsafe):
    """What is live could not be saved first, so it is not replaced."""

    code = "no-safety-point"


def carry_out(runtime: Runtime, tenant: UUID, restore_id: UUID) -> None:
    """Carry out a restore that waits; its row says how it ended."""
    answered = doorbells.answer(runtime, Restore, tenant, restore_id)
    if answered is None:
        return
    row, fence = answered
    with runtime.keeper.holding(row, fence) as held:
        going = Going(runtime, row, held)
        try:
            report = _carry_out(going)
        except Overtaken as error:
            log.warning("a restore went on elsewhere", restore=str(row.id), error=error.message)
        except NowhereReached as error:
            _again(going, error) if row.attempt < ATTEMPTS else _fail(going, error)
        except KeyUnreachable as error:
            _again(going, error)  # however long it takes: no other key is tried
        except StrongroomError as error:
            _fail(going, error)
        else:
            _end(going, RestoreState.DONE, Reason("restored"), {"report": report})


def _carry_out(going: Going) -> dict[str, Any]:
    with going.session() as session:
        source = session.get_one(Source, going.row.source_id)
        parsed, access = places.reach(going.runtime, session, source)
    if going.again and not going.row.dry_run:
        finished = _recovered(going, parsed, access)
        if finished is not None:
            return finished | _saved(going)
    passed: dict[str, str] = {}
    while True:
        chosen = choosing.choose(going.runtime, going.row, but=passed)
        going.note(region=chosen.site.region.name)
        try:
            report = _from(going, source, (parsed, access), chosen)
            break
        except NothingMatched:
            raise
        except (ResticError, StorageError) as error:  # nothing has landed: try the next region
            log.warning("a region could not give it", region=chosen.site.region.name)
            passed[chosen.site.region.name] = error.code
    return (
        report
        | _saved(going)
        | {
            "region": chosen.site.region.name,
            "verified": chosen.verified,
            "passed_over": list(chosen.passed_over),
        }
    )


def _from(
    going: Going, source: Source, reached: tuple[kinds.Source, Access], chosen: Chosen
) -> dict[str, Any]:
    """Bring it from this copy; what fails before the landing has changed nothing."""
    parsed, access = reached
    if isinstance(parsed, Directory):
        landing_folders.require(going, _checked(access), chosen)
    else:
        landing_databases.require(going, (parsed, access))
    if going.row.destination is Destination.IN_PLACE and not going.row.dry_run:
        _safety_point(going, source)
    if isinstance(parsed, Directory):
        return landing_folders.land(going, _checked(access), chosen)
    return landing_databases.land(going, (parsed, access), chosen)


def _recovered(going: Going, parsed: kinds.Source, access: Access) -> dict[str, Any] | None:
    """What an attempt that died had landed is not landed again."""
    if isinstance(parsed, Directory):
        return landing_folders.recover(going, _checked(access))
    return landing_databases.recover(going, (parsed, access))


def _checked(access: Access) -> Path:
    """The folder that the allow-list has, and not what the source's path leads to by now."""
    assert access.folder is not None  # every folder that was admitted has one
    return access.folder


def _saved(going: Going) -> dict[str, Any]:
    """Of a restore in place: by which point it can be undone, or why by none."""
    if going.row.destination is not Destination.IN_PLACE or going.row.dry_run:
        return {}
    if going.row.safety_run_id is None:
        return {"no_safety_point": "source-gone"}
    return {"safety_point": str(going.row.safety_run_id)}


def _safety_point(going: Going, source: Source) -> None:
    """Save what is live before it is replaced; done once, also if the restore is tried again.

    Where nothing is live any more there is nothing to save. Raises NoSafetyPoint.
    """
    if going.row.safety_run_id is None:
        if _is_gone(going, source):
            return
        _ask_for_safety_point(going, source)
    going.note(phase="safety-point")
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


def _ask_for_safety_point(going: Going, source: Source) -> None:
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
    """True only when it is certain that nothing is there: no folder or an empty one, no database,
    no schema."""
    with going.session() as session:
        parsed, access = places.reach(going.runtime, session, source)
    try:
        if isinstance(parsed, Directory) and not any(_checked(access).iterdir()):
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
    failure = failure_of(error) | {"exit_code": error.exit_code}
    _end(going, RestoreState.FAILED, Reason(error.code), {"failure": failure})


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
