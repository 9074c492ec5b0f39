"""Rehearsed restores: a point brought back from one region alone, compared, timed, thrown away.

A drill that passed is the strongest proof there is: it dates the snapshots it restored. One that
failed takes their dates away; where what is stored cannot be read it asks for healing, where it
reads well and is not what was backed up it opens a finding that keeps older points from being
removed. What says nothing about the backup (a region that is away, a disk that is full, a worker
that was stopped) is no failure: the drill waits and says why.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import findings, healing, planning, policy, repositories
from backup.findings import Sight
from backup.making import failure_of
from backup.models import Copy, Finding, Point, PointSource, Repository, Rota, Snapshot, Source
from backup.repositories import RepositoryBusy, Site
from backup.restic.errors import Interrupted, ResticError
from backup.states import CopyState, Level, Outcome, Trigger
from restore import room
from restore.fetching import Origin
from restore.models import Drill
from restore.rehearsed import rehearsing
from restore.rehearsed.rehearsals import RETRY
from restore.rehearsed.rehearsing import Trial, Tried
from restore.room import NoRoom
from restore.states import DrillState
from strongroom import owner
from strongroom.actors import WORKER, Actor
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import NotFound, StrongroomError
from strongroom.ids import new_id
from strongroom.keeper import Held
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance, record, take
from strongroom.program import Stopped
from strongroom.runtime import Runtime
from strongroom.storage import Act, StorageError, Store

ATTEMPTS = 5  # of what is neither the region's nor the disk's fault, before it is given up
BUSY_PAUSE = timedelta(seconds=30)
DIFFERS = "drill-differs"  # a finding: it reads well, and is not what was backed up
NAMED = 5  # differences in the message of a failure

log = structlog.get_logger(__name__)


class RegionAway(StrongroomError):
    """The region that the drill is to read from cannot be reached."""

    code = "region-away"


class NothingToDrill(NotFound):
    """No point can be rehearsed."""

    code = "nothing-to-drill"


PATIENT = (RegionAway, NoRoom, RepositoryBusy, Stopped)  # waited for as long as it takes


@dataclass(frozen=True)
class Going:
    """A drill that is being carried out by this process."""

    runtime: Runtime
    row: Drill
    held: Held
    site: Site


def add(
    session: Session,
    point: tuple[UUID, UUID],
    repository_id: UUID,
    *,
    by: str,
    actor: Actor,
    at: datetime,
) -> Drill:
    """Queue a drill of a tenant's point, named by both ids; `by` stands on the row."""
    tenant, point_id = point
    row = Drill(
        id=new_id(),
        tenant_id=tenant,
        point_id=point_id,
        repository_id=repository_id,
        state=DrillState.WAITING,
        asked_by=by,
        asked_at=at,
        due_at=at,
    )
    session.add(row)
    record(session, row, old="", move=Move(by=actor, at=at, reason=Reason("drill-asked")))
    return row


def newest_point(session: Session, tenant: UUID, repository_id: UUID) -> UUID | None:
    """The point to be drilled there: complete, with data; not drilled yet if there is one."""
    passed = select(Drill.id).where(
        Drill.tenant_id == tenant,
        Drill.repository_id == repository_id,
        Drill.point_id == Point.id,
        Drill.state == DrillState.PASSED,
    )
    return session.execute(
        select(Point.id)
        .join(Copy, Copy.point_id == Point.id)
        .where(
            Point.tenant_id == tenant,
            Copy.tenant_id == tenant,
            Copy.repository_id == repository_id,
            *drillable(),
        )
        .order_by(passed.exists(), Point.number.desc())
        .limit(1)
    ).scalar_one_or_none()


def drillable() -> tuple[Any, ...]:
    """Of points joined with copies: those that a drill by rota may take."""
    return (
        Copy.state == CopyState.STORED,
        Point.outcome == Outcome.COMPLETE,
        Point.kind != Trigger.SAFETY,  # it may hold the damage that a restore was to undo
        Point.bytes > 0,
    )


