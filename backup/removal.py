"""Stage 4: let go what retention has let go, down to the last object version.

    review   retention.decide → Removal(planned) rows, with the reason, for copies that go
    apply    forget → prune → check → sweep, in one repository, under its lease

Every step asks again: holds and clocks may have changed since the plan. A repository in which
something is noncurrent that no recorded act of ours explains is frozen: nothing more is removed
there until a person has looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import (
    acts,
    cleaning,
    guards,
    healing,
    leases,
    ledger,
    locking,
    mass,
    repositories,
    retention,
    unexplained,
    wanted,
)
from backup.leases import Leased
from backup.making import failure_of
from backup.models import BackupRun, Copy, PointSource, Removal, Repository, Snapshot
from backup.repositories import RepositoryBusy, Retired, Site
from backup.restic import commands
from backup.restic.flags import CheckExtent
from backup.restic.outputs import CheckReport
from backup.states import ActKind, CopyState, RemovalState, RepositoryState, RunState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.errors import Refused, StrongroomError
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, database_now, record
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Act, Kept, Store

SECONDS = 6 * 3600.0
RETRY = timedelta(hours=1)
SOON = timedelta(seconds=30)
NOT_BLOCKED = {"blocked": None}

log = structlog.get_logger(__name__)


class ClocksDisagree(Refused):
    """Database, host and object store do not agree on the time; nothing is removed."""

    code = "clocks-disagree"


class BeingMended(Refused):
    """Damage was seen in the repository; nothing is removed before it was dealt with."""

    code = "repository-damaged"


def review(runtime: Runtime, tenant: UUID) -> int:
    """Plan the removal of what retention lets go today; gives how many copies that is.

    Where it would be too much at once nothing is planned, and a finding asks a person.
    """
    now = runtime.now()
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        # Two runs that end together review one after the other; who asks for a restore, before or after.
        wanted.lock(session, tenant, alone=True)
        known = ledger.read(session, tenant, now=now)
        decision = retention.decide(
            known.points, known.policy, now=now, zone=known.zone, holds=known.holds
        )
        if not decision.remove and not decision.trimmed:
            return 0
        if not mass.allowed(session, tenant, decision, now=now):
            return 0
        planned = 0
        for verdict in decision.remove:
            planned += _plan(session, known, verdict, source=None, now=now)
        for verdict in decision.trimmed:
            for source in verdict.without:
                planned += _plan(session, known, verdict, source=source, now=now)
        return planned


def _plan(
    session: Session,
    known: ledger.Ledger,
    verdict: retention.Verdict,
    *,
    source: UUID | None,
    now: datetime,
) -> int:
    copies = session.execute(
        select(Copy).where(Copy.point_id == verdict.point.id, Copy.state != CopyState.REMOVED)
    ).scalars()
    planned = 0
    for copy in copies:
        have = session.execute(
            select(Removal).where(
                Removal.copy_id == copy.id, Removal.source_id.is_not_distinct_from(source)
            )
        ).scalar_one_or_none()
        if have is not None and have.state is not RemovalState.SPARED:
            continue
        planned += 1
        reason = verdict.reasons[0]
        if have is not None:
            values = {
                "policy_id": known.row.id,
                "code": str(reason.code),
                "params": _json(reason.params),
                "due_at": now,
                "nudged_at": None,
            }
            move = Move(by=WORKER, at=now, reason=reason, values=values)
            advance(session, have, RemovalState.PLANNED, move)
            continue
        row = Removal(
            id=new_id(),
            tenant_id=copy.tenant_id,
            copy_id=copy.id,
            source_id=source,
            repository_id=copy.repository_id,
            policy_id=known.row.id,
            code=str(reason.code),
            params=_json(reason.params),
            state=RemovalState.PLANNED,
            due_at=now,
        )
        session.add(row)
        record(session, row, old="", move=Move(by=WORKER, at=now, reason=Reason(str(reason.code))))
    return planned


def apply(runtime: Runtime, tenant: UUID, repository_id: UUID) -> int:
    """Carry out what is planned in one repository; gives how many removals are gone for good."""
    try:
        with leases.leased(runtime, tenant, repository_id, adding=False) as leased:
            return _apply(leased)
    except RepositoryBusy as error:
        again = RETRY if isinstance(error, Retired) else SOON
        _block(runtime, tenant, repository_id, error, again=again)
    except StrongroomError as error:
        _block(runtime, tenant, repository_id, error, again=RETRY)
        log.warning("removal has to wait", repository=str(repository_id), error=error.message)
    return 0


def release(runtime: Runtime, tenant: UUID) -> int:
    """Let points go whose snapshots are all needed by others: rows only, no region is touched.

    That is each day of a tenant whose data do not change. Whatever else is planned stays as it is,
    for `apply`: where something is to be forgotten, or somebody holds the repository.
    """
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        here = repositories.of_tenant(session, tenant)
        for _, region in here:
            root = runtime.settings.regions.get(region.name)
            if root is None:
                return 0
            _require_clocks(session, region, Store(region.address(), root))
        repositories.lock(session, [row.id for row, _ in here])
        going = _decided(session, tenant, runtime.now())
        return sum(_release(session, row, going, runtime.now()) for row, _ in here)


def _release(session: Session, row: Repository, going: Going, now: datetime) -> int:
    free = row.owner is None and not row.unclean and row.state is RepositoryState.READY
    if not free or _of_state(session, row, RemovalState.FORGOTTEN):
        return 0
    allowed = _still_allowed(session, row, going, now)
    if _doomed_snapshots(session, row, allowed):
        return 0
    with session.no_autoflush:  # all the steps in one statement
        _forgotten(session, allowed, (), now)
        return _gone(session, allowed, now)


def _apply(leased: Leased) -> int:
    site = leased.site
    with _session(site) as session:
        _require_clocks(session, site.region, leased.store)
        if healing.is_open(session, site.row.tenant_id, site.row.id):
            raise BeingMended(
                f"Repository {site.row.id} waits to be mended: what looks unused there may be "
                "needed for that. Nothing was removed; it is tried again."
            )
    unexplained.require_none(leased)
    orphans = cleaning.forget_orphans(leased)
    now = site.runtime.now()
    with _session(site) as session:  # the last look at holds, right before the act
        # Points that shared their snapshots with a kept one leave nothing behind to prune.
        left = orphans > 0 or bool(_of_state(session, site.row, RemovalState.FORGOTTEN))
        going = _decided(session, site.row.tenant_id, now)
        allowed = _still_allowed(session, site.row, going, now)
        doomed = _doomed_snapshots(session, site.row, allowed)
    if doomed:
        _forget(leased, doomed)
    with _session(site) as session:
        _forgotten(session, allowed, doomed, now)
    if doomed or left:
        _prune(leased)
        kept = _sweep(leased)
        if kept:
            return _wait_for(site, kept)
    with _session(site) as session:
        return _gone(session, _of_state(session, site.row, RemovalState.FORGOTTEN), now)


@contextmanager
def _session(site: Site) -> Iterator[Session]:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        yield session


def _require_clocks(session: Session, region: Region, store: Store) -> None:
    """Raises ClocksDisagree when host, database and region do not agree on the time."""
    database, stored, host = database_now(session), store.server_date(), datetime.now(UTC)
    if not guards.clocks_agree(host=host, database=database, storage=[stored]):
        raise ClocksDisagree(
            f"Removal needs clocks that agree within 5 minutes; host {host:%Y-%m-%d %H:%M:%S}, "
            f"database {database:%Y-%m-%d %H:%M:%S}, region {region.name} "
            f"{stored:%Y-%m-%d %H:%M:%S} (UTC). Nothing was removed. Set the clocks right.",
            host=host.isoformat(),
            database=database.isoformat(),
            storage=stored.isoformat(),
        )


@dataclass(frozen=True)
class Going:
    """What retention lets go at this moment."""

    points: frozenset[UUID]
    parts: frozenset[tuple[UUID, UUID]]  # point, and the source that it loses


def _decided(session: Session, tenant: UUID, now: datetime) -> Going:
    known = ledger.read(session, tenant, now=now)
    decision = retention.decide(
        known.points, known.policy, now=now, zone=known.zone, holds=known.holds
    )
    return Going(
        frozenset(verdict.point.id for verdict in decision.remove),
        frozenset((v.point.id, source) for v in decision.trimmed for source in v.without),
    )


def _still_allowed(session: Session, row: Repository, going: Going, now: datetime) -> list[Removal]:
    """The planned removals that retention lets go now too; the others are spared."""
    rows = session.execute(
        select(Removal, Copy.point_id, Copy.state)
        .join(Copy, Copy.id == Removal.copy_id)
        .where(Removal.repository_id == row.id, Removal.state == RemovalState.PLANNED)
    ).all()
    allowed = []
    for planned, point, copy_state in rows:
        if copy_state is CopyState.COPYING:
            continue  # somebody is about to store it; it goes with a later pass
        if point in going.points or (point, planned.source_id) in going.parts:
            allowed.append(planned)
        else:
            move = Move(by=WORKER, at=now, reason=Reason("kept-again"))
            advance(session, planned, RemovalState.SPARED, move)
    return allowed


def _doomed_snapshots(
    session: Session, row: Repository, allowed: Sequence[Removal]
) -> list[Snapshot]:
    """Snapshots here that only removed copies need."""
    whole = {each.copy_id for each in allowed if each.source_id is None}
    parts = {(each.copy_id, each.source_id) for each in allowed if each.source_id is not None}
    needed = _unfinished(session, row)
    for copy, source, snapshot in _needs(session, row):
        if copy not in whole and (copy, source) not in parts and snapshot:
            needed.add(snapshot)
    here = session.execute(
        select(Snapshot).where(Snapshot.repository_id == row.id, Snapshot.forgotten_at.is_(None))
    ).scalars()
    return [each for each in here if (each.origin_id or each.id) not in needed]


def _unfinished(session: Session, row: Repository) -> set[UUID]:
    """What runs that are not over have stored so far: no copy names it yet."""
    going_on = (RunState.QUEUED, RunState.MAKING, RunState.QUARANTINED)
    rows = session.execute(
        select(PointSource.snapshot_id)
        .join(BackupRun, BackupRun.id == PointSource.point_id)
        .where(
            BackupRun.tenant_id == row.tenant_id,
            BackupRun.state.in_(going_on),
            PointSource.snapshot_id.is_not(None),
        )
    ).scalars()
    return {each for each in rows if each is not None}


def _needs(session: Session, row: Repository) -> Iterable[tuple[UUID, UUID, UUID | None]]:
    """Copy, source and snapshot of every part that a copy here holds, waiting copies included."""
    rows = session.execute(
        select(Copy.id, PointSource.source_id, PointSource.snapshot_id)
        .join(PointSource, PointSource.point_id == Copy.point_id)
        .where(Copy.repository_id == row.id, Copy.state != CopyState.REMOVED)
    )
    return [(each.id, each.source_id, each.snapshot_id) for each in rows]


def _forget(leased: Leased, doomed: Sequence[Snapshot]) -> None:
    site = leased.site
    forgetting = site.restic_with(repositories.deleting(site, leased.held, Act.FORGET))
    ids = [each.restic_id for each in doomed]
    keys = [f"snapshots/{each}" for each in ids]
    with acts.recorded(site, ActKind.FORGET, [*keys, *acts.LOCKS], store=leased.store):
        commands.forget(forgetting, leased.here(seconds=SECONDS), ids)


def _forgotten(
    session: Session, allowed: Sequence[Removal], doomed: Sequence[Snapshot], now: datetime
) -> None:
    """Write down that the snapshots are gone, and the copies with them."""
    if doomed:
        ids = [each.id for each in doomed]
        session.execute(update(Snapshot).where(Snapshot.id.in_(ids)).values(forgotten_at=now))
    for removal in allowed:
        row = session.get_one(Removal, removal.id)
        reason = Reason(row.code, row.params)
        advance(session, row, RemovalState.FORGOTTEN, Move(by=WORKER, at=now, reason=reason))
        if row.source_id is None:
            copy = session.get_one(Copy, row.copy_id)
            advance(session, copy, CopyState.REMOVED, Move(by=WORKER, at=now, reason=reason))


def _of_state(session: Session, row: Repository, state: RemovalState) -> Sequence[Removal]:
    found = select(Removal).where(Removal.repository_id == row.id, Removal.state == state)
    return session.execute(found).scalars().all()


def _prune(leased: Leased) -> None:
    """Nothing unused stays, not even within a pack unless it is locked; then the structure must be
    whole."""
    site = leased.site
    pruning = site.restic_with(repositories.deleting(site, leased.held, Act.PRUNE))
    here = leased.here(seconds=SECONDS)
    with _session(site) as session:
        bounds = locking.prune_bounds(session, site.row.tenant_id, now=site.runtime.now())
    with acts.recorded(site, ActKind.PRUNE, acts.PRUNED, store=leased.store):
        commands.prune(pruning, here, bounds)
    report = commands.check(site.restic(Act.READ), here, CheckExtent())
    if not report.ok:
        _stop_for_damage(site, report)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        session.execute(
            update(Repository)
            .where(Repository.id == site.row.id)
            .values(pruned_at=site.runtime.now())
        )


def _stop_for_damage(site: Site, report: CheckReport) -> NoReturn:
    """Freeze it, and have it mended: that thaws it, once all in it is whole and explained."""
    seen = {"errors": list(report.messages)[:5]}
    unexplained.freeze(site, Reason("check-failed", seen))
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        tenant, now = site.row.tenant_id, site.runtime.now()
        healing.want(session, tenant, site.row.id, seen=seen, by=WORKER, now=now)
    raise unexplained.Frozen(
        f"After the prune, the check of repository {site.row.id} found {report.errors} errors. "
        "Old object versions are kept, so nothing is lost yet; it is mended from another region, "
        "and `strongroom finding list` says what cannot be."
    )


def _sweep(leased: Leased) -> Sequence[Kept]:
    """Delete exactly the versions that recorded acts made noncurrent; gives what stayed."""
    unexplained.require_none(leased)
    site = leased.site
    sweeper = Store(site.region.address(), repositories.deleting(site, leased.held, Act.SWEEP))
    return acts.sweep(site, leased.store.versions(site.prefix), store=sweeper)


def _wait_for(site: Site, kept: Sequence[Kept]) -> int:
    """Say until when the last version is locked, and come again when the first lock ends."""
    now = site.runtime.now()
    ends = [each.until for each in kept if each.until is not None]
    blocked: dict[str, Any] = {"code": "sweep-refused", "params": {"found": kept[0].found}}
    if ends:
        blocked = {"code": "object-lock", "params": {"until": max(ends).isoformat()}}
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        session.execute(
            update(Removal)
            .where(Removal.repository_id == site.row.id, Removal.state == RemovalState.FORGOTTEN)
            .values(
                due_at=max(min(ends, default=now + RETRY), now + timedelta(minutes=1)),
                nudged_at=None,
                blocked=blocked,
            )
        )
    return 0


def _gone(session: Session, forgotten: Sequence[Removal], now: datetime) -> int:
    for removal in forgotten:
        row = session.get_one(Removal, removal.id)
        move = Move(by=WORKER, at=now, reason=Reason("gone"), values=NOT_BLOCKED)
        advance(session, row, RemovalState.GONE, move)
    return len(forgotten)


def _block(
    runtime: Runtime,
    tenant: UUID,
    repository_id: UUID,
    error: StrongroomError,
    *,
    again: timedelta,
) -> None:
    """Write down why nothing went, and when it is tried again."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        session.execute(
            update(Removal)
            .where(
                Removal.repository_id == repository_id,
                Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
            )
            .values(blocked=failure_of(error), due_at=runtime.now() + again, nudged_at=None)
        )


def _json(params: Any) -> dict[str, Any]:
    return {
        str(name): value if isinstance(value, int | str | float | None) else str(value)
        for name, value in params.items()
    }
