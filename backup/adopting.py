"""Snapshots that lie in the buckets and that the rows do not know: made since the dump that came back.

Each snapshot of ours says by its tag which run made it, and by its host of which source it is; a copy
also says of which snapshot. So points are made of what is found, one commit a run: known again, they
are kept and removed as any other, and no clean-up takes them for the leavings of a lost worker.

The rest (manifests, sources that had not changed, why the run was made) is in the point's record.
Where that is missing nothing is made up: a point without a snapshot of a source counts as partial, a
database has no manifest, and the point counts as a scheduled one. What was removed since the dump is
seen to be gone, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import acts, census, followers, gone, planning, point_records, repositories
from backup.models import BackupRun, Copy, Point, PointSource, Repository, Snapshot, Source
from backup.repositories import Site
from backup.restic import commands
from backup.restic.outputs import Snapshot as Listed
from backup.runs import outcome_of
from backup.schedule import zone_named
from backup.states import ActKind, CopyState, Outcome, RunState, Trigger
from strongroom.actors import Actor, ActorKind
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record
from strongroom.runtime import Runtime
from strongroom.storage import Act

RECOVERY = Actor(ActorKind.SYSTEM, "recovery")
LIST_SECONDS = 600.0
TAG = "run:"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """One snapshot in one repository."""

    repository: UUID
    run: UUID
    source: UUID
    what: Listed


Told = Mapping[str, Any]  # a point's record


@dataclass(frozen=True)
class Finding:
    """One run, and what there is of it."""

    tenant: UUID
    run: UUID
    new: Sequence[Seen]  # snapshots that no row knows
    told: Told | None  # its record
    alike: Mapping[str, frozenset[str]]  # by restic's id of a snapshot those of all its copies


@dataclass
class Adopted:
    """What came of one tenant."""

    points: int = 0  # known again
    copies: int = 0  # further regions of points that were known
    gone: int = 0  # points no region has any more: removed since the dump, or by somebody else
    strangers: list[str] = field(
        default_factory=list
    )  # snapshots that name no run or source of ours
    closed: list[str] = field(default_factory=list)  # repositories that could not be read: region


def adopt(runtime: Runtime, tenant: UUID, *, since: datetime) -> Adopted:
    """Everything of the tenant; safe to repeat. `since`: what the rows know ends there."""
    found = Adopted()
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        rows = [
            (row.id, region.name)
            for row, region in repositories.of_tenant(session, tenant)
            if row.key_hint is not None
        ]
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        unfinished, ended = _runs(session, tenant)
    seen: list[Seen] = []
    told: dict[UUID, Told] = {}
    for repository, region in rows:
        try:
            seen += _look(runtime, tenant, repository, found, since=since)
            told |= _told(runtime, tenant, repository, but=ended | set(told))
        except StrongroomError as error:
            log.error("a repository cannot be read", region=region, error=error.message)
            found.closed.append(region)
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        known = _known(session, tenant)
    alike = same_snapshots(seen)
    for run, parts in by_run(seen, told).items():
        new = [each for each in parts if (each.repository, each.what.id) not in known]
        if new or run in unfinished or run in told:
            with runtime.database.session(Role.WORKER, tenant=tenant) as session:
                finding = Finding(tenant, run, new, told.get(run), alike)
                _adopt_run(session, finding, found, now=runtime.now())
    if not found.closed:
        with runtime.database.session(Role.WORKER, tenant=tenant) as session:
            found.gone += gone.let_go(session, tenant, by=RECOVERY, now=runtime.now())
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        gone.want_healing(session, tenant, by=RECOVERY, now=runtime.now())
    return found


def by_run(seen: Iterable[Seen], told: Mapping[UUID, Told]) -> Mapping[UUID, Sequence[Seen]]:
    """Grouped, in the order in which the runs began; of each, what is no copy comes first. Pure."""
    runs: dict[UUID, list[Seen]] = {run: [] for run in told}
    for each in sorted(seen, key=lambda one: (one.what.original is not None, one.what.time)):
        runs.setdefault(each.run, []).append(each)

    def began(run: UUID) -> datetime:
        times = [each.what.time for each in runs[run]]
        return min([*times, *([_moment(told[run]["taken_at"])] if run in told else [])])

    return {run: runs[run] for run in sorted(runs, key=began)}


def same_snapshots(seen: Iterable[Seen]) -> Mapping[str, frozenset[str]]:
    """Restic's ids of the same snapshot, by each of them. Pure.

    All copies name the first, which may lie nowhere any more: its epoch was left.
    """
    groups: dict[str, set[str]] = {}
    for each in seen:
        groups.setdefault(each.what.original or each.what.id, set()).add(each.what.id)
    return {
        name: frozenset({first, *ids}) for first, ids in groups.items() for name in (first, *ids)
    }


def run_of(tags: Iterable[str]) -> UUID | None:
    """The run that a snapshot's tags name. Pure."""
    for tag in tags:
        if tag.startswith(TAG):
            try:
                return UUID(tag.removeprefix(TAG))
            except ValueError:
                return None
    return None