def carry_out(runtime: Runtime, tenant: UUID, drill_id: UUID) -> None:
    """Carry out a drill that waits; its row says how it ended."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(Drill, drill_id)
        if row is None:
            log.warning("a doorbell named no drill of this tenant", drill=str(drill_id))
            return
        row.repository_id = repositories.successor(session, row.repository_id)
        fence = take(session, row, owner=owner.me(), move=Move(by=WORKER, at=runtime.now()))
    if fence is None:
        return
    with runtime.keeper.holding(row, fence) as held:
        try:
            repositories.lend(runtime, tenant, row.repository_id)
            site = repositories.site(runtime, tenant, row.repository_id)
            _carry_out(Going(runtime, row, held, site))
        except Overtaken as error:
            log.warning("a drill went on elsewhere", drill=str(row.id), error=error.message)
        except StrongroomError as error:
            _put_off(runtime, row, held, error)


def _carry_out(going: Going) -> None:
    began = time.monotonic()
    rehearsing.sweep(going.runtime)
    _require_region(going)
    point, trials = _trials(going)
    tried = [each if isinstance(each, Tried) else _try(going, each) for each in trials]
    _record(going, point, tried, seconds=time.monotonic() - began)


def _require_region(going: Going) -> None:
    try:
        rights = going.site.credentials(Act.READ)
        Store(going.site.region.address(), rights).server_date()
    except StorageError as error:
        raise RegionAway(
            f"Region {going.site.region.name} cannot be reached ({error.code}), so nothing can be "
            "restored from it now. It is tried again; `strongroom region check` shows which are up.",
            region=going.site.region.name,
            why=error.code,
        ) from error


def _trials(going: Going) -> tuple[Point, list[Trial | Tried]]:
    """What is to be restored. A point that went meanwhile is replaced by the newest one.

    Raises Retired where a new epoch counts by now: that its rows name the new one is no damage.
    """
    tenant, repository_id = going.row.tenant_id, going.row.repository_id
    with going.runtime.database.session(Role.WORKER, tenant=tenant) as session:
        lock = {"read": True}  # no switch between two statements
        here = session.get_one(Repository, repository_id, with_for_update=lock)
        repositories.require_current(here)
        point = _standing(session, going.row)
        rows = session.execute(
            select(PointSource, Source)
            .join(Source, Source.id == PointSource.source_id)
            .where(PointSource.point_id == point.id, PointSource.snapshot_id.is_not(None))
            .order_by(Source.name)
        ).all()
        found = [
            (row.PointSource, row.Source, _snapshot(session, row.PointSource, repository_id))
            for row in rows
        ]
    return point, [_trial(going, point, *each) for each in found]


def _trial(
    going: Going, point: Point, part: PointSource, source: Source, snapshot: Snapshot | None
) -> Trial | Tried:
    if snapshot is None:
        said = "The region has no snapshot of it."
        return Tried(source.name, source.kind, code="snapshot-missing", said=said, damage=True)
    return Trial(
        runtime=going.runtime,
        origin=Origin(going.site, snapshot.restic_id, going.held.lost, from_cache=False),
        point=point,
        part=part,
        source=source,
        snapshot=snapshot,
    )


def _standing(session: Session, row: Drill) -> Point:
    """Raises NothingToDrill when no point is left there."""
    stored = session.execute(
        select(Copy.id).where(
            Copy.point_id == row.point_id,
            Copy.repository_id == row.repository_id,
            Copy.state == CopyState.STORED,
        )
    ).first()
    if stored is None:
        other = newest_point(session, row.tenant_id, row.repository_id)
        if other is None:
            raise NothingToDrill("The point is not in that region any more, and no other one is.")
        session.execute(update(Drill).where(Drill.id == row.id).values(point_id=other))
        row.point_id = other
    return session.get_one(Point, row.point_id)


def _snapshot(session: Session, part: PointSource, repository_id: UUID) -> Snapshot | None:
    """The source's snapshot there, also one that was seen to be missing: that is for the drill."""
    return session.execute(
        select(Snapshot)
        .where(
            Snapshot.repository_id == repository_id,
            or_(Snapshot.id == part.snapshot_id, Snapshot.origin_id == part.snapshot_id),
            Snapshot.forgotten_at.is_(None),
        )
        .order_by(Snapshot.lost_at.is_not(None))
        .limit(1)
    ).scalar_one_or_none()


