"""A large catalogue, made inside of PostgreSQL: for plans that only show with many rows.

    /mail                     one folder with many files
    /d<a>/s<b>/f<c>           the other files, a hundred in each
    /deep/a/b/c/d/e/f/g/h     a hundred more
    /inbox                    files that come with a point and are gone some points later

One file of `period` is changed in each point. One is called `quarterly-zebra-plan.xlsx`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from backup import names
from backup.models import BackupRun, Copy, Point, PointSource, Policy, Repository, Snapshot
from backup.states import CopyState, Outcome, RunState, Trigger
from strongroom.ids import new_id

WORDS = ("invoice", "report", "contract", "photo", "letter", "scan", "فاتورة", "عقد")
RARE = "quarterly-zebra-plan.xlsx"
DEEP = "/deep/a/b/c/d/e/f/g/h"
EACH = 100  # files in a folder


@dataclass(frozen=True)
class Extent:
    """How large it is."""

    paths: int  # files that are there in each point
    mail: int  # of them, those in one folder
    points: int
    period: int  # one file of so many changes in a point
    fresh: int  # files that come with each point
    stay: int  # points for which those stay


def history(session: Session, tenant: UUID, source: UUID, extent: Extent, last: datetime) -> None:
    """A point a day, the last one then; stored and verified in each region of the tenant."""
    mine = select(Repository).where(Repository.tenant_id == tenant).order_by(Repository.id)
    repositories = session.execute(mine).scalars().all()
    policy = session.execute(select(Policy).where(Policy.tenant_id == tenant)).scalars().first()
    assert policy is not None
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number in range(1, extent.points + 1):
        at = last - timedelta(days=extent.points - number)
        for kind, row in _point(tenant, source, number, at, policy.id, extent):
            rows.setdefault(kind, []).append(row)
        point = rows[Point][-1]["id"]
        _places(rows, point, repositories, at)
    order = (BackupRun, Point, Snapshot, PointSource, Copy)
    for kind in order:
        session.execute(insert(kind), rows[kind])


def _point(
    tenant: UUID, source: UUID, number: int, at: datetime, policy: UUID, extent: Extent
) -> Sequence[tuple[Any, dict[str, Any]]]:
    day: date = at.date()
    shared = {"tenant_id": tenant, "policy_id": policy, "local_date": day, "cadences": ["daily"]}
    run = new_id()
    changes = {
        "added": extent.fresh,
        "removed": extent.fresh if number > extent.stay else 0,
        "changed": extent.paths // extent.period,
    }
    return [
        (
            BackupRun,
            {
                **shared,
                "id": run,
                "state": RunState.STORED,
                "trigger": Trigger.SCHEDULE,
                "full": False,
                "asked_by": "test",
                "asked_at": at,
                "due_at": at,
            },
        ),
        (
            Point,
            {
                **shared,
                "id": run,
                "number": number,
                "outcome": Outcome.COMPLETE,
                "kind": Trigger.SCHEDULE,
                "taken_at": at,
                "first_seen_at": at,
                "bytes": 10**9,
                "added_bytes": 10**7,
                "entries": extent.paths,
            },
        ),
        (
            PointSource,
            {
                "id": new_id(),
                "tenant_id": tenant,
                "point_id": run,
                "source_id": source,
                "outcome": Outcome.COMPLETE,
                "seconds": 1.0,
                "catalogued_at": at,
                "changes": changes,
            },
        ),
    ]


def _places(
    rows: dict[Any, list[dict[str, Any]]],
    point: UUID,
    repositories: Sequence[Repository],
    at: datetime,
) -> None:
    part = rows[PointSource][-1]
    tenant = part["tenant_id"]
    for repository in repositories:
        snapshot = {
            "id": new_id(),
            "tenant_id": tenant,
            "source_id": part["source_id"],
            "repository_id": repository.id,
            "origin_id": part.get("snapshot_id"),
            "restic_id": new_id().hex * 2,
            "taken_at": at,
            "bytes": 10**9,
            "files": 1,
            "added_bytes": 10**7,
            "checked_at": at,
            "verified_at": at,
        }
        part.setdefault("snapshot_id", snapshot["id"])
        rows.setdefault(Snapshot, []).append(snapshot)
        copy = {
            "id": new_id(),
            "tenant_id": tenant,
            "point_id": point,
            "region_id": repository.region_id,
            "repository_id": repository.id,
            "state": CopyState.STORED,
            "stored_at": at,
            "due_at": at,
        }
        rows.setdefault(Copy, []).append(copy)


_FILES = """
insert into catalogue_paths
    (id, tenant_id, source_id, path, parent, folded, folder, place, since)
