"""What lies in a repository that is none of ours: seen, put before a person, never touched.

Snapshots that nobody recorded and snapshots that vanished are seen by the census at each lease;
what does not belong there otherwise once a week, by three listings of few pages, and in `data/` by
each proof, which lists all of it anyway. A strange object in `keys/` does no harm: every call of
restic names the key file it wants. Nor does one in `data/` or `index/` with another name than
restic gives: restic passes it over. One *with* such a name is damage, and goes to be mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from backup import findings, keyfile, repositories, sealing
from backup.findings import Sight
from backup.inventory import sha256
from backup.models import BackupRun, Finding, Healing, Repository, Rotation, Snapshot
from backup.repositories import Site
from backup.restic import commands
from backup.restic.outputs import Snapshot as Listed
from backup.states import RotationState
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.storage import Act, Missing, ObjectInfo, Store

UNRECORDED = "snapshot-unrecorded"
VANISHED = "snapshot-vanished"
KEY_FOREIGN = "key-foreign"  # a key file of somebody else's
KEY_MALFORMED = "key-malformed"  # no key file at all, or one that is not what its name says
OBJECT_FOREIGN = "object-foreign"  # outside of the layout, or in index/ under no name of restic's
DATA_FOREIGN = "data-foreign"  # in data/, and no pack
AT_LEASE = (UNRECORDED, VANISHED)
AT_LOOK = (KEY_FOREIGN, KEY_MALFORMED, OBJECT_FOREIGN)
LOOK_EVERY = timedelta(days=7)
LARGEST_KEY = 64 * 1024  # bytes; restic's own have some 450
MOST = 50  # of one kind that are told one by one
LAYOUT = frozenset({"config", "data/", "index/", "keys/", "locks/", "snapshots/"})
NAME = re.compile(r"[0-9a-f]{64}")


def has_open(session: Session, site: Site) -> bool:
    """Whether a finding of the census may have to be settled."""
    open_one = exists().where(
        Finding.tenant_id == site.row.tenant_id,
        Finding.repository_id == site.row.id,
        Finding.code.in_(AT_LEASE),
        Finding.settled_at.is_(None),
    )
    return bool(session.execute(select(open_one)).scalar_one())


def report_snapshots(site: Site, unknown: Iterable[str], vanished: Sequence[Snapshot]) -> None:
    """Put before a person what the census saw; what a lost run or a healing of ours left is not it."""
    found = _described(site, sorted(unknown))
    sights = [
        Sight(UNRECORDED, name, params, repository=site.row.id) for name, params in found.items()
    ]
    sights += [
        Sight(
            VANISHED,
            row.restic_id,
            {"region": site.region.name, "taken_at": row.taken_at.isoformat()},
            repository=site.row.id,
            source=row.source_id,
        )
        for row in vanished
    ]
    _report(site, sights[: 2 * MOST], AT_LEASE)


def _described(site: Site, unknown: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Restic id and what is known of each; it is opened once, not again at each lease."""
    if not unknown:
        return {}
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        open_ones = findings.open_of(session, site.row.tenant_id)
        seen = {row.subject: row.params for row in open_ones if row.code == UNRECORDED}
        ours = {f"run:{run}" for run in session.execute(select(BackupRun.id)).scalars()}
        ours |= {f"healing:{row}" for row in session.execute(select(Healing.id)).scalars()}
        forgotten = set(
            session.execute(
                select(Snapshot.restic_id).where(
                    Snapshot.repository_id == site.row.id, Snapshot.restic_id.in_(unknown)
                )
            ).scalars()
        )
    if all(name in seen for name in unknown):
        return {name: seen[name] for name in unknown}
    opened = _opened(site)
    return {
        name: _params(site, opened.get(name), forgotten=name in forgotten)
        for name in unknown
        if name not in opened or not ours.intersection(opened[name].tags)
    }


def _opened(site: Site) -> Mapping[str, Listed]:
    here = repositories.surroundings(site.runtime, site.row.id, seconds=120)
    try:
        return {one.id: one for one in commands.snapshots(site.restic(Act.READ), here)}
    except StrongroomError:
        return {}


