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

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup.models import Act, ActVersion, Repository
from backup.repositories import Site
from backup.states import ActKind
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.storage import Store, Version

SKEW = timedelta(minutes=5)  # the most that our clock and the object store's may differ
LOCKS = ("locks/",)
INDEXED = ("index/", "locks/")
PRUNED = ("data/", "index/", "locks/")

Pair = tuple[str, str]  # key, version id


@dataclass(frozen=True)
class Split:
    """What a listing of all versions comes to."""

    ours: tuple[Pair, ...]  # a recorded act made it noncurrent
    strangers: tuple[Version, ...]  # nobody of us did


def split(versions: Iterable[Version], recorded: set[Pair]) -> Split:
    """Which of what is noncurrent, or a delete marker, is ours to sweep. Pure."""
    ours: list[Pair] = []
    strangers: list[Version] = []
    for version in versions:
        if version.latest and not version.marker:
            continue
        pair = (version.key, version.version_id)
        if pair in recorded:
            ours.append(pair)
        else:
            strangers.append(version)
    return Split(tuple(ours), tuple(strangers))


def made_by(versions: Iterable[Version], *, since: datetime) -> list[Pair]:
    """What deletes since then left: each latest marker, and the one version beneath it. Pure.

    A second old version of the same key is not ours: restic never writes an object twice.
    """
    by_key: dict[str, list[Version]] = {}
    for version in versions:
        by_key.setdefault(version.key, []).append(version)
    found: list[Pair] = []
    for key, all_of_it in by_key.items():
        marker = next((each for each in all_of_it if each.latest and each.marker), None)
        if marker is None or marker.modified < since:
            continue
        found.append((key, marker.version_id))
        beneath = [each for each in all_of_it if not each.marker]
        if beneath:
            newest = max(beneath, key=lambda each: each.modified)
            found.append((key, newest.version_id))
    return found


def begin(
    session: Session, row: Repository, act: tuple[ActKind, Sequence[str]], now: datetime
) -> Act:
    """Write an act down. Keys are relative: whole names, or prefixes that end in "/"."""
    kind, keys = act
    written = Act(
        id=new_id(),
        tenant_id=row.tenant_id,
        repository_id=row.id,
        kind=kind,
        keys=list(keys),
        started_at=now,
    )
    session.add(written)
    return written


@contextmanager
def recorded(site: Site, kind: ActKind, keys: Sequence[str], *, store: Store) -> Iterator[None]:
    """Write the act down, let it happen, then record what it made noncurrent.

    An act that fails half-way is closed all the same: what it did is ours.
    """
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        act = begin(session, site.row, (kind, keys), site.runtime.now())
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
        close(site, act, store=store)
    return len(acts)


def close(site: Site, act: Act, *, store: Store) -> None:
    """Record what the act made noncurrent, and that it has ended."""
    pairs: list[Pair] = []
    for key in act.keys:
        listed = store.versions(site.prefix + key)
        exact = [each for each in listed if key.endswith("/") or each.key == site.prefix + key]
        pairs += made_by(exact, since=act.started_at - SKEW)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        known = known_versions(session, site.row.id)
        _insert(session, act, [pair for pair in pairs if pair not in known])
        session.execute(update(Act).where(Act.id == act.id).values(ended_at=site.runtime.now()))


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
