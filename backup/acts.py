"""Recorded acts: what of ours made object versions noncurrent, so that exactly those can be swept.

An act is written down before it begins and closed after it ended, by listing what was deleted
under its keys since. A worker that dies in between leaves it open; the next holder of the
repository closes it. Whatever is noncurrent and belongs to no act is a stranger: an alert, and
nothing is pruned or swept in that repository any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import repositories
from backup.models import Act, ActVersion, Repository
from backup.repositories import Site
from backup.states import ActKind
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.lifecycle import database_now
from strongroom.storage import Kept, Store, Version

SKEW = timedelta(minutes=5)  # the most that our clock and the object store's may differ
LOCKS = ("locks/",)
INDEXED = ("index/", "locks/")
PRUNED = ("data/", "index/", "locks/")
AT_ONCE = 1000  # rows named in one statement

# The longest that an act of a lost worker can have gone on: its rights to delete end by then.
LONGEST = {
    ActKind.LOCK_RELEASE: timedelta(seconds=repositories.WRITE_SECONDS),
    ActKind.FORGET: timedelta(seconds=repositories.DELETE_SECONDS),
    ActKind.PRUNE: timedelta(seconds=repositories.DELETE_SECONDS),
    ActKind.KEY_CHANGE: timedelta(seconds=repositories.DELETE_SECONDS),
    ActKind.REPEAT: timedelta(0),  # recorded at once, as the next
    ActKind.HEAL: timedelta(0),
    ActKind.ACCEPTED: timedelta(0),
}

Pair = tuple[str, str]  # key, version id


@dataclass(frozen=True)
class Split:
    """What a listing of all versions comes to."""

    ours: tuple[Pair, ...]  # a recorded act made it noncurrent
    markers: frozenset[Pair]  # those of ours that are delete markers
    strangers: tuple[Version, ...]  # nobody of us did


def split(versions: Iterable[Version], recorded: set[Pair]) -> Split:
    """Which of what is noncurrent, or a delete marker, is ours to sweep. Pure."""
    ours: list[Version] = []
    strangers: list[Version] = []
    for version in versions:
        if version.latest and not version.marker:
            continue
        known = pair_of(version) in recorded
        (ours if known else strangers).append(version)
    markers = frozenset(pair_of(version) for version in ours if version.marker)
    return Split(tuple(map(pair_of, ours)), markers, tuple(strangers))


def pair_of(version: Version) -> Pair:
    return version.key, version.version_id


def made_by(versions: Iterable[Version], *, since: datetime, until: datetime) -> list[Pair]:
    """What deletes in that time left: the markers, and the one version beneath them. Pure.

    A delete that was sent again leaves a second marker, which is ours too. A second old version
    of the same key is not: restic never writes an object twice.
    """
    by_key: dict[str, list[Version]] = {}
    for version in versions:
        by_key.setdefault(version.key, []).append(version)
    found: list[Pair] = []
    for all_of_it in by_key.values():
        markers = [each for each in all_of_it if each.marker and since <= each.modified <= until]
        if not any(marker.latest for marker in markers):
            continue
        found += map(pair_of, markers)
        beneath = [each for each in all_of_it if not each.marker]
        if beneath:
            newest = max(beneath, key=lambda each: each.modified)
            found.append(pair_of(newest))
    return found


def begin(session: Session, row: Repository, act: tuple[ActKind, Sequence[str]]) -> Act:
    """Write an act down. Keys are relative: whole names, or prefixes that end in "/".

    It is dated by the database's clock: versions carry the region's, and business time may be
    shifted against both.
    """
    kind, keys = act
    written = Act(
        id=new_id(),
        tenant_id=row.tenant_id,
        repository_id=row.id,
        kind=kind,
        keys=list(keys),
        started_at=database_now(session),
    )
    session.add(written)
    return written


@contextmanager
def recorded(site: Site, kind: ActKind, keys: Sequence[str], *, store: Store) -> Iterator[None]:
    """Write the act down, let it happen, then record what it made noncurrent.

    An act that fails half-way is closed all the same: what it did is ours.
    """
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        act = begin(session, site.row, (kind, keys))
    try:
        yield
    finally:
        close(site, act, store=store)


def close_open(site: Site, *, store: Store, but: UUID | None = None) -> int:
    """Close what a lost worker left open in this repository; gives how many acts."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        left = session.execute(
            select(Act).where(
                Act.repository_id == site.row.id, Act.ended_at.is_(None), Act.id != but
            )
        ).scalars()
        acts = list(left)
    for act in acts:
        close(site, act, store=store, until=act.started_at + LONGEST[act.kind])
    return len(acts)


def close(
    site: Site, act: Act, *, store: Store, until: datetime | None = None
) -> Sequence[Version]:
    """Record what the act made noncurrent, and that it has ended: at `until` at the latest.

    Gives every version that lies under its keys.
    """
    seen: list[Version] = []
    for key in act.keys:
        listed = store.versions(site.prefix + key)
        seen += [each for each in listed if key.endswith("/") or each.key == site.prefix + key]
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        last = database_now(session) if until is None else until
        pairs = made_by(seen, since=act.started_at - SKEW, until=last + SKEW)
        known = known_versions(session, site.row.id)
        end(session, act, [pair for pair in pairs if pair not in known], at=last)
    return seen


def sweep(site: Site, versions: Iterable[Version], *, store: Store) -> Sequence[Kept]:
    """Delete those versions that recorded acts made noncurrent; gives what stayed.

    A delete marker goes after all that lies beneath it: without it a locked version would be the
    current one again, and a forgotten snapshot back.
    """
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        ours = split(versions, known_versions(session, site.row.id))
    contents = [pair for pair in ours.ours if pair not in ours.markers]
    refused = list(store.delete_versions(contents))
    covered = {each.key for each in refused}
    bare = [pair for pair in ours.ours if pair in ours.markers and pair[0] not in covered]
    refused += store.delete_versions(bare)
    kept = {(each.key, each.version_id) for each in refused}
    _swept(site, [pair for pair in [*contents, *bare] if pair not in kept])
    return refused


def _swept(site: Site, pairs: Sequence[Pair]) -> None:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        for first in range(0, len(pairs), AT_ONCE):
            some = pairs[first : first + AT_ONCE]
            session.execute(
                update(ActVersion)
                .where(tuple_(ActVersion.key, ActVersion.version_id).in_(some))
                .values(swept_at=site.runtime.now())
            )


def end(session: Session, act: Act, pairs: Sequence[Pair], *, at: datetime) -> None:
    """Record these versions as made noncurrent by the act, which is over."""
    _insert(session, act, pairs)
    session.execute(update(Act).where(Act.id == act.id).values(ended_at=at))


def known_versions(session: Session, repository_id: UUID) -> set[Pair]:
    """What recorded acts made noncurrent here and has not been swept."""
    rows = session.execute(
        select(ActVersion.key, ActVersion.version_id)
        .join(Act, Act.id == ActVersion.act_id)
        .where(Act.repository_id == repository_id, ActVersion.swept_at.is_(None))
    )
    return {(row.key, row.version_id) for row in rows}


def _insert(session: Session, act: Act, pairs: Sequence[Pair]) -> None:
    if not pairs:
        return
    rows = [
        {
            "id": new_id(),
            "tenant_id": act.tenant_id,
            "act_id": act.id,
            "key": key,
            "version_id": version,
        }
        for key, version in pairs
    ]
    session.execute(insert(ActVersion).on_conflict_do_nothing(), rows)