def _look(
    runtime: Runtime, tenant: UUID, repository: UUID, found: Adopted, *, since: datetime
) -> list[Seen]:
    """What lies in one repository and was made by runs of ours; what should lie there and does not
    is marked, and locks released since the dump are recorded as ours."""
    site = repositories.site(runtime, tenant, repository)
    here = repositories.surroundings(runtime, repository, seconds=LIST_SECONDS)
    listed = commands.snapshots(site.restic(Act.READ), here)
    _record_releases(site, since=since)
    census.take(site, site.store(Act.READ), recovering=True)
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        sources = set(session.execute(select(Source.id)).scalars())
    seen = []
    for each in listed:
        run, source = run_of(each.tags), _uuid(each.host)
        if run is None or source is None or source not in sources:
            found.strangers.append(f"{site.region.name}:{each.id}")
            continue
        seen.append(Seen(repository, run, source, each))
    return seen


def _record_releases(site: Site, *, since: datetime) -> None:
    """Each backup since the dump took and released locks: those versions are ours to sweep."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        act = acts.begin(session, site.row, (ActKind.LOCK_RELEASE, acts.LOCKS))
        act.started_at = since
    acts.close(site, act, store=site.store(Act.BACKUP))


def _known(session: Session, tenant: UUID) -> set[tuple[UUID, str]]:
    rows = session.execute(
        select(Snapshot.repository_id, Snapshot.restic_id).where(Snapshot.tenant_id == tenant)
    )
    return {(row.repository_id, row.restic_id) for row in rows}


def _runs(session: Session, tenant: UUID) -> tuple[set[UUID], set[UUID]]:
    """Runs whose end the rows do not know, and those whose end they do."""
    rows = session.execute(
        select(BackupRun.id, BackupRun.state).where(BackupRun.tenant_id == tenant)
    ).all()
    open_ = {row.id for row in rows if row.state in (RunState.QUEUED, RunState.MAKING)}
    return open_, {row.id for row in rows} - open_


def _told(runtime: Runtime, tenant: UUID, repository: UUID, *, but: set[UUID]) -> dict[UUID, Told]:
    """The records beside a repository of runs that the rows know nothing, or no end, of."""
    site = repositories.site(runtime, tenant, repository)
    found: dict[UUID, Told] = {}
    for run in point_records.listed(site):
        if run in but:
            continue
        try:
            found[run] = point_records.read(site, run)
        except point_records.PointRecordClosed as error:
            log.error("a point's record cannot be read", run=str(run), error=error.message)
    return found


def _adopt_run(session: Session, one: Finding, found: Adopted, *, now: datetime) -> None:
    """One run of a tenant, with its snapshots that no row knows."""
    run = session.get(BackupRun, one.run)
    if run is not None and run.state in (RunState.STORED, RunState.FAILED, RunState.QUARANTINED):
        found.copies += _adopt_copies(session, one, run, now=now)
        return
    if run is None and not one.new and not _stands(session, one):
        return  # its snapshots are gone again
    if run is None:
        run = _run(session, one, now=now)
    for each in one.new:
        _snapshot(session, run, each, one)
    if one.told is not None:
        _parts(session, run, one)
    if _finish(session, run, one.told, now=now):
        found.points += 1


def _stands(session: Session, one: Finding) -> bool:
    """Whether a snapshot that the record names is there."""
    named = [part["snapshot"] for part in (one.told or {}).get("parts", ()) if part["snapshot"]]
    names = {each for name in named for each in one.alike.get(name, (name,))}
    rows = select(Snapshot.id).where(
        Snapshot.tenant_id == one.tenant, Snapshot.restic_id.in_(names), Snapshot.standing()
    )
    return session.execute(rows.limit(1)).first() is not None


def _parts(session: Session, run: BackupRun, one: Finding) -> None:
    """As the run wrote them down: unchanged sources, manifests, failures."""
    for said in (one.told or {}).get("parts", ()):
        source = UUID(said["source"])
        if session.get(Source, source) is None:
            continue
        part = session.execute(
            select(PointSource).where(
                PointSource.point_id == run.id, PointSource.source_id == source
            )
        ).scalar_one_or_none()
        root = _root(session, one, source, said["snapshot"])
        if part is None:
            part = PointSource(
                id=new_id(), tenant_id=run.tenant_id, point_id=run.id, source_id=source
            )
            session.add(part)
        there = part.snapshot_id or (None if root is None else root.origin_id or root.id)
        part.snapshot_id = there
        part.outcome = Outcome(said["outcome"]) if there else Outcome.FAILED
        part.manifest, part.failure = said["manifest"], said["failure"]
        part.seconds = said["seconds"]
        session.flush()


def _root(session: Session, one: Finding, source: UUID, name: str | None) -> Snapshot | None:
    if name is None:
        return None
    return session.execute(
        select(Snapshot)
        .where(
            Snapshot.tenant_id == one.tenant,
            Snapshot.source_id == source,
            Snapshot.restic_id.in_(one.alike.get(name, (name,))),
            Snapshot.standing(),
        )
        .order_by(Snapshot.id)
        .limit(1)
    ).scalar_one_or_none()


def _run(session: Session, one: Finding, *, now: datetime) -> BackupRun:
    policy = planning.current_policy(session, one.tenant)
    told: Told = one.told or {}
    times = [each.what.time for each in one.new]
    began = _moment(told["taken_at"]) if told else min(times)
    day = began.astimezone(zone_named(policy.zone)).date()
    only = told.get("only_source")
    run = BackupRun(
        id=one.run,
        tenant_id=one.tenant,
        state=RunState.STORED,
        trigger=Trigger(told.get("trigger", Trigger.SCHEDULE)),
        policy_id=policy.id,
        cadences=list(told.get("cadences", ())),
        local_date=date.fromisoformat(told["local_date"]) if told else day,
        full=bool(told.get("full")),
        only_source_id=UUID(only) if only and session.get(Source, UUID(only)) else None,
        asked_by=told.get("asked_by", str(RECOVERY)),
        asked_at=began,
        due_at=began,
        started_at=began,
        ended_at=now,
    )
    session.add(run)
    session.flush()
    record(session, run, old="", move=Move(by=RECOVERY, at=now, reason=Reason("adopted")))
    return run


def _snapshot(session: Session, run: BackupRun, each: Seen, one: Finding) -> Snapshot | None:
    """Its row, and that of the source's part in the point; a copy hangs on what it is a copy of."""
    origin = _origin(session, one, each)
    part = session.execute(
        select(PointSource).where(
            PointSource.point_id == run.id, PointSource.source_id == each.source
        )
    ).scalar_one_or_none()
    if origin is None and part is not None and part.snapshot_id is not None:
        return None  # an earlier try of a run that was tried again: the clean-up's
    row = Snapshot(
        id=new_id(),
        tenant_id=run.tenant_id,
        source_id=each.source,
        repository_id=each.repository,
        origin_id=None if origin is None else origin.origin_id or origin.id,
        restic_id=each.what.id,
        taken_at=each.what.time,
        bytes=each.what.bytes,
        files=each.what.files,
        added_bytes=0,
    )
    session.add(row)
    session.flush()
    if origin is None:
        if part is None:
            part = PointSource(
                id=new_id(),
                tenant_id=run.tenant_id,
                point_id=run.id,
                source_id=each.source,
                seconds=0,
            )
            session.add(part)
        part.outcome, part.snapshot_id, part.failure = Outcome.COMPLETE, row.id, None
        session.flush()
    return row