def _params(site: Site, listed: Listed | None, *, forgotten: bool) -> dict[str, Any]:
    params: dict[str, Any] = {"region": site.region.name, "opens": listed is not None}
    if listed is not None:
        params |= {"time": listed.time.isoformat(), "host": listed.host, "tags": list(listed.tags)}
    return params | ({"forgotten": True} if forgotten else {})


def look_if_due(site: Site, store: Store) -> None:
    """Once a week: is there anything in the repository that restic would not have put there?"""
    now = site.runtime.now()
    if site.row.looked_at is not None and now - site.row.looked_at < LOOK_EVERY:
        return
    look(site, store)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        session.execute(
            update(Repository).where(Repository.id == site.row.id).values(looked_at=now)
        )


def look(site: Site, store: Store) -> None:
    """Report strange keys and objects outside of restic's layout."""
    names = [key.removeprefix(site.prefix) for key in store.top(site.prefix)]
    sights = [_sight(site, OBJECT_FOREIGN, name, {}) for name in names if name not in LAYOUT]
    sights = (sights + _indexes(site, store))[:MOST]
    extra = [
        each
        for each in store.list(site.prefix + "keys/")
        if each.key != f"{site.prefix}keys/{site.row.key_hint}"
    ]
    if extra and not _rotates(site):
        sights += [found for each in extra[:MOST] if (found := _judged(site, store, each))]
    _report(site, sights[: 3 * MOST], AT_LOOK)


def report_data(site: Site, foreign: Mapping[str, int]) -> None:
    """What a proof saw in `data/` that is no pack: put before a person, and no reason to fail."""
    if not foreign and not _told(site):
        return
    keys = sorted(foreign)
    sights = [_sight(site, DATA_FOREIGN, key, {"bytes": foreign[key]}) for key in keys[:MOST]]
    _report(site, sights, (DATA_FOREIGN,))


def _told(site: Site) -> bool:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        return findings.is_open(session, site.row.tenant_id, [DATA_FOREIGN])


def _indexes(site: Site, store: Store) -> list[Sight]:
    found = []
    for each in store.list(site.prefix + "index/"):
        path = each.key.removeprefix(site.prefix)
        if not NAME.fullmatch(path.removeprefix("index/")):
            found.append(_sight(site, OBJECT_FOREIGN, path, {"bytes": each.size}))
    return found


def _judged(site: Site, store: Store, key: ObjectInfo) -> Sight | None:
    """What a further object in `keys/` is; None for a key file of our own."""
    path = key.key.removeprefix(site.prefix)
    name = path.removeprefix("keys/")
    if not NAME.fullmatch(name) or key.size > LARGEST_KEY:
        return _sight(site, KEY_MALFORMED, path, {"bytes": key.size})
    try:
        text = store.get(key.key)
        ours = keyfile.unlock(store.get(f"{site.prefix}keys/{site.row.key_hint}"), site.password)
    except (Missing, sealing.Unsealable):
        return None  # gone meanwhile, or it is our own that is damaged: that is for healing
    if sha256(text) != name or not text.lstrip().startswith(b"{"):
        return _sight(site, KEY_MALFORMED, path, {"bytes": key.size})
    try:
        return None if keyfile.unlock(text, site.password) == ours else _foreign(site, path, key)
    except sealing.Unsealable:
        return _foreign(site, path, key)


def _foreign(site: Site, path: str, key: ObjectInfo) -> Sight:
    return _sight(site, KEY_FOREIGN, path, {"since": key.modified.isoformat()})


def _rotates(site: Site) -> bool:
    """A key that is just being made new lies beside the old one."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        return (
            session.execute(
                select(Rotation.id).where(
                    Rotation.repository_id == site.row.id,
                    Rotation.state.in_([RotationState.WAITING, RotationState.ROTATING]),
                )
            ).first()
            is not None
        )


def _sight(site: Site, code: str, path: str, params: Mapping[str, Any]) -> Sight:
    subject = f"{site.region.name}/{path}"
    return Sight(code, subject, {"region": site.region.name, **params}, repository=site.row.id)


def _report(site: Site, sights: Sequence[Sight], codes: Sequence[str]) -> None:
    now: datetime = site.runtime.now()
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        findings.report(
            session, site.row.tenant_id, sights, codes=codes, repository=site.row.id, now=now
        )
