"""Stage 1: a run makes one point, and ends when the point is stored in one region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import (
    anomalies,
    cleaning,
    followers,
    healing,
    leases,
    locking,
    making,
    point_records,
    repositories,
)
from backup.making import Made, Making, failure_of
from backup.models import BackupRun, Point, PointSource, Snapshot, Source
from backup.placing import RegionNotAllowed
from backup.repositories import RepositoryBusy
from backup.restic.errors import NoRepository, WrongKey
from backup.restic.outputs import Progress
from backup.states import Outcome, RunState
from strongroom import doorbells
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.ids import new_id
from strongroom.keeper import Held
from strongroom.keys import KeyUnreachable
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance
from strongroom.runtime import Runtime
from strongroom.storage import StorageError

ATTEMPTS = 3
BUSY_PAUSE = timedelta(seconds=5)
SAFETY_PIN = timedelta(days=7)
# What is wrong with one region, while another may be whole, and may have the data.
UNUSABLE = (StorageError, NoRepository, WrongKey, RegionNotAllowed)
# Failures of a source that a second try may mend.
PASSING = frozenset({"source-unreachable", "pg-dump-killed", "program-timed-out", "restic-failed"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Taken:
    """A run that is ours for now."""

    runtime: Runtime
    run: BackupRun
    held: Held

    @property
    def tenant(self) -> UUID:
        return self.run.tenant_id

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.runtime.database.session(Role.WORKER, tenant=self.tenant) as session:
            yield session

    def guard(self, session: Session) -> None:
        """Lock the run's row; raises Overtaken when another worker has it by now."""
        fence = session.execute(
            select(BackupRun.fence).where(BackupRun.id == self.run.id).with_for_update()
        ).scalar_one()
        if fence != self.held.fence or self.held.is_lost:
            raise Overtaken(f"{self.run!r} was taken by another worker.")


def make(runtime: Runtime, tenant: UUID, run_id: UUID) -> Point | None:
    """Carry out a run that waits; None when there is nothing to do or it is to be tried again."""
    answered = doorbells.answer(runtime, BackupRun, tenant, run_id)
    if answered is None:
        return None
    run, fence = answered
    with runtime.keeper.holding(run, fence) as held:
        taken = Taken(runtime, run, held)
        try:
            return _make(taken)
        except RepositoryBusy as error:
            _postpone(taken, error)
        except Overtaken as error:
            log.warning("a run went on elsewhere", run=str(run_id), error=error.message)
        except KeyUnreachable as error:
            _postpone(taken, error, pause=back_off(taken.run.losses + 1))
        except StrongroomError as error:
            _retry_or_fail(taken, error)
        return None


def _make(taken: Taken) -> Point:
    """In the preferred region, or in the next one that can be reached."""
    with taken.session() as session:
        session.execute(
            update(BackupRun)
            .where(BackupRun.id == taken.run.id, BackupRun.started_at.is_(None))
            .values(started_at=taken.runtime.now())
        )
        choices = repositories.of_tenant(session, taken.tenant)
    problem: StrongroomError | None = None
    for row, region in choices:
        try:
            with leases.leased(taken.runtime, taken.tenant, row.id) as leased:
                made = _make_here(taken, leased)
                if made is not None and made.outcome is not Outcome.FAILED:
                    point_records.write(leased.site, made.id)
            if made is None:
                raise SourcesFailed("Some sources failed in a way that may pass; tried again soon.")
            return made
        except UNUSABLE as error:
            log.warning("a region cannot be used", region=region.name, error=error.message)
            problem = error
    raise problem or StrongroomError("This tenant has no repository.", code="no-repository")


def _make_here(taken: Taken, leased: leases.Leased) -> Point | None:
    with taken.session() as session:
        done = _recorded(session, taken.run.id, leased)
        sources = _sources(session, taken.run)
        last = {source.id: _last(session, source, leased) for source in sources}
        reread = healing.rereads(session, taken.tenant, leased.site.row.id)
    if reread:
        last = {}  # what is compared with lacks data: everything is read, and stored again
    parents = {source: row.restic_id for source, row in last.items() if row is not None}
    if taken.run.attempt > 1:
        cleaning.forget_orphans(leased)
    sizes = {source: row.bytes for source, row in last.items() if row is not None}
    doing = Making(taken.run, leased, parents, sizes, _reporter(taken), reread=reread)
    for source in sources:
        if source.id in done:
            continue
        made = making.make(source, doing)
        _record(taken, leased, source, made)
    point = _finish(taken, leased, reread=reread)
    locking.lock_new(leased)
    return point


