"""Filling the next epoch: everything that is to be kept comes into it, and is read back there.

The epoch before is only ever read. Where it does not open any more, the tenant's other regions are
read instead. restic opens, verifies and seals each blob anew, under the new master key; nothing of
the old one comes along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import acts, copies, grafting, holdings, repositories, scrub, verify
from backup.founding import Within
from backup.grafting import root_of
from backup.leases import Leased
from backup.models import Snapshot
from backup.repositories import Site
from backup.restic import commands
from backup.restic.errors import ResticError
from backup.restic.flags import CheckExtent, PruneBounds
from backup.restic.outputs import Snapshot as Listed
from backup.rotating import Going
from backup.states import ActKind
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.storage import Act, Store

SECONDS = 12 * 3600.0
AT_ONCE = 50  # snapshots in one call of restic: what it did is kept when the next is lost
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Brought = Mapping[UUID, str]  # root of a snapshot to restic's id of it in the new epoch


class NotAllThere(StrongroomError):
    """Snapshots that rows name could not be copied."""

    code = "epoch-incomplete"


class NoOtherRegion(StrongroomError):
    """The repository does not open, and no other one can be read."""

    code = "no-copy-source"


class Unsound(StrongroomError):
    """What was copied does not lie in the new epoch as it should."""

    code = "epoch-unsound"


@dataclass(frozen=True)
class Origin:
    """Where the data come from."""

    sites: tuple[Site, ...]
    closed: str | None = None  # why the epoch before does not open; then `sites` are other regions


@dataclass(frozen=True)
class Proven:
    """The new epoch was checked, and all that lies in it was read."""

    checked_at: datetime
    oldest_read: datetime  # of all packs
    packs: int
    bytes: int  # read this time


@dataclass(frozen=True)
class Filling:
    """The new epoch, held by us, and where it is filled from."""

    going: Going
    target: Leased
    origin: Origin


def origin_of(going: Going, former: Site) -> Origin:
    """The epoch before, or the other regions where it does not open.

    Raises StorageError when its region does not answer, and NoOtherRegion.
    """
    closed = verify.why_closed(former, former.store(Act.READ))
    if closed is None:
        return Origin((former,))
    sites, _all = grafting.reachable(going.runtime, former)
    if not sites:
        raise NoOtherRegion(
            f"The repository in {former.region.name} does not open ({closed}), and no other region "
            "can be read now. It is tried again; see `strongroom region check`."
        )
    return Origin(tuple(sites), closed)


def wanted(session: Session, repository: UUID, *, lost: bool) -> Sequence[Snapshot]:
    """The snapshots that should lie in the epoch before, each root once; those seen to be missing
    too if `lost`."""
    rows = session.execute(
        select(Snapshot)
        .where(Snapshot.repository_id == repository, Snapshot.forgotten_at.is_(None))
        .order_by(Snapshot.lost_at.is_not(None), Snapshot.taken_at, Snapshot.id)
    ).scalars()
    by_root: dict[UUID, Snapshot] = {}
    for row in rows:
        if lost or row.lost_at is None:
            by_root.setdefault(root_of(row), row)
    return list(by_root.values())


def bring(filling: Filling) -> Brought:
    """Copy what is not there yet; what an earlier attempt copied stays. Raises NotAllThere."""
    going, origin = filling.going, filling.origin
    assert going.row.repository_id is not None
    with going.session() as session:
        rows = wanted(session, going.row.repository_id, lost=origin.closed is not None)
    roots = [root_of(row) for row in rows]
    found: dict[UUID, str] = {}
    for source in origin.sites:
        left = [root for root in roots if root not in found]
        ids = {root_of(row): row.restic_id for row in rows}
        if origin.closed is not None:
            with going.session() as session:
                ids = copies.ids_in(session, source.row.id, left)
        found |= _bring_from(filling, source, ids) if ids else {}
    missing = [root for root in roots if root not in found]
    if missing and origin.closed is None:
        raise NotAllThere(
            f"{len(missing)} of {len(roots)} snapshots could not be copied into the new epoch: "
            "they do not lie in the old one as they should. Nothing was changed; it is tried again.",
            missing=len(missing),
        )
    return found


def _bring_from(filling: Filling, source: Site, ids: Mapping[UUID, str]) -> Brought:
    here = filling.target.here(seconds=SECONDS)
    listed = {one.id: one for one in commands.snapshots(source.restic(Act.READ), here)}
    there = _by_first(commands.snapshots(filling.target.restic, here))
    mine = {root: listed[name] for root, name in ids.items() if name in listed}
    lacking = [one.id for one in mine.values() if _first(one) not in there]
    for begin in range(0, len(lacking), AT_ONCE):
        _copy(filling, source, lacking[begin : begin + AT_ONCE])
    if lacking:
        there = _by_first(commands.snapshots(filling.target.restic, here))
    return alike(mine, there)


def alike(mine: Mapping[UUID, Listed], there: Mapping[str, Listed]) -> dict[UUID, str]:
    """Of each the copy that holds the same; one that only says it is the copy is none. Pure."""
    found = {}
    for root, one in mine.items():
        copied = there.get(_first(one))
        if copied is not None and copied.tree == one.tree:
            found[root] = copied.id
    return found


def _first(one: Listed) -> str:
    """By which all copies of a snapshot know it."""
    return one.original or one.id


def _by_first(listed: Iterable[Listed]) -> dict[str, Listed]:
    return {_first(one): one for one in listed}


def _copy(filling: Filling, source: Site, names: Sequence[str]) -> None:
    """Where it comes from another region, one snapshot that is broken there stops no other."""
    try:
        _copy_all(filling, source, names)
    except ResticError:
        if filling.origin.closed is None:
            raise
        for name in names if len(names) > 1 else ():
            with suppress(ResticError):
                _copy_all(filling, source, [name])


def _copy_all(filling: Filling, source: Site, names: Sequence[str]) -> None:
    target, reading = filling.target, source.restic(Act.READ)
    commands.copy(
        reading,
        copies.held_back(target.restic, reading),
        target.here(seconds=SECONDS),
        names,
        through=Within(source.store(Act.READ), source.prefix),
    )


def drop_others(filling: Filling, brought: Brought) -> int:
    """Forget and prune what was let go since it was copied; gives how many snapshots."""
    target, here = filling.target, filling.target.here(seconds=SECONDS)
    keep = set(brought.values())
    listed = commands.snapshots(target.restic, here)
    doomed = [one.id for one in listed if one.id not in keep]
    if not doomed:
        return 0
    site = target.site
    forgetting = site.restic_with(repositories.deleting(site, target.held, Act.FORGET))
    keys = [f"snapshots/{each}" for each in doomed]
    with acts.recorded(site, ActKind.FORGET, [*keys, *acts.LOCKS], store=target.store):
        commands.forget(forgetting, here, doomed)
    pruning = site.restic_with(repositories.deleting(site, target.held, Act.PRUNE))
    with acts.recorded(site, ActKind.PRUNE, acts.PRUNED, store=target.store):
        commands.prune(pruning, here, PruneBounds(max_unused="0"))
    sweeper = Store(site.region.address(), repositories.deleting(site, target.held, Act.SWEEP))
    acts.sweep(site, list(target.store.versions(site.prefix)), store=sweeper)
    return len(doomed)


def prove(filling: Filling, brought: Brought) -> Proven:
    """Its structure, and every pack in it that was not read yet. Raises Unsound."""
    target, runtime = filling.target, filling.going.runtime
    here = target.here(seconds=SECONDS)
    report = commands.check(target.site.restic(Act.READ), here, CheckExtent())
    _require(report.ok, f"restic found {report.errors} errors: {'; '.join(report.messages[:3])}")
    there = holdings.take(target)
    doubts = holdings.doubts(there.packs.values(), _added(filling, brought))
    _require(not there.missing, f"{len(there.missing)} packs that were read before are gone")
    _require(not doubts, "; ".join(doubts))
    read = scrub.read(target.site, there.unread_since(NEVER), held=target.held)
    wrong = [*read.damaged, *read.vanished]
    _require(not wrong, f"{len(wrong)} packs do not read back as they were written")
    now = runtime.now()
    oldest = there.oldest(read.at, gone=()) if there.packs else now
    if oldest is None:
        raise Unsound("A pack of the new epoch was not read. It is tried again.")
    return Proven(now, oldest, len(there.packs), read.bytes)


def _require(well: bool, said: str) -> None:
    if not well:
        raise Unsound(
            f"The new epoch is not sound: {said}. It is given up, and another is made; the epoch "
            "before is untouched."
        )


def _added(filling: Filling, brought: Brought) -> list[int]:
    """What each snapshot stored when it was made."""
    row = filling.going.row
    with filling.going.runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        rows = wanted(session, filling.going.row.repository_id or row.id, lost=True)
        return [row.added_bytes for row in rows if root_of(row) in brought]
