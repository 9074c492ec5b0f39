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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from backup import acts, cleaning, guards, leases, ledger, repeats, repositories, retention
from backup.leases import Leased
from backup.making import failure_of
from backup.models import (
    ActVersion,
    BackupRun,
    Copy,
    PointSource,
    Removal,
    Repository,
    Snapshot,
)
from backup.repositories import RepositoryBusy, Site
from backup.restic import commands
from backup.restic.flags import CheckExtent, PruneBounds
from backup.states import ActKind, CopyState, RemovalState, RepositoryState, RunState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.errors import Refused, StrongroomError
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, database_now, record
from strongroom.runtime import Runtime
from strongroom.storage import Act, Kept, Store, Version

SHARE = 0.34  # the most of a tenant's points that one pass may take
SECONDS = 6 * 3600.0
RETRY = timedelta(hours=1)
NOT_BLOCKED = {"blocked": None}

log = structlog.get_logger(__name__)


class ClocksDisagree(Refused):
    """Database, host and object store do not agree on the time; nothing is removed."""

    code = "clocks-disagree"


class Frozen(Refused):
    """Something in the repository is not explained by any act of ours; nothing is removed."""

    code = "repository-frozen"


def review(runtime: Runtime, tenant: UUID) -> int:
    """Plan the removal of what retention lets go today; gives how many copies that is.

    Raises MassRemoval when it would be too much at once; nothing is planned then.
    """
    now = runtime.now()
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        session.execute(  # two runs that end together review one after the other
            text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"),
            {"key": f"removals:{tenant}"},
        )
        known = ledger.read(session, tenant, now=now)
        decision = retention.decide(
            known.points, known.policy, now=now, zone=known.zone, holds=known.holds
        )
        if not decision.remove and not decision.trimmed:
            return 0
        guards.guard(decision, share=SHARE)
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
        gone = _without_storage(runtime, tenant, repository_id)
        if gone is not None:
            return gone
        with leases.leased(runtime, tenant, repository_id) as leased:
            return _apply(leased)
    except RepositoryBusy as error:
        _block(runtime, tenant, repository_id, error, again=timedelta(seconds=30))
    except StrongroomError as error:
        _block(runtime, tenant, repository_id, error, again=RETRY)
        log.warning("removal has to wait", repository=str(repository_id), error=error.message)
    return 0


def _without_storage(runtime: Runtime, tenant: UUID, repository_id: UUID) -> int | None:
    """Let points go whose snapshots are all needed by others: rows only, the region is not touched.

    That is each day of a tenant whose data do not change. None when there is more to do here, or
    somebody holds the repository.
    """
    site = repositories.site(runtime, tenant, repository_id)
    root = runtime.settings.regions.get(site.region.name)
    if root is None:
        return None
    _clocks(site, Store(site.region.address(), root))
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get_one(Repository, repository_id, with_for_update=True)
        free = row.owner is None and not row.unclean and row.state is RepositoryState.READY
        if not free or _left_over(session, site):
            return None
        allowed = _still_allowed(session, site)
        if _doomed_snapshots(session, site, allowed):
            return None
        _forgotten(session, site, allowed, ())
        return _gone(session, site)


def _apply(leased: Leased) -> int:
    site = leased.site
    if site.row.state is RepositoryState.FROZEN:
        raise Frozen(
            f"Repository {site.row.id} is frozen: object versions lie there that no act of ours "
            "made. Look at them before anything is removed."
        )
    _clocks(site, leased.store)
    _require_no_strangers(leased)
    orphans = cleaning.forget_orphans(leased)
    with _session(site) as session:
        left = _left_over(session, site) or orphans > 0
        allowed = _still_allowed(session, site)  # the last look at holds, right before the act
        doomed = _doomed_snapshots(session, site, allowed)
    if doomed:
        _forget(leased, doomed)
    with _session(site) as session:
        _forgotten(session, site, allowed, doomed)
    if doomed or left:
        _prune(leased)
        kept = _sweep(leased)
        if kept:
            return _wait_for(site, kept)
    with _session(site) as session:
        return _gone(session, site)


@contextmanager
def _session(site: Site) -> Iterator[Session]:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        yield session


def _clocks(site: Site, store: Store) -> None:
    with _session(site) as session:
        database = database_now(session)
    stored = store.server_date()
    host = datetime.now(UTC)
    if not guards.clocks_agree(host=host, database=database, storage=[stored]):
        raise ClocksDisagree(
            f"Removal needs clocks that agree within 5 minutes; host {host:%Y-%m-%d %H:%M:%S}, "
            f"database {database:%Y-%m-%d %H:%M:%S}, region {site.region.name} "
            f"{stored:%Y-%m-%d %H:%M:%S} (UTC). Nothing was removed. Set the clocks right.",
            host=host.isoformat(),
            database=database.isoformat(),
            storage=stored.isoformat(),
        )


