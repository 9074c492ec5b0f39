"""Points whose contents a test names: rows and catalogue, without a byte in any region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update

from backup import catalogue
from backup.catalogue import Entry
from backup.models import Copy, Point, PointSource, Snapshot, Source
from backup.states import CopyState
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import catalogues
from tests.catalogues import Extent

LAST = datetime(2026, 3, 10, 12, tzinfo=UTC)  # of the newest point; one a day before it
CHANGED = datetime(2026, 2, 1, tzinfo=UTC)
Listing = Mapping[str, int]  # sizes of files by path; of folders ("/" at the end) it is 0


@dataclass(frozen=True)
class Shelf:
    """A source with a point for each listing, numbered from 1."""

    runtime: Runtime
    tenant: Tenant
    source: UUID
    points: Sequence[UUID]

    def remove(self, *numbers: int) -> None:
        """As retention does it: copies and snapshots go, the points stay as rows."""
        with self.runtime.database.session(Role.WORKER, tenant=self.tenant.id) as session:
            ids = [self.points[number - 1] for number in numbers]
            session.execute(
                update(Copy).where(Copy.point_id.in_(ids)).values(state=CopyState.REMOVED)
            )
            mine = select(PointSource.snapshot_id).where(PointSource.point_id.in_(ids))
            session.execute(
                update(Snapshot)
                .where(Snapshot.id.in_(mine) | Snapshot.origin_id.in_(mine))
                .values(forgotten_at=LAST)
            )

    def record(self, number: int, listing: Listing) -> catalogue.Changes:
        with self.runtime.database.session(Role.WORKER, tenant=self.tenant.id) as session:
            with catalogue.recording(session, self.source, number) as recorded:
                for each in entries(listing):
                    recorded.add(each)
            return recorded.changes


def shelf(
    runtime: Runtime, tenant: Tenant, listings: Sequence[Listing], *, name: str = "files"
) -> Shelf:
    """One source, and all the points of the tenant: made once a tenant."""
    source = new_id()
    extent = Extent(0, 0, len(listings), 1, 0, 0)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = Source(id=source, kind="directory", name=name, options={}, added_at=LAST)
        row.tenant_id = tenant.id
        session.add(row)
        session.flush()
        catalogues.history(session, tenant.id, source, extent, LAST)
        mine = select(Point.id).where(Point.tenant_id == tenant.id).order_by(Point.number)
        points = session.execute(mine).scalars().all()
    made = Shelf(runtime, tenant, source, points)
    for number, listing in enumerate(listings, start=1):
        made.record(number, listing)
    return made


def entries(listing: Listing) -> list[Entry]:
    """The folders of the paths come of themselves, as in restic's listing."""
    folders = {path.rstrip("/") for path in listing if path.endswith("/")}
    files = {path: size for path, size in listing.items() if not path.endswith("/")}
    for path in [*files, *folders]:
        while path := path.rpartition("/")[0]:
            folders.add(path)
    found = [Entry(path, "dir", 0, None, "") for path in folders]
    for path, size in files.items():
        at = CHANGED + timedelta(seconds=size)
        found.append(Entry(path, "file", size, at, f"{size}:{at.isoformat()}"))
    return sorted(found, key=lambda each: each.path)
