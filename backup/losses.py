"""What is lost: which points and which paths, said exactly and put before a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import findings
from backup.findings import Sight
from backup.grafting import Lacking, root_of
from backup.leases import Leased
from backup.models import Point, PointSource, Snapshot, Source
from backup.repositories import Site
from backup.restic import commands, repairs
from backup.restic.repairs import LostPath
from backup.states import Outcome
from strongroom.db import Role
from strongroom.storage import Act

SECONDS = 3600.0
NAMED = 1000  # paths of one snapshot that are kept by name; the number of all stands beside them
LOST = "data-lost"  # it is given up: the points were written anew without it


@dataclass(frozen=True)
class Loss:
    """What one snapshot cannot give back."""

    row: Snapshot
    paths: tuple[LostPath, ...]

    @property
    def is_all(self) -> bool:
        return any(each.path == "/" for each in self.paths)


def broken(leased: Leased) -> list[Loss]:
    """Snapshots that lie here and miss some of their data."""
    site = leased.site
    reading = site.restic(Act.READ)
    here = leased.here(seconds=SECONDS)
    there = {one.id for one in commands.snapshots(reading, here)}
    found = []
    for row in rows_of(site):
        if row.restic_id in there:
            paths = repairs.lost_paths(reading, here, row.restic_id)
            if paths:
                found.append(Loss(row, paths))
    return found


def gone(site: Site) -> list[Snapshot]:
    """Snapshots that were seen to be missing, and that nothing else here stands for."""
    rows = rows_of(site, lost=True)
    standing = {root_of(row) for row in rows if row.lost_at is None}
    return [row for row in rows if row.lost_at is not None and root_of(row) not in standing]


def rows_of(site: Site, *, lost: bool = False) -> Sequence[Snapshot]:
    """The snapshots that should lie here; with those that do not any more if `lost`."""
    wanted = select(Snapshot).where(
        Snapshot.repository_id == site.row.id, Snapshot.forgotten_at.is_(None)
    )
    if not lost:
        wanted = wanted.where(Snapshot.lost_at.is_(None))
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        return session.execute(wanted.order_by(Snapshot.taken_at.desc())).scalars().all()


def lacking(losses: Iterable[Loss], missing: Iterable[Snapshot]) -> Lacking:
    return Lacking(tuple(each.row for each in losses), tuple(missing))


def told(
    session: Session, losses: Sequence[Loss], missing: Sequence[Snapshot]
) -> list[dict[str, Any]]:
    """For the report: source, points by number, paths."""
    return [_told(session, each) for each in [*losses, *map(whole, missing)]]


def _told(session: Session, loss: Loss) -> dict[str, Any]:
    numbers = session.execute(
        select(Point.number)
        .join(PointSource, PointSource.point_id == Point.id)
        .where(PointSource.snapshot_id == root_of(loss.row))
        .order_by(Point.number)
    ).scalars()
    return {
        "snapshot": loss.row.restic_id,
        "source": session.get_one(Source, loss.row.source_id).name,
        "points": list(numbers),
        "paths": [each.path for each in loss.paths[:NAMED]],
        "folders": [each.path for each in loss.paths[:NAMED] if each.kind == "dir"],
        "count": len(loss.paths),
    }


def report(
    session: Session, site: Site, said: Sequence[Mapping[str, Any]], *, code: str, now: datetime
) -> None:
    """One finding for each snapshot that lost something; those that are whole again settle."""
    sights = [
        Sight(
            code,
            f"{site.region.name}/{each['snapshot']}",
            {**each, "region": site.region.name},
            repository=site.row.id,
            freezes=True,
        )
        for each in said
    ]
    findings.report(
        session, site.row.tenant_id, sights, codes=[code], repository=site.row.id, now=now
    )


def whole(row: Snapshot) -> Loss:
    """A snapshot that is gone altogether."""
    return Loss(row, (LostPath("/", "dir"),))


def cut(
    session: Session, losses: Sequence[Loss], made: Mapping[str, str], *, now: datetime
) -> None:
    """After the snapshots were written anew without what is lost: rows name the new ones.

    `made` gives the new id by the old one; a snapshot of which nothing is left has none.
    """
    failure = {
        "code": LOST,
        "params": {},
        "message": "Some paths were damaged in storage, and no region had them any more.",
    }
    for loss in losses:
        new = made.get(loss.row.restic_id)
        values: dict[str, Any] = {"checked_at": None, "verified_at": None}
        values |= {"restic_id": new} if new else {"forgotten_at": now}
        session.execute(update(Snapshot).where(Snapshot.id == loss.row.id).values(**values))
        parts = session.execute(
            select(PointSource).where(PointSource.snapshot_id == root_of(loss.row))
        ).scalars()
        for part in parts:
            part.failure = failure
            part.outcome = Outcome.PARTIAL if new else Outcome.FAILED
            part.snapshot_id = part.snapshot_id if new else None
            session.flush()
            _judge_again(session, part.point_id)


def _judge_again(session: Session, point_id: UUID) -> None:
    """A point that lost some of what it had is partial; one that lost all of it has failed."""
    point = session.get(Point, point_id)
    outcomes = set(
        session.execute(
            select(PointSource.outcome).where(PointSource.point_id == point_id)
        ).scalars()
    )
    if point is not None:
        point.outcome = Outcome.FAILED if outcomes == {Outcome.FAILED} else Outcome.PARTIAL