def _still_allowed(session: Session, site: Site) -> list[Removal]:
    """The planned removals that retention lets go now too; the others are spared."""
    now = site.runtime.now()
    known = ledger.read(session, site.row.tenant_id, now=now)
    decision = retention.decide(
        known.points, known.policy, now=now, zone=known.zone, holds=known.holds
    )
    going = {verdict.point.id for verdict in decision.remove}
    trimmed = {(v.point.id, source) for v in decision.trimmed for source in v.without}
    rows = session.execute(
        select(Removal, Copy.point_id, Copy.state)
        .join(Copy, Copy.id == Removal.copy_id)
        .where(Removal.repository_id == site.row.id, Removal.state == RemovalState.PLANNED)
    ).all()
    allowed = []
    for row, point, copy_state in rows:
        if copy_state is CopyState.COPYING:
            continue  # somebody is about to store it; it goes with a later pass
        if point in going or (point, row.source_id) in trimmed:
            allowed.append(row)
        else:
            move = Move(by=WORKER, at=now, reason=Reason("kept-again"))
            advance(session, row, RemovalState.SPARED, move)
    return allowed


def _doomed_snapshots(session: Session, site: Site, allowed: Sequence[Removal]) -> list[Snapshot]:
    """Snapshots here that only removed copies need."""
    whole = {row.copy_id for row in allowed if row.source_id is None}
    parts = {(row.copy_id, row.source_id) for row in allowed if row.source_id is not None}
    needed = _unfinished(session, site)
    for copy, part in _needs(session, site):
        if copy not in whole and (copy, part.source_id) not in parts and part.snapshot_id:
            needed.add(part.snapshot_id)
    here = session.execute(
        select(Snapshot).where(
            Snapshot.repository_id == site.row.id, Snapshot.forgotten_at.is_(None)
        )
    ).scalars()
    return [each for each in here if (each.origin_id or each.id) not in needed]


def _unfinished(session: Session, site: Site) -> set[UUID]:
    """What runs that are not over have stored so far: no copy names it yet."""
    going_on = (RunState.QUEUED, RunState.MAKING, RunState.QUARANTINED)
    rows = session.execute(
        select(PointSource.snapshot_id)
        .join(BackupRun, BackupRun.id == PointSource.point_id)
        .where(
            BackupRun.tenant_id == site.row.tenant_id,
            BackupRun.state.in_(going_on),
            PointSource.snapshot_id.is_not(None),
        )
    ).scalars()
    return {each for each in rows if each is not None}


def _needs(session: Session, site: Site) -> Iterable[tuple[UUID, PointSource]]:
    """Every part that some copy in this repository still holds, waiting copies included."""
    rows = session.execute(
        select(Copy.id, PointSource)
        .join(PointSource, PointSource.point_id == Copy.point_id)
        .where(Copy.repository_id == site.row.id, Copy.state != CopyState.REMOVED)
    )
    return [(row.id, row.PointSource) for row in rows]


def _forget(leased: Leased, doomed: Sequence[Snapshot]) -> None:
    site = leased.site
    forgetting = site.restic_with(repositories.deleting(site, leased.held, Act.FORGET))
    ids = [each.restic_id for each in doomed]
    keys = [f"snapshots/{each}" for each in ids]
    with acts.recorded(site, ActKind.FORGET, [*keys, *acts.LOCKS], store=leased.store):
        commands.forget(forgetting, leased.here(seconds=SECONDS), ids)


def _forgotten(
    session: Session, site: Site, allowed: Sequence[Removal], doomed: Sequence[Snapshot]
) -> None:
    """Write down that the snapshots are gone, and the copies with them."""
    now = site.runtime.now()
    if doomed:
        session.execute(
            update(Snapshot)
            .where(Snapshot.id.in_([each.id for each in doomed]))
            .values(forgotten_at=now)
        )
    for removal in allowed:
        row = session.get_one(Removal, removal.id)
        reason = Reason(row.code, row.params)
        advance(session, row, RemovalState.FORGOTTEN, Move(by=WORKER, at=now, reason=reason))
        if row.source_id is None:
            copy = session.get_one(Copy, row.copy_id)
            advance(session, copy, CopyState.REMOVED, Move(by=WORKER, at=now, reason=reason))


