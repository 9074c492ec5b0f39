"""Object locks: what is stored cannot be removed by anybody, us included, for as long as the plan says.

Each object of a repository in a plan with `lock_days` is locked after it was stored, and made
longer while it is kept: right after each backup and copy, and by a pass of its own a day, also
where nothing is backed up any more. Never beyond the day on which the points that may use it go,
nor beyond the shortest age ceiling of the tenant's sources counted from its first storage.

    horizon   until when one object may be locked (pure)
    due       which objects are to be locked now, and until when (pure)
    lock      set it, in a repository that we hold, and write it down

A snapshot is used by the points that name it. A pack is used by no snapshot that was stored before
it, and by any of those after it; which of them is known to restic alone. So a pack that only an
older point uses may stay locked up to `lock_days` longer than that point: its removal waits, says
until when, and is then finished by the sweep. Config and key files hold no data of any source, so
no age ceiling ends their locks: without them nothing could be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import expiry, findings, guards, leases, ledger
from backup.findings import Sight
from backup.leases import Leased
from backup.models import ObjectLock, PointSource, Repository, Snapshot
from backup.policy import EffectivePolicy
from backup.repositories import RepositoryBusy, Site
from backup.restic.flags import PruneBounds
from strongroom import ids
from strongroom.db import Role
from strongroom.errors import Refused, StrongroomError
from strongroom.lifecycle import database_now
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Act, Locked, Store

DAY = timedelta(days=1)
MARGIN_MOST = timedelta(days=7)  # locks that end sooner than this are made longer
SKEW = timedelta(minutes=5)  # the most that our clock and the region's may differ
AGAIN = timedelta(minutes=10)  # after a failure
BUSY_PAUSE = timedelta(seconds=30)
AT_ONCE = 8  # requests to a region
ROWS_AT_ONCE = 1000
LATE = "objects-not-locked"
WHOLE_USE = ("config", "keys/", "index/")  # every point needs them
WITHOUT_DATA = ("config", "keys/")

log = structlog.get_logger(__name__)


class LocksNeedClocks(Refused):
    """A lock set by a wrong clock may last for years, or not at all; none was set."""

    code = "clocks-disagree"


@dataclass(frozen=True)
class Stored:
    """The current version of an object."""

    key: str  # relative to the repository
    version_id: str
    modified: datetime  # on the region's clock


@dataclass(frozen=True)
class Use:
    """A snapshot of the repository, and until when points are planned to need it."""

    restic_id: str
    stored: datetime  # when it was recorded here
    taken: datetime  # when the data were first stored, in any region
    until: datetime | None  # None: no end is in sight


@dataclass(frozen=True)
class Bounds:
    """What limits the locks of one repository."""

    now: datetime
    term: timedelta  # lock_days
    uses: tuple[Use, ...]
    ceiling: timedelta | None  # the shortest age ceiling of the tenant's sources
    pruned_at: datetime | None

    @property
    def margin(self) -> timedelta:
        return min(MARGIN_MOST, self.term / 2)

    @property
    def pause(self) -> timedelta:
        """From one look to the next: two before a lock could run out."""
        return min(DAY, self.margin / 2)


def horizon(each: Stored, bounds: Bounds) -> datetime | None:
    """Until when the object may be locked; None: not at all. Pure."""
    users = _users(each, bounds)
    if not users:
        return None
    ends = [bounds.now + bounds.term]
    if all(use.until is not None for use in users):
        ends.append(max(use.until for use in users if use.until is not None))
    if bounds.ceiling is not None and not each.key.startswith(WITHOUT_DATA):
        ends.append(_first_stored(each, bounds) + bounds.ceiling)
    until = min(ends)
    return until if until > bounds.now else None


def due(
    objects: Iterable[Stored], locks: Mapping[str, tuple[str, datetime]], bounds: Bounds
) -> list[tuple[Stored, datetime]]:
    """What is to be locked now, and until when: what is new, and what would soon run out. Pure.

    `locks` has version and end by key.
    """
    found = []
    for each in objects:
        until = horizon(each, bounds)
        if until is None:
            continue
        version, locked = locks.get(each.key, ("", bounds.now))
        if version == each.version_id and locked >= min(until, bounds.now + bounds.margin):
            continue
        found.append((each, until))
    return found


def _users(each: Stored, bounds: Bounds) -> Sequence[Use]:
    """The snapshots that may use the object."""
    folder, _, name = each.key.partition("/")
    if each.key.startswith(WHOLE_USE):
        return bounds.uses
    if folder == "snapshots":
        return [use for use in bounds.uses if use.restic_id == name]
    if folder != "data":
        return ()  # restic's own locks, and whatever is none of ours
    later = [use for use in bounds.uses if use.stored >= each.modified - SKEW]
    return later or (bounds.uses if _may_be_rewritten(each, bounds) else ())


def _first_stored(each: Stored, bounds: Bounds) -> datetime:
    """Of what is in it: a prune writes old data into new packs."""
    if not _may_be_rewritten(each, bounds):
        return each.modified
    return min([each.modified, *(use.taken for use in bounds.uses)])


def _may_be_rewritten(each: Stored, bounds: Bounds) -> bool:
    return bounds.pruned_at is not None and each.modified <= bounds.pruned_at + SKEW


def lock(leased: Leased) -> int:
    """Lock what is new and what would run out; gives how many locks were set.

    Raises LocksNeedClocks and StorageErrors; what was locked until then is written down.
    """
    site = leased.site
    with _session(site) as session:
        known = ledger.read(session, site.row.tenant_id, now=site.runtime.now())
        if known.policy.lock_days is None:
            _look_again(session, site.row.id, None)
            return 0
        row = session.get_one(Repository, site.row.id)
        bounds = _bounds(session, row, known, site.runtime.now())
        locks = _locks(session, site.row.id)
        database = database_now(session)
    _require_clocks(bounds.now, database, leased.store)
    store = site.store(Act.LOCK)
    objects = _current(store, site.prefix)
    wanted = due(objects, locks, bounds)
    done, failure = _set(store, site.prefix, wanted)
    with _session(site) as session:
        _write_down(session, site, done, gone=locks.keys() - {each.key for each in objects})
        if failure is None:
            _look_again(session, site.row.id, bounds.now + bounds.pause)
            _report_none(session, site)
    if failure is not None:
        raise failure
    return len(done)


def lock_new(leased: Leased) -> None:
    """After a backup or copy: a failure here is none of it, and is tried again by itself."""
    site = leased.site
    try:
        lock(leased)
    except StrongroomError as error:
        _put_off(site.runtime, site.row.tenant_id, site.row.id, error)


def renew(runtime: Runtime, tenant: UUID, repository_id: UUID) -> None:
    """The pass of its own, for what is kept and not backed up any more too."""
    try:
        with leases.leased(runtime, tenant, repository_id, adding=False) as leased:
            lock_new(leased)
    except RepositoryBusy:
        with runtime.database.session(Role.WORKER, tenant=tenant) as session:
            _look_again(session, repository_id, runtime.now() + BUSY_PAUSE)
    except StrongroomError as error:  # the region is away
        _put_off(runtime, tenant, repository_id, error)


def prune_bounds(session: Session, tenant: UUID, *, now: datetime) -> PruneBounds:
    """How a prune may write packs anew.

    Where locks keep the old packs anyway, writing them anew would store everything twice. With an
    age ceiling it is done all the same: what is beyond it may not lie within a pack either.
    """
    policy = ledger.read(session, tenant, now=now).policy
    locked = policy.lock_days is not None and not policy.source_max_age_days
    return PruneBounds(max_unused="unlimited" if locked else "0")


@contextmanager
def _session(site: Site) -> Iterator[Session]:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        yield session


def _bounds(session: Session, row: Repository, known: ledger.Ledger, now: datetime) -> Bounds:
    policy = known.policy
    assert policy.lock_days is not None  # asked before
    return Bounds(
        now=now,
        term=DAY * policy.lock_days,
        uses=tuple(_uses(session, row, known, now)),
        ceiling=_ceiling(policy),
        pruned_at=row.pruned_at,
    )


def _ceiling(policy: EffectivePolicy) -> timedelta | None:
    days = min(policy.source_max_age_days.values(), default=None)
    return None if days is None else timedelta(days=days)


def _uses(session: Session, row: Repository, known: ledger.Ledger, now: datetime) -> Iterable[Use]:
    """The standing snapshots here. A lock's own end is no reason to make it longer."""
    free = [replace(point, locked_until=None) for point in known.points]
    ends = expiry.expiries(free, known.policy, now=now, zone=known.zone, holds=known.holds)
    by_root: dict[UUID, list[date | None]] = {}
    pairs = session.execute(
        select(PointSource.snapshot_id, PointSource.point_id).where(
            PointSource.tenant_id == row.tenant_id, PointSource.snapshot_id.is_not(None)
        )
    )
    for root, point in pairs:
        if root is not None and point in ends:
            by_root.setdefault(root, []).append(ends[point].on)
    here = session.execute(
        select(Snapshot).where(Snapshot.repository_id == row.id, Snapshot.standing())
    ).scalars()
    for each in here:
        days = by_root.get(each.origin_id or each.id)
        if days:
            until = _last(days, known.zone)
            yield Use(each.restic_id, ids.made_at(each.id), each.taken_at, until)