def _origin(session: Session, one: Finding, each: Seen) -> Snapshot | None:
    """A row of the same snapshot, wherever it lies or lay."""
    if each.what.original is None:
        return None
    return session.execute(
        select(Snapshot)
        .where(
            Snapshot.tenant_id == one.tenant,
            Snapshot.source_id == each.source,
            Snapshot.restic_id.in_(one.alike[each.what.id]),
        )
        .order_by(Snapshot.id)
        .limit(1)
    ).scalar_one_or_none()


def _finish(session: Session, run: BackupRun, told: Told | None, *, now: datetime) -> bool:
    """The point, its copies where they lie, and proofs for them; False if nothing of it is there."""
    parts = (
        session.execute(select(PointSource).where(PointSource.point_id == run.id)).scalars().all()
    )
    ids = [part.snapshot_id for part in parts if part.snapshot_id is not None]
    if not ids:
        return False
    if run.state is RunState.QUEUED:
        advance(session, run, RunState.MAKING, Move(by=RECOVERY, at=now, reason=Reason("adopted")))
    if run.state is RunState.MAKING:
        values = {"ended_at": now, "owner": None, "lease_until": None, "fence": run.fence + 1}
        move = Move(by=RECOVERY, at=now, reason=Reason("adopted"), values=values)
        advance(session, run, RunState.STORED, move)
    roots = session.execute(select(Snapshot).where(Snapshot.id.in_(ids))).scalars().all()
    began = run.started_at or min(root.taken_at for root in roots)
    last = session.execute(
        select(Point.number)
        .where(Point.tenant_id == run.tenant_id)
        .order_by(Point.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    point = Point(
        id=run.id,
        tenant_id=run.tenant_id,
        number=(last or 0) + 1,
        outcome=_outcome(session, run, parts, at=began),
        kind=run.trigger,
        taken_at=began,
        first_seen_at=began,
        local_date=run.local_date,
        cadences=run.cadences,
        bytes=sum(root.bytes for root in roots),
        added_bytes=0,
        entries=sum(root.files for root in roots),
        pinned_until=_moment(told["pinned_until"]) if told and told["pinned_until"] else None,
        policy_id=run.policy_id,
    )
    session.add(point)
    session.flush()
    places = [row for row, _region in repositories.of_tenant(session, run.tenant_id)]
    whole = (row for row in places if followers.is_whole(session, point.id, row.id))
    stored_in = next(whole, None) or session.get_one(Repository, roots[0].repository_id)
    followers.begin(session, point, stored_in=stored_in, now=now)
    return True


def _outcome(
    session: Session, run: BackupRun, parts: Sequence[PointSource], *, at: datetime
) -> Outcome:
    """Complete when every source of that time is in it."""
    wanted = select(Source.id).where(
        Source.tenant_id == run.tenant_id,
        Source.added_at <= at,
        (Source.removed_at.is_(None)) | (Source.removed_at > at),
    )
    if run.only_source_id is not None:
        wanted = wanted.where(Source.id == run.only_source_id)
    have = {part.source_id for part in parts if part.snapshot_id is not None}
    missing = [each for each in session.execute(wanted).scalars() if each not in have]
    outcomes = [part.outcome for part in parts] + [Outcome.FAILED for _ in missing]
    return outcome_of(outcomes)


def _adopt_copies(session: Session, one: Finding, run: BackupRun, *, now: datetime) -> int:
    """Copies of a known point that were brought since the dump."""
    for each in one.new:
        origin = _origin(session, one, each)
        if origin is not None:
            _snapshot(session, run, each, one)
    brought = 0
    for copy in session.execute(
        select(Copy).where(
            Copy.point_id == run.id, Copy.state.in_([CopyState.WAITING, CopyState.COPYING])
        )
    ).scalars():
        if not followers.is_whole(session, run.id, copy.repository_id):
            continue
        move = Move(by=RECOVERY, at=now, reason=Reason("adopted"))
        if copy.state is CopyState.WAITING:
            advance(session, copy, CopyState.COPYING, move)
        values = {"stored_at": now, "owner": None, "lease_until": None, "failure": None}
        advance(
            session,
            copy,
            CopyState.STORED,
            Move(by=RECOVERY, at=now, reason=Reason("adopted"), values=values),
        )
        followers.want_proof(session, copy, now=now)
        brought += 1
    return brought


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
