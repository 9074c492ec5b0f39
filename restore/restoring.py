"""Carrying out a restore: choose a copy, take a safety point, bring the data, land it.

Anything live is touched in the very last step only, which is atomic for what it replaces; a
restore that dies before it is taken up again from the start, one that dies in it is finished.
Restores of one source follow one another (`queueing`), and whoever asked may cancel until the last
step begins (`stopping`).
"""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import places, wanted
from backup.making import failure_of
from backup.models import PointSource, Source
from backup.restic.errors import NothingMatched, ResticError
from backup.sources import kinds
from backup.sources.connection import Access
from backup.sources.directory import Directory
from restore import choosing, estimates, landing_databases, landing_folders, queueing, safety
from restore.choosing import Chosen, NowhereReached
from restore.going import Going
from restore.models import Restore
from restore.queueing import SourceBusy
from restore.requests import WANTED
from restore.safety import BackupUnderWay, checked
from restore.states import Destination, RestoreState
from restore.stopping import Stop
from strongroom import doorbells
from strongroom.actors import WORKER
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.keys import KeyUnreachable
from strongroom.lifecycle import Move, Overtaken, Reason, advance
from strongroom.notices import people
from strongroom.runtime import Runtime
from strongroom.storage import StorageError

ATTEMPTS = 5
# Waited out, however long it takes: it says nothing against the restore, and no attempt is counted.
PATIENT = (SourceBusy, BackupUnderWay)
PAUSE = timedelta(seconds=30)

TOLD = {RestoreState.DONE: "restore.done", RestoreState.FAILED: "restore.failed"}

log = structlog.get_logger(__name__)


def carry_out(runtime: Runtime, tenant: UUID, restore_id: UUID) -> None:
    """Carry out a restore that waits; its row says how it ended."""
    if queueing.put_off(runtime, tenant, restore_id):
        return
    answered = doorbells.answer(runtime, Restore, tenant, restore_id)
    if answered is None:
        return
    row, fence = answered
    with runtime.keeper.holding(row, fence) as held, Stop(runtime, held) as stop:
        going = Going(runtime, row, held, stop)
        began = time.monotonic()
        try:
            queueing.claim(going)
            report = _carry_out(going)
        except Overtaken as error:
            log.warning("a restore went on elsewhere", restore=str(row.id), error=error.message)
        except StrongroomError as error:
            _not_done(going, error)
        else:
            report["seconds"] = round(time.monotonic() - began, 3)
            _end(going, RestoreState.DONE, Reason("restored"), {"report": report})


def _not_done(going: Going, error: StrongroomError) -> None:
    """Cancelled, to be tried again, or failed."""
    if going.stop.cancelled:
        _end(going, RestoreState.CANCELLED, Reason("restore-cancelled"), {"failure": None})
    elif isinstance(error, PATIENT):
        _again(going, error, pause=PAUSE, attempt=going.row.attempt - 1)
    elif isinstance(error, KeyUnreachable):
        _again(going, error)  # however long it takes: no other key is tried
    elif isinstance(error, NowhereReached) and going.row.attempt < ATTEMPTS:
        _again(going, error)
    else:
        _fail(going, error)


def _carry_out(going: Going) -> dict[str, Any]:
    with going.session() as session:
        source = session.get_one(Source, going.row.source_id)
        parsed, access = places.reach(going.runtime, session, source)
    if going.again and not going.row.dry_run:
        finished = _recovered(going, parsed, access)
        if finished is not None:
            return finished | _saved(going)
        if going.stop.cancelled and not isinstance(parsed, Directory):
            landing_databases.clear_away(going, (parsed, access))
    going.stop.check()
    _keep_the_point(going)
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
            going.stop.check()
            log.warning("a region could not give it", region=chosen.site.region.name)
            passed[chosen.site.region.name] = error.code
    return (
        report
        | _saved(going)
        | {
            "region": chosen.site.region.name,
            "verified": chosen.verified,
            "passed_over": list(chosen.passed_over),
            "proof": _proof(chosen),
        }
    )


def _keep_the_point(going: Going) -> None:
    """It may have gone while the restore waited; from here on it does not. Raises PointGone."""
    with going.session() as session:
        part = session.execute(
            select(PointSource).where(
                PointSource.point_id == going.row.point_id,
                PointSource.source_id == going.row.source_id,
            )
        ).scalar_one()
        wanted.want(session, part, until=going.runtime.now() + WANTED)