def _try(going: Going, trial: Trial) -> Tried:
    """Twice, when the first failed on what is stored: a stumble is no damage."""
    for last in (False, True):
        before = _fence(going)
        try:
            return rehearsing.rehearse(trial)
        except ResticError as error:
            log.warning("a rehearsed restore stumbled", drill=str(going.row.id), error=error.code)
            _require_verdict(going, error, before)
            if last:
                return Tried(
                    source=trial.source.name,
                    kind=trial.source.kind,
                    code=error.code,
                    said=error.message,
                    damage=True,
                )
    raise AssertionError


def _require_verdict(going: Going, error: ResticError, before: int) -> None:
    """Raises what else may have stopped restic than what is stored there."""
    exit_code = error.params.get("exit", 1)
    if isinstance(error, Interrupted) or (isinstance(exit_code, int) and exit_code < 0):
        raise Stopped("restic was stopped in the middle of a rehearsed restore.") from error
    if going.held.is_lost:
        raise Stopped("The drill's lease was lost.") from error
    room.require_some_left(going.runtime)
    _require_region(going)
    if _fence(going) != before or _is_held(going):
        raise RepositoryBusy(  # packs that were there may have been written anew meanwhile
            "The repository was written to while a restore was rehearsed from it. It is tried again."
        ) from error


def _fence(going: Going) -> int:
    return _repository(going).fence


def _is_held(going: Going) -> bool:
    return _repository(going).owner is not None


def _repository(going: Going) -> Repository:
    with going.runtime.database.session(Role.WORKER, tenant=going.row.tenant_id) as session:
        return session.get_one(Repository, going.row.repository_id)


def _record(going: Going, point: Point, tried: Sequence[Tried], *, seconds: float) -> None:
    repositories.require_current(_repository(going))
    failure = _failure(going, point, tried)
    now = going.runtime.now()
    values = {
        "ended_at": now,
        "seconds": round(seconds, 3),
        "restore_seconds": round(sum(each.restore_seconds for each in tried), 3),
        "bytes": sum(each.bytes for each in tried),
        "report": {
            "point": point.number,
            "region": going.site.region.name,
            "sources": [each.to_json() for each in tried],
        },
        "failure": failure,
        "owner": None,
        "lease_until": None,
    }
    state = DrillState.PASSED if failure is None else DrillState.FAILED
    reason = Reason("drill-passed" if failure is None else failure["code"])
    move = Move(by=WORKER, at=now, reason=reason, fence=going.held.fence, values=values)
    with going.runtime.database.session(Role.WORKER, tenant=going.row.tenant_id) as session:
        advance(session, session.get_one(Drill, going.row.id), state, move)
        if failure is None:
            _passed(session, going, point, now)
        else:
            _not_passed(session, going, point, tried, now)


def _failure(going: Going, point: Point, tried: Sequence[Tried]) -> dict[str, Any] | None:
    """None when all is as it was, and there was something."""
    wrong = [each for each in tried if not each.passed]
    if not wrong and any(each.held_something for each in tried):
        return None
    code = wrong[0].code if wrong else "nothing-there"
    said = "; ".join(_words(each) for each in wrong) or "there is nothing in it"
    where = going.site.region.name
    return {
        "code": code,
        "params": {"point": point.number, "region": where},
        "message": f"Point {point.number} does not come back from {where} as it was: {said}. "
        "Restore from another region or point until it is mended.",
    }


def _words(tried: Tried) -> str:
    named = list(tried.differences[:NAMED])
    more = tried.differing - len(named)
    named += [f"and {more} more"] if more > 0 else []
    return f"{tried.source}: " + "; ".join([*([tried.said] if tried.said else []), *named])


def _passed(session: Session, going: Going, point: Point, now: datetime) -> None:
    session.execute(_of_copy(going, point).values(verified_at=now))
    every = policy.from_json(planning.current_policy(session, point.tenant_id).body)
    due = now + timedelta(days=every.verification.drill_every_days)
    _mark(session, going.row, {"passed_at": now, "due_at": due}, now)
    _settle(session, going, point, now)