select uuidv7(), :tenant, :source, f.parent || '/' || f.name, f.parent, f.folded, false, f.i, 1
from (
    select i,
        case when i < :mail then '/mail'
             when i >= :paths - 100 then :deep
             else '/d' || ((i - :mail) / 100) % 10 || '/s' || ((i - :mail) / 1000) % 30
                  || '/f' || (i - :mail) / 30000 end as parent,
        case when i = :paths / 2 then :rare
             else (cast(:words as text[]))[i % 8 + 1] || '-' || lpad(i::text, 7, '0') || '.pdf'
             end as name,
        case when i = :paths / 2 then :rare
             else (cast(:folded as text[]))[i % 8 + 1] || '-' || lpad(i::text, 7, '0') || '.pdf'
             end as folded
    from generate_series(0, :paths - 1) i) f
order by f.i
"""
_FOLDERS = """
insert into catalogue_paths
    (id, tenant_id, source_id, path, parent, folded, folder, place, since)
select uuidv7(), :tenant, :source, d.path,
       coalesce(nullif(regexp_replace(d.path, '/[^/]*$', ''), ''), '/'),
       regexp_replace(d.path, '^.*/', ''), true, :paths - 1 + d.number, 1
from unnest(cast(:folders as text[])) with ordinality d (path, number)
"""
_FRESH = """
insert into catalogue_paths
    (id, tenant_id, source_id, path, parent, folded, folder, place, since, until)
select uuidv7(), :tenant, :source, '/inbox/' || f.name, '/inbox', f.name, false,
       :after + (f.n - 2) * :fresh + f.i, f.n,
       case when f.n + :stay <= :points then f.n + :stay end
from (
    select n, i, 'fresh-' || n || '-' || i || '.txt' as name
    from generate_series(2, :points) n, generate_series(1, :fresh) i
    order by n, i) f
"""
_VERSIONS = """
insert into catalogue_versions
    (id, tenant_id, source_id, path_id, parent_key, born, since, until, kind, size, changed_at,
     content)
select uuidv7(), :tenant, :source, p.id, p.parent_key, p.since, s.since,
       case when p.folder or p.until is not null then p.until
            when p.since > 1 then null
            when s.following <= :points then s.following end,
       case when p.folder then 'dir' else 'file' end,
       case when p.folder then 0 else (p.place::bigint * 7919 + s.since) % 1000003 end,
       case when not p.folder then
            timestamptz '2025-01-01' + ((p.place::bigint * 104729 + s.since) % 31536000)
            * interval '1 second' end,
       'v' || s.since
from (
    select *, case when place % :period >= 2 then place % :period
                   else place % :period + :period end as first
    from catalogue_paths where source_id = :source and tenant_id = :tenant) p,
lateral (
    select p.since as since, p.first as following
    union all
    select n, n + :period from generate_series(p.first, :points, :period) n
    where not p.folder and p.since = 1) s
"""


def contents(session: Session, tenant: UUID, source: UUID, extent: Extent) -> None:
    """The catalogue of those points, without the index of names."""
    folders = _folders(extent)
    about = {
        "tenant": tenant,
        "source": source,
        "paths": extent.paths,
        "mail": extent.mail,
        "points": extent.points,
        "period": extent.period,
        "fresh": extent.fresh,
        "stay": extent.stay,
        "deep": DEEP,
        "rare": RARE,
        "words": list(WORDS),
        "folded": [names.folded(word) for word in WORDS],
        "folders": folders,
        "after": extent.paths + len(folders),
    }
    for statement in (_FILES, _FOLDERS, _FRESH, _VERSIONS):
        session.execute(text(statement), about)


def _folders(extent: Extent) -> list[str]:
    found = {"/mail", "/inbox", "/deep"}
    for number in range(0, max(0, extent.paths - extent.mail - EACH), EACH):
        top, middle = f"/d{number // 100 % 10}", f"/s{number // 1000 % 30}"
        found |= {top, top + middle, f"{top}{middle}/f{number // 30000}"}
    parts = DEEP.split("/")
    found |= {"/".join(parts[:depth]) for depth in range(2, len(parts) + 1)}
    return sorted(found)