def _proof(chosen: Chosen) -> dict[str, Any]:
    """By what the data are known to be those that were backed up."""
    if chosen.manifest is None:  # each part is named by its content's hash, and restic compares
        return {"by": "content-hashes", "snapshot": chosen.restic_id}
    text = json.dumps(chosen.manifest, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"by": "manifest", "snapshot": chosen.restic_id, "manifest_sha256": digest}


def _from(
    going: Going, source: Source, reached: tuple[kinds.Source, Access], chosen: Chosen
) -> dict[str, Any]:
    """Bring it from this copy; what fails before the landing has changed nothing."""
    parsed, access = reached
    if isinstance(parsed, Directory):
        landing_folders.require(going, checked(access), chosen)
    else:
        landing_databases.require(going, (parsed, access))
    if going.in_place and not going.row.dry_run:
        safety.take(going, source)
    began = time.monotonic()
    if isinstance(parsed, Directory):
        report = landing_folders.land(going, checked(access), chosen)
    else:
        report = landing_databases.land(going, (parsed, access), chosen)
    if going.row.dry_run:
        return report | _foreseen(going, source, report["total_bytes"])
    return report | {"bring_seconds": round(time.monotonic() - began, 3)}


def _foreseen(going: Going, source: Source, size: int) -> dict[str, Any]:
    """What a plan says beside what would change."""
    with going.session() as session:
        time_needed = estimates.of_restore(session, going.row, size)
    gone = safety.is_gone(going, source)
    return {
        "estimated_seconds": time_needed.seconds,
        "estimated_from": str(time_needed.basis),
        "source_gone": gone,
    }


def _recovered(going: Going, parsed: kinds.Source, access: Access) -> dict[str, Any] | None:
    """What an attempt that died had landed is not landed again."""
    if isinstance(parsed, Directory):
        return landing_folders.recover(going, checked(access))
    return landing_databases.recover(going, (parsed, access))


def _saved(going: Going) -> dict[str, Any]:
    """Of a restore in place: by which point it can be undone, or why by none."""
    if going.row.destination is not Destination.IN_PLACE or going.row.dry_run:
        return {}
    if going.row.safety_run_id is None:
        return {"no_safety_point": "source-gone"}
    return {"safety_point": str(going.row.safety_run_id)}


def _again(going: Going, error: StrongroomError, **more: Any) -> None:
    pause = more.pop("pause", None) or back_off(going.row.attempt)
    values = {
        "due_at": going.runtime.now() + pause,
        "nudged_at": None,
        "failure": failure_of(error),
        "phase": None,  # nothing has landed: another restore of the source may go first
    }
    _end(going, RestoreState.WAITING, Reason(error.code), values | more)


def _fail(going: Going, error: StrongroomError) -> None:
    log.warning("a restore failed", restore=str(going.row.id), error=error.message)
    failure = failure_of(error) | {"exit_code": error.exit_code}
    _end(going, RestoreState.FAILED, Reason(error.code), {"failure": failure})


def _end(going: Going, state: RestoreState, reason: Reason, values: dict[str, Any]) -> None:
    now = going.runtime.now()
    if state is not RestoreState.WAITING:
        values = values | {"ended_at": now, "phase": None, "progress": None}
    values = values | {"owner": None, "lease_until": None}
    move = Move(by=WORKER, at=now, reason=reason, fence=going.held.fence, values=values)
    try:
        with going.session() as session:
            row = session.get_one(Restore, going.row.id)
            advance(session, row, state, move)
            queueing.wake(session, row, now=now)
            if state in TOLD and not row.dry_run:
                _tell(session, row, TOLD[state], now)
    except Overtaken as error:
        log.warning("a restore went on elsewhere", restore=str(going.row.id), error=error.message)


def _tell(session: Session, row: Restore, kind: str, now: datetime) -> None:
    """Who asked for it, in the same transaction."""
    params = {"restore": str(row.id), "asked_at": row.asked_at.isoformat()}
    people.tell_who_asked(session, row.tenant_id, row.asked_by, kind, str(row.id), params, now=now)
