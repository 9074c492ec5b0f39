"""Fills the catalogue from what was stored: restic's listing of a folder, a dump's manifest."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import catalogue, clearing, repositories
from backup.catalogue import FOLDER, TABLE, Add, Changes, Entry
from backup.models import Point, PointSource, Snapshot
from backup.restic import commands
from backup.restic.outputs import Entry as Listed
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from strongroom.storage import Act, StorageError

LIST_SECONDS = 3600.0


log = structlog.get_logger(__name__)


class NotListed(StrongroomError):
    """No region that can be reached has the snapshot."""

    code = "not-listed"


def record(runtime: Runtime, tenant: UUID) -> int:
    """Catalogue every point of the tenant that is not yet; gives how many sources of points. What
    only points have that are gone is forgotten.

    In the order of their numbers; one that cannot be listed now holds back the later ones of its
    source, and is tried again with the next point.
    """
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        waiting = session.execute(
            select(PointSource, Point.number)
            .join(Point, Point.id == PointSource.point_id)
            .where(PointSource.snapshot_id.is_not(None), PointSource.catalogued_at.is_(None))
            .order_by(PointSource.source_id, Point.number)
        ).all()
    held_back: set[UUID] = set()
    for part, number in waiting:
        if part.source_id in held_back:
            continue
        try:
            _record(runtime, part, number)
        except Exception as error:  # noqa: BLE001 - an edge: tenants' names are odd; others go on
            held_back.add(part.source_id)
            log.warning(
                "a point is not in the catalogue yet",
                source=str(part.source_id),
                point=number,
                error=type(error).__name__,
            )
    _clear(runtime, tenant)
    return len(waiting) - len(held_back)


def _clear(runtime: Runtime, tenant: UUID) -> None:
    try:
        clearing.clear(runtime, tenant)
    except Exception:  # an edge: it is tried again with the next point
        log.exception("the catalogue keeps what no point has any more", tenant=str(tenant))


def _record(runtime: Runtime, part: PointSource, number: int) -> None:
    with runtime.database.session(Role.WORKER, tenant=part.tenant_id) as session:
        session.execute(clearing.lock(part.source_id))
        row = session.get_one(PointSource, part.id, with_for_update=True)
        if row.catalogued_at is not None:
            return
        changes = Changes(0, 0, 0)
        if _is_there(session, part) and not _same_as_before(session, part, number):
            with catalogue.recording(session, part.source_id, number) as recorded:
                if part.manifest is not None:
                    _tables(part.manifest, recorded.add)
                else:
                    _files(runtime, part, recorded.add)
            changes = recorded.changes
        session.execute(
            update(PointSource)
            .where(PointSource.id == part.id)
            .values(catalogued_at=runtime.now(), changes=asdict(changes))
        )


def _is_there(session: Session, part: PointSource) -> bool:
    """False when the point went before anybody listed it: there is nothing to browse."""
    if part.manifest is not None:
        return True
    found = select(Snapshot.id).where(
        Snapshot.standing(),
        (Snapshot.id == part.snapshot_id) | (Snapshot.origin_id == part.snapshot_id),
    )
    return session.execute(found.limit(1)).first() is not None


def _same_as_before(session: Session, part: PointSource, number: int) -> bool:
    """A point that shares its snapshot with the one before it adds nothing."""
    before = session.execute(
        select(PointSource.snapshot_id)
        .join(Point, Point.id == PointSource.point_id)
        .where(
            PointSource.source_id == part.source_id,
            PointSource.snapshot_id.is_not(None),
            Point.number < number,
        )
        .order_by(Point.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    return before is not None and before == part.snapshot_id


def _tables(manifest: dict[str, Any], add: Add) -> None:
    """A table is an entry; its size is its rows, and its content the sum over them. Its schema is
    its folder, whatever slashes are in the names."""
    for schema in sorted({table["schema"] for table in manifest["tables"]}):
        add(Entry(f"/{schema}", FOLDER, 0, None, "", parent="/"))
    for table in manifest["tables"]:
        folder = f"/{table['schema']}"
        state = f"{table['content']}:{table['definition']}"
        add(Entry(f"{folder}/{table['name']}", TABLE, table["rows"], None, state, parent=folder))


def _files(runtime: Runtime, part: PointSource, add: Add) -> None:
    """restic lists no content ids: size and time of change tell two states apart."""

    def each(entry: Listed) -> None:
        folder = entry.kind == "dir"
        content = "" if folder else f"{entry.size}:{entry.mtime.isoformat()}"
        changed = None if folder else entry.mtime
        add(Entry(entry.path, entry.kind, entry.size, changed, content))

    places = _places(runtime, part)
    for site, restic_id in places:
        try:
            repository = site.restic(Act.READ)
        except StorageError:
            continue  # that region is away
        here = repositories.surroundings(runtime, site.row.id, seconds=LIST_SECONDS)
        commands.ls(repository, here, restic_id, each)
        return
    if places:
        raise NotListed("No region that has the snapshot can be reached; it is tried again.")


def _places(runtime: Runtime, part: PointSource) -> list[tuple[repositories.Site, str]]:
    with runtime.database.session(Role.WORKER, tenant=part.tenant_id) as session:
        rows = session.execute(
            select(Snapshot.repository_id, Snapshot.restic_id).where(
                Snapshot.standing(),
                (Snapshot.id == part.snapshot_id) | (Snapshot.origin_id == part.snapshot_id),
            )
        ).all()
    return [
        (repositories.site(runtime, part.tenant_id, row.repository_id), row.restic_id)
        for row in rows
    ]