def _recorded(session: Session, run_id: UUID, leased: leases.Leased) -> set[UUID]:
    """Sources this run has already brought in here: an earlier attempt's work is kept.

    What an attempt brought to another region is made anew: a point is stored in one whole.
    """
    roots = (PointSource.snapshot_id == Snapshot.id) | (
        PointSource.snapshot_id == Snapshot.origin_id
    )
    return set(
        session.execute(
            select(PointSource.source_id)
            .join(Snapshot, roots)
            .where(
                PointSource.point_id == run_id,
                PointSource.outcome != Outcome.FAILED,
                Snapshot.repository_id == leased.site.row.id,
                Snapshot.standing(),
            )
        ).scalars()
    )


def _sources(session: Session, run: BackupRun) -> Sequence[Source]:
    wanted = select(Source).where(Source.tenant_id == run.tenant_id, Source.removed_at.is_(None))
    if run.only_source_id is not None:
        wanted = wanted.where(Source.id == run.only_source_id)
    return session.execute(wanted.order_by(Source.added_at, Source.id)).scalars().all()


def _record(taken: Taken, leased: leases.Leased, source: Source, made: Made) -> None:
    """Write down what came of a source, at once: a crash later does not undo it."""
    with taken.session() as session:
        taken.guard(session)
        snapshot_id = _snapshot(session, leased, source, made, taken)
        values = {
            "outcome": made.outcome,
            "snapshot_id": snapshot_id,
            "manifest": made.manifest,
            "failure": made.failure,
            "seconds": made.seconds,
        }
        session.execute(
            insert(PointSource)
            .values(
                id=new_id(),
                tenant_id=taken.tenant,
                point_id=taken.run.id,
                source_id=source.id,
                **values,
            )
            .on_conflict_do_update(
                index_elements=["tenant_id", "point_id", "source_id"], set_=values
            )
        )
    log.info("a source was backed up", source=source.name, outcome=str(made.outcome))


def _snapshot(
    session: Session, leased: leases.Leased, source: Source, made: Made, taken: Taken
) -> UUID | None:
    """The row of the new snapshot, or of the one that is unchanged; None if there is none."""
    if made.restic_id is None:
        last = _last(session, source, leased) if made.unchanged else None
        return None if last is None else last.origin_id or last.id
    row = Snapshot(
        id=new_id(),
        tenant_id=taken.tenant,
        source_id=source.id,
        repository_id=leased.site.row.id,
        restic_id=made.restic_id,
        taken_at=taken.runtime.now(),
        bytes=made.bytes,
        files=made.files,
        added_bytes=made.added,
    )
    session.add(row)
    session.flush()
    return row.id


def _last(session: Session, source: Source, leased: leases.Leased) -> Snapshot | None:
    """The newest snapshot of the source in this repository."""
    return session.execute(
        select(Snapshot)
        .where(
            Snapshot.source_id == source.id,
            Snapshot.repository_id == leased.site.row.id,
            Snapshot.standing(),
        )
        .order_by(Snapshot.taken_at.desc())
        .limit(1)
    ).scalar_one_or_none()


def _finish(taken: Taken, leased: leases.Leased, *, reread: bool) -> Point | None:
    """Write the point and everything that follows from it, in one commit; None: try again."""
    now = taken.runtime.now()
    with taken.session() as session:
        taken.guard(session)
        parts = list(
            session.execute(
                select(PointSource).where(PointSource.point_id == taken.run.id)
            ).scalars()
        )
        outcome = outcome_of([part.outcome for part in parts])
        retry = outcome is not Outcome.COMPLETE and taken.run.attempt < ATTEMPTS
        if retry and any(_worth_retrying(part) for part in parts):
            return None
        run = session.get_one(BackupRun, taken.run.id)
        point = _point(session, run, outcome, parts)
        state = RunState.FAILED if outcome is Outcome.FAILED else RunState.STORED
        if outcome is not Outcome.FAILED:
            followers.begin(session, point, stored_in=leased.site.row, now=now)
            if reread:
                seen = {"reread": str(run.id)}
                repository = leased.site.row.id
                healing.want(session, taken.tenant, repository, seen=seen, by=WORKER, now=now)
            anomalies.look(session, point, now=now)
        values = {
            "ended_at": now,
            "owner": None,
            "lease_until": None,
            "failure": next((part.failure for part in parts if part.failure), None),
        }
        reason = Reason(f"point-{outcome}", {"number": point.number})
        advance(
            session,
            run,
            state,
            Move(by=WORKER, at=now, reason=reason, fence=taken.held.fence, values=values),
        )
    return point


