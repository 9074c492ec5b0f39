"""Bringing what a repository lost from a region that has it, before anything of ours is given up.

`restic copy` passes over a snapshot that is there already, however broken, so the usual advice is
to forget it first. Should the other region turn out to be damaged too, that would have taken the
last of it. So nothing is forgotten: restic is shown the other region through our gateway, with
one more snapshot in it, the good one under another tag, which lies nowhere but in our memory. It
copies that, reads and verifies every blob that is missing here, and all broken snapshots that use
them are whole again, under the names they had. The extra snapshot is forgotten afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import select, update

from backup import acts, keyfile, repositories, sealing, watching
from backup.founding import Within
from backup.leases import Leased
from backup.models import Repository, Snapshot
from backup.repositories import Site
from backup.restic import commands, repairs
from backup.restic.errors import CopyMissing
from backup.states import ActKind
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from strongroom.storage import Act

SECONDS = 12 * 3600.0
TAG = "healing:"  # and the healing's id

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Grafted:
    """A repository's objects, and snapshots beside them that lie in memory only."""

    store: Within
    extra: Mapping[str, bytes]  # by key

    def part(self, key: str, first: int, last: int | None) -> tuple[int, Iterable[bytes]]:
        data = self.extra.get(key)
        if data is None:
            return self.store.part(key, first, last)
        wanted = data[first : None if last is None else last + 1]
        return len(wanted), [wanted]

    def sizes(self, prefix: str) -> Iterable[tuple[str, int]]:
        yield from self.store.sizes(prefix)
        for key, data in self.extra.items():
            if key.startswith(prefix):
                yield key, len(data)


@dataclass(frozen=True)
class Lacking:
    """Rows of snapshots in the repository that is mended."""

    broken: tuple[Snapshot, ...] = ()  # they lie there, but miss some of their data
    gone: tuple[Snapshot, ...] = ()  # they do not lie there any more

    def __bool__(self) -> bool:
        return bool(self.broken or self.gone)


def others(leased: Leased) -> tuple[list[Site], bool]:
    """The tenant's other regions that can be reached, and whether those are all of them."""
    return reachable(leased.site.runtime, leased.site)


def reachable(runtime: Runtime, site: Site) -> tuple[list[Site], bool]:
    """As `others`, for a repository that nobody has to hold."""
    with runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        ids = session.execute(
            select(Repository.id).where(
                Repository.tenant_id == site.row.tenant_id,
                Repository.id != site.row.id,
                Repository.key_hint.is_not(None),
                Repository.counts(),
            )
        ).scalars()
        found = list(ids)
    reached = []
    for each in found:
        other = repositories.site(runtime, site.row.tenant_id, each)
        with suppress(StrongroomError):
            other.store(Act.READ).server_date()
            reached.append(other)
    return reached, len(reached) == len(found)


def bring(leased: Leased, source: Site, lacking: Lacking, *, tag: str) -> None:
    """Bring from one region what it has of it; what it has not stays as it is.

    All at once, and if that fails one by one: the other region may be damaged as well.
    """
    known = _known_there(source, [*lacking.broken, *lacking.gone])
    broken = [known[root_of(each)] for each in lacking.broken if root_of(each) in known]
    try:
        if broken:
            _graft(leased, source, broken, tag=tag)
    except StrongroomError as error:
        log.warning("a region could not give all", region=source.region.name, error=error.message)
        for one in broken if len(broken) > 1 else ():
            with suppress(StrongroomError):
                _graft(leased, source, [one], tag=tag)
    for row in lacking.gone:
        if root_of(row) in known:
            with suppress(StrongroomError):
                _copy(leased, source, row, known[root_of(row)])


def forget_grafts(leased: Leased) -> int:
    """Forget what grafting left here, in this attempt or in one that was lost."""
    here = leased.here(seconds=600)
    listed = commands.snapshots(leased.restic, here)
    ours = [one.id for one in listed if any(tag.startswith(TAG) for tag in one.tags)]
    if ours:
        site = leased.site
        forgetting = site.restic_with(repositories.deleting(site, leased.held, Act.FORGET))
        keys = [f"snapshots/{each}" for each in ours]
        with acts.recorded(site, ActKind.FORGET, [*keys, *acts.LOCKS], store=leased.store):
            commands.forget(forgetting, here, ours)
    return len(ours)


def root_of(row: Snapshot) -> UUID:
    """By which all regions know the same snapshot."""
    return row.origin_id or row.id


def _known_there(source: Site, rows: Iterable[Snapshot]) -> dict[UUID, str]:
    roots = [root_of(row) for row in rows]
    with source.runtime.database.session(Role.WORKER, tenant=source.row.tenant_id) as session:
        found = session.execute(
            select(Snapshot).where(
                Snapshot.repository_id == source.row.id,
                Snapshot.standing(),
                Snapshot.id.in_(roots) | Snapshot.origin_id.in_(roots),
            )
        ).scalars()
        return {root_of(row): row.restic_id for row in found}


def _graft(leased: Leased, source: Site, ids: list[str], *, tag: str) -> None:
    reading = source.restic(Act.READ)
    here = watching.also(leased.here(seconds=SECONDS), source)
    within = Within(source.store(Act.READ), source.prefix)
    master = keyfile.unlock(within.get(f"keys/{source.row.key_hint}"), source.password)
    extra = {}
    for name in dict.fromkeys(ids):
        text = retagged(repairs.snapshot_text(reading, here, name), tag)
        sealed = sealing.seal(master, text, os.urandom(sealing.NONCE))
        extra[f"snapshots/{hashlib.sha256(sealed).hexdigest()}"] = sealed
    names = [key.removeprefix("snapshots/") for key in extra]
    commands.copy(reading, leased.restic, here, names, through=Grafted(within, extra))


def retagged(text: str, tag: str) -> bytes:
    """A snapshot of the same tree that restic takes for another one. Pure."""
    body = json.loads(text)
    for name in ("original", "parent"):
        body.pop(name, None)
    return json.dumps({**body, "tags": [tag]}, separators=(",", ":")).encode()


def _copy(leased: Leased, source: Site, row: Snapshot, restic_id: str) -> None:
    """A snapshot that is gone comes back under a new name, and its row with it."""
    reading = source.restic(Act.READ)
    here = watching.also(leased.here(seconds=SECONDS), source)
    trees = {one.id: one.tree for one in commands.snapshots(reading, here)}
    [copied] = commands.copy(
        reading,
        leased.restic,
        here,
        [restic_id],
        through=Within(source.store(Act.READ), source.prefix),
    )
    if copied.snapshot.tree != trees.get(restic_id):
        raise CopyMissing(
            f"Snapshot {copied.snapshot.id} says it is a copy of {restic_id}, but is none."
        )
    with leased.site.runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        session.execute(
            update(Snapshot)
            .where(Snapshot.id == row.id)
            .values(restic_id=copied.snapshot.id, lost_at=None, checked_at=None, verified_at=None)
        )