def _last(days: Sequence[date | None], zone: ZoneInfo) -> datetime | None:
    """The beginning of the last of these local days."""
    known = [day for day in days if day is not None]
    if len(known) < len(days):
        return None
    return datetime.combine(max(known), time(0), zone).astimezone(UTC)


def _locks(session: Session, repository_id: UUID) -> dict[str, tuple[str, datetime]]:
    rows = session.execute(select(ObjectLock).where(ObjectLock.repository_id == repository_id))
    return {row.key: (row.version_id, row.until) for row in rows.scalars()}


def _current(store: Store, prefix: str) -> list[Stored]:
    return [
        Stored(each.key.removeprefix(prefix), each.version_id, each.modified)
        for each in store.versions(prefix)
        if each.latest and not each.marker
    ]


def _require_clocks(business: datetime, database: datetime, store: Store) -> None:
    """Shifted business time, or a region whose clock is wrong, would lock for too long."""
    stored = store.server_date()
    if not guards.clocks_agree(host=business, database=database, storage=[stored]):
        raise LocksNeedClocks(
            f"Locks need clocks that agree within 5 minutes; ours {business:%Y-%m-%d %H:%M:%S}, "
            f"database {database:%Y-%m-%d %H:%M:%S}, region {store.region.name} "
            f"{stored:%Y-%m-%d %H:%M:%S} (UTC). No lock was set. Set the clocks right.",
            region=store.region.name,
        )