class SourcesFailed(StrongroomError):
    """Some sources failed in a way that may pass."""

    code = "sources-failed"


def outcome_of(parts: Sequence[Outcome]) -> Outcome:
    """Complete only if every source is; failed only if nothing at all can be restored. Pure."""
    if parts and all(part is Outcome.COMPLETE for part in parts):
        return Outcome.COMPLETE
    if all(part is Outcome.FAILED for part in parts):
        return Outcome.FAILED
    return Outcome.PARTIAL


def _worth_retrying(part: PointSource) -> bool:
    """A failure that a second try may mend: not a folder that is missing or a wrong password."""
    if part.outcome is not Outcome.FAILED or part.failure is None:
        return False
    return part.failure["code"] in PASSING


def _point(
    session: Session, run: BackupRun, outcome: Outcome, parts: Sequence[PointSource]
) -> Point:
    """The run's point, numbered within its tenant."""
    session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"),
        {"key": f"points:{run.tenant_id}"},
    )
    number = session.execute(
        select(Point.number)
        .where(Point.tenant_id == run.tenant_id)
        .order_by(Point.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    ids = [part.snapshot_id for part in parts if part.snapshot_id]
    snapshots = list(session.execute(select(Snapshot).where(Snapshot.id.in_(ids))).scalars())
    started = run.started_at or run.asked_at
    new = [each for each in snapshots if each.taken_at >= started]
    point = Point(
        id=run.id,
        tenant_id=run.tenant_id,
        number=(number or 0) + 1,
        outcome=outcome,
        kind=run.trigger,
        taken_at=started,
        first_seen_at=started,
        local_date=run.local_date,
        cadences=run.cadences,
        bytes=sum(each.bytes for each in snapshots),
        added_bytes=sum(each.added_bytes for each in new),
        entries=sum(each.files for each in snapshots),
        pinned_until=started + SAFETY_PIN if run.trigger == "safety" else None,
        policy_id=run.policy_id,
    )
    session.add(point)
    session.flush()
    return point


def _reporter(taken: Taken) -> object:
    """Writes how far the run is, for pages and the command line."""

    def report(seen: Progress) -> None:
        with taken.session() as session:
            session.execute(
                update(BackupRun)
                .where(BackupRun.id == taken.run.id, BackupRun.fence == taken.held.fence)
                .values(
                    progress={
                        "percent": round(seen.fraction * 100),
                        "bytes": seen.bytes,
                        "total": seen.total_bytes,
                    }
                )
            )

    return report


def _postpone(taken: Taken, error: StrongroomError, *, pause: timedelta = BUSY_PAUSE) -> None:
    """Somebody else holds the repository, or the key store is away: no attempt is counted."""
    _back(taken, error, pause=pause, values={"attempt": taken.run.attempt - 1})


def _retry_or_fail(taken: Taken, error: StrongroomError) -> None:
    if error.permanent or taken.run.attempt >= ATTEMPTS:
        _fail(taken, error)
    else:
        _back(taken, error, pause=back_off(taken.run.attempt), values={})


def _back(
    taken: Taken, error: StrongroomError, *, pause: timedelta, values: dict[str, object]
) -> None:
    now = taken.runtime.now()
    values = values | {
        "due_at": now + pause,
        "nudged_at": None,
        "owner": None,
        "lease_until": None,
        "failure": failure_of(error),
    }
    _end(taken, RunState.QUEUED, Reason(error.code, failure_of(error)["params"]), values)


def _fail(taken: Taken, error: StrongroomError) -> None:
    """Give up: the run's end says why. A point without data is not made."""
    values: dict[str, object] = {
        "ended_at": taken.runtime.now(),
        "owner": None,
        "lease_until": None,
        "failure": failure_of(error),
    }
    _end(taken, RunState.FAILED, Reason(error.code, failure_of(error)["params"]), values)


def _end(taken: Taken, state: RunState, reason: Reason, values: dict[str, object]) -> None:
    move = Move(
        by=WORKER, at=taken.runtime.now(), reason=reason, fence=taken.held.fence, values=values
    )
    try:
        with taken.session() as session:
            taken.guard(session)
            advance(session, session.get_one(BackupRun, taken.run.id), state, move)
    except LifecycleError as error:
        log.warning("a run went on elsewhere", run=str(taken.run.id), error=error.message)
    else:
        log.warning("a run did not end well", run=str(taken.run.id), state=str(state), **values)