def _left_over(session: Session, site: Site) -> bool:
    """Whether an earlier pass forgot something and did not come to the end.

    Points that shared their snapshots with a kept one leave nothing behind to prune.
    """
    left = select(Removal.id).where(
        Removal.repository_id == site.row.id, Removal.state == RemovalState.FORGOTTEN
    )
    return session.execute(left.limit(1)).first() is not None


def _prune(leased: Leased) -> None:
    """Nothing unused stays, not even within a pack; then the structure must be whole."""
    site = leased.site
    pruning = site.restic_with(repositories.deleting(site, leased.held, Act.PRUNE))
    here = leased.here(seconds=SECONDS)
    with acts.recorded(site, ActKind.PRUNE, acts.PRUNED, store=leased.store):
        commands.prune(pruning, here, PruneBounds(max_unused="0"))
    report = commands.check(site.restic(Act.READ), here, CheckExtent())
    if not report.ok:
        _freeze(site, Reason("check-failed", {"errors": list(report.messages)[:5]}))
        raise Frozen(
            f"After the prune, the check of repository {site.row.id} found {report.errors} errors. "
            "Old object versions are kept, so nothing is lost yet; look at them."
        )
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        session.execute(
            update(Repository)
            .where(Repository.id == site.row.id)
            .values(pruned_at=site.runtime.now())
        )


def _require_no_strangers(leased: Leased) -> None:
    split = _split(leased)
    if split.strangers and repeats.record(leased, split.strangers, split):
        split = _split(leased)
    if split.strangers:
        _freeze(leased.site, Reason("strangers", _named(split.strangers)))
        raise Frozen(
            f"{len(split.strangers)} object versions in repository {leased.site.row.id} were made "
            f"noncurrent by no act of ours, the first being {split.strangers[0].key}. Somebody "
            "else deletes or overwrites there. Nothing was removed; look at them first.",
            **_named(split.strangers),
        )


def _split(leased: Leased) -> acts.Split:
    site = leased.site
    versions = leased.store.versions(site.prefix)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        known = acts.known_versions(session, site.row.id)
    ours = acts.split(versions, known)
    # Locks of the command that is just running are released by the act that is still open.
    lock = site.prefix + "locks/"
    strangers = tuple(each for each in ours.strangers if not each.key.startswith(lock))
    return replace(ours, strangers=strangers)


def _sweep(leased: Leased) -> Sequence[Kept]:
    """Delete exactly the versions that recorded acts made noncurrent; gives what stayed.

    A delete marker goes after all that lies beneath it: without it a locked version would be the
    current one again, and a forgotten snapshot back.
    """
    _require_no_strangers(leased)
    site = leased.site
    split = _split(leased)
    sweeper = Store(site.region.address(), repositories.deleting(site, leased.held, Act.SWEEP))
    contents = [pair for pair in split.ours if pair not in split.markers]
    refused = list(sweeper.delete_versions(contents))
    covered = {each.key for each in refused}
    bare = [pair for pair in split.ours if pair in split.markers and pair[0] not in covered]
    refused += sweeper.delete_versions(bare)
    kept = {(each.key, each.version_id) for each in refused}
    swept = [pair for pair in [*contents, *bare] if pair not in kept]
    now = site.runtime.now()
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        for key, version in swept:
            session.execute(
                update(ActVersion)
                .where(ActVersion.key == key, ActVersion.version_id == version)
                .values(swept_at=now)
            )
    return refused


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


def _gone(session: Session, site: Site) -> int:
    rows = session.execute(
        select(Removal).where(
            Removal.repository_id == site.row.id, Removal.state == RemovalState.FORGOTTEN
        )
    ).scalars()
    gone = list(rows)
    for row in gone:
        move = Move(by=WORKER, at=site.runtime.now(), reason=Reason("gone"), values=NOT_BLOCKED)
        advance(session, row, RemovalState.GONE, move)
    return len(gone)


def _freeze(site: Site, reason: Reason) -> None:
    log.error("a repository was frozen", repository=str(site.row.id), code=reason.code)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        row = session.get_one(Repository, site.row.id)
        if row.state is RepositoryState.READY:
            move = Move(by=WORKER, at=site.runtime.now(), reason=reason)
            advance(session, row, RepositoryState.FROZEN, move)


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


def _named(strangers: Sequence[Version]) -> dict[str, Any]:
    return {"count": len(strangers), "keys": [each.key for each in strangers[:5]]}


def _json(params: Any) -> dict[str, Any]:
    return {
        str(name): value if isinstance(value, int | str | float | None) else str(value)
        for name, value in params.items()
    }