Done = tuple[Stored, datetime]


def _set(
    store: Store, prefix: str, wanted: Sequence[tuple[Stored, datetime]]
) -> tuple[list[Done], StrongroomError | None]:
    """What was locked, until when, and the first thing that went wrong."""

    def one(item: tuple[Stored, datetime]) -> Done | StrongroomError:
        each, until = item
        try:
            store.retain_until(prefix + each.key, each.version_id, until)
        except Locked as error:  # by an attempt that did not come to write it down
            return each, datetime.fromisoformat(str(error.params["until"]))
        except StrongroomError as error:
            return error
        return each, until

    if not wanted:
        return [], None
    with ThreadPoolExecutor(min(AT_ONCE, len(wanted)), thread_name_prefix="locks") as pool:
        answers = list(pool.map(one, wanted))
    failures = [each for each in answers if isinstance(each, StrongroomError)]
    done = [each for each in answers if not isinstance(each, StrongroomError)]
    return done, next(iter(failures), None)


def _write_down(session: Session, site: Site, done: Sequence[Done], *, gone: set[str]) -> None:
    rows = [
        {
            "id": ids.new_id(),
            "tenant_id": site.row.tenant_id,
            "repository_id": site.row.id,
            "key": each.key,
            "version_id": each.version_id,
            "until": until,
        }
        for each, until in done
    ]
    for first in range(0, len(rows), ROWS_AT_ONCE):
        statement = insert(ObjectLock).values(rows[first : first + ROWS_AT_ONCE])
        new = {name: statement.excluded[name] for name in ("version_id", "until")}
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "repository_id", "key"], set_=new
            )
        )
    if gone:
        session.execute(
            delete(ObjectLock).where(
                ObjectLock.repository_id == site.row.id, ObjectLock.key.in_(gone)
            )
        )


def _look_again(session: Session, repository_id: UUID, at: datetime | None) -> None:
    session.execute(
        update(Repository).where(Repository.id == repository_id).values(due_at=at, nudged_at=None)
    )


def _put_off(runtime: Runtime, tenant: UUID, repository_id: UUID, error: StrongroomError) -> None:
    """Try again soon; until then a person can see that something lies there without its lock."""
    log.warning("objects could not be locked", repository=str(repository_id), error=error.message)
    now = runtime.now()
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        _look_again(session, repository_id, now + AGAIN)
        region = session.execute(
            select(Region.name)
            .join(Repository, Repository.region_id == Region.id)
            .where(Repository.id == repository_id)
        ).scalar_one()
        params = {"why": error.code, "found": error.message}
        sight = Sight(LATE, region, params=params, repository=repository_id)
        findings.see(session, tenant, sight, now=now)


def _report_none(session: Session, site: Site) -> None:
    tenant, now = site.row.tenant_id, site.runtime.now()
    findings.report(session, tenant, (), codes=[LATE], repository=site.row.id, now=now)