def _not_passed(
    session: Session, going: Going, point: Point, tried: Iterable[Tried], now: datetime
) -> None:
    undated = {"checked_at": None, "verified_at": None}
    tenant, repository_id = going.row.tenant_id, going.row.repository_id
    damaged = [each for each in tried if each.damage]
    if damaged:  # which snapshots need what is damaged is not known: none is trusted
        whole = update(Snapshot).where(Snapshot.repository_id == repository_id)
        session.execute(whole.values(**undated))
        seen = {"drill": str(going.row.id), "errors": [each.said for each in damaged]}
        healing.want(session, tenant, repository_id, seen=seen, by=WORKER, now=now)
    session.execute(_of_copy(going, point).values(**undated))
    _mark(session, going.row, {"due_at": now + RETRY}, now)
    for each in tried:
        if not each.passed and not each.damage:
            findings.see(session, tenant, _sight(going, point, each), now=now)


def _sight(going: Going, point: Point, tried: Tried) -> Sight:
    return Sight(
        code=DIFFERS,
        subject=f"{going.site.region.name}: {tried.source}, point {point.number}",
        params={"code": tried.code, "said": tried.said, "differences": list(tried.differences)},
        repository=going.row.repository_id,
        point=point.id,
        freezes=True,
    )


def _settle(session: Session, going: Going, point: Point, now: datetime) -> None:
    """What an older point, or this one, showed in that region is over: it comes back whole."""
    tenant = going.row.tenant_id
    later = session.execute(
        select(func.count())
        .select_from(Finding)
        .join(Point, Point.id == Finding.point_id)
        .where(
            Finding.tenant_id == tenant,
            Finding.code == DIFFERS,
            Finding.repository_id == going.row.repository_id,
            Finding.settled_at.is_(None),
            Point.number > point.number,
        )
    ).scalar_one()
    if not later:
        repository = going.row.repository_id
        findings.report(session, tenant, [], codes=[DIFFERS], repository=repository, now=now)


def _of_copy(going: Going, point: Point) -> Any:
    roots = select(PointSource.snapshot_id).where(
        PointSource.point_id == point.id, PointSource.snapshot_id.is_not(None)
    )
    return update(Snapshot).where(
        Snapshot.repository_id == going.row.repository_id,
        Snapshot.standing(),
        or_(Snapshot.id.in_(roots), Snapshot.origin_id.in_(roots)),
    )


def _mark(session: Session, row: Drill, values: dict[str, Any], now: datetime) -> None:
    """The repository's rota, made if it has none yet."""
    session.execute(
        insert(Rota)
        .values(
            id=new_id(),
            tenant_id=row.tenant_id,
            repository_id=row.repository_id,
            level=Level.DRILL,
            **({"due_at": now} | values),
        )
        .on_conflict_do_update(index_elements=["tenant_id", "repository_id", "level"], set_=values)
    )


def _put_off(runtime: Runtime, row: Drill, held: Held, error: StrongroomError) -> None:
    """Nothing was learned: it waits. What is not going to pass by itself is given up in time."""
    now = runtime.now()
    given_up = not isinstance(error, PATIENT) and (error.permanent or row.attempt >= ATTEMPTS)
    pause = BUSY_PAUSE if isinstance(error, RepositoryBusy) else back_off(row.attempt)
    values: dict[str, Any] = {"owner": None, "lease_until": None, "failure": failure_of(error)}
    values |= {"ended_at": now} if given_up else {"due_at": now + pause, "nudged_at": None}
    state = DrillState.FAILED if given_up else DrillState.WAITING
    move = Move(by=WORKER, at=now, reason=Reason(error.code), fence=held.fence, values=values)
    try:
        with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
            advance(session, session.get_one(Drill, row.id), state, move)
            if given_up:
                _mark(session, row, {"due_at": now + RETRY}, now)
    except LifecycleError:
        log.warning("a drill went on elsewhere", drill=str(row.id))
    else:
        log.warning("a drill has to wait", drill=str(row.id), error=error.message)
