"""Ten thousand tenants with months behind them, made inside of PostgreSQL: what the console reads.

One tenant is made by the product; what it has is copied row by row with keys of its own for each
tenant and day. Some are in trouble, by number: a run that failed, silence, no source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from web.models import METADATA

STEPS = 5  # of each run
FAILED_EVERY = 53  # of the runs one has failed, spread over tenants and days
SILENT_EVERY = 97  # of the tenants one was not backed up for SILENT_DAYS
SILENT_DAYS = 3
BARE_EVERY = 499  # of the tenants one has no source
TABLES = (
    *("tenants", "policies", "sources", "repositories", "schedules", "rotas"),
    *("backup_runs", "points", "point_sources", "snapshots", "copies", "slots", "steps", "proofs"),
)


@dataclass(frozen=True)
class Extent:
    """How many there are, and for how long."""

    tenants: int
    days: int


# The same key for the same row of the same tenant, wherever it is asked for; runs by their time.
_FUNCTIONS = """
create function pg_temp.own(id uuid, n bigint) returns uuid language sql immutable as
$$ select md5(id::text || '/' || n)::uuid $$;
create function pg_temp.own(id uuid, n bigint, d bigint) returns uuid language sql immutable as
$$ select md5(id::text || '/' || n || '/' || d)::uuid $$;
create function pg_temp.timed(at timestamptz, n bigint) returns uuid language sql immutable as
$$ select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
           || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid $$
"""
_CROWD = """
create temporary table crowd as
select n, pg_temp.own(:model, n) as tenant, :now - interval '1 hour' - n % 600 * interval '1 minute'
    as last
from generate_series(1, :tenants) n
"""
_DAYS = f"""
create temporary table happened as
select n, d, tenant, last - d * interval '1 day' as at,
       pg_temp.timed(last - d * interval '1 day', n) as run,
       (n * 7 + d * 13) % {FAILED_EVERY} = 0 as failed
from crowd, generate_series(0, :days - 1) d
where n % {BARE_EVERY} <> 0 and not (n % {SILENT_EVERY} = 0 and d < {SILENT_DAYS})
"""
SPREAD = ":now + c.n % 1440 * interval '1 minute'"  # over the coming day
_OF_TENANTS = {  # table: the columns that differ from the model's row m, for the tenant c
    "policies": {"id": "pg_temp.own(m.id, c.n)", "tenant_id": "c.tenant"},
    "sources": {"id": "pg_temp.own(m.id, c.n)", "tenant_id": "c.tenant"},
    "repositories": {
        "id": "pg_temp.own(m.id, c.n)",
        "tenant_id": "c.tenant",
        "due_at": "null",
        "prefix": "'t/' || c.tenant || '/r/' || pg_temp.own(m.id, c.n) || '/'",
    },
    "schedules": {
        "id": "pg_temp.own(m.id, c.n)",
        "tenant_id": "c.tenant",
        "next_at": f"case when c.n % {SILENT_EVERY} = 0 "
        f"then c.last - interval '{SILENT_DAYS - 1} days' else {SPREAD} end",
    },
    "rotas": {
        "id": "pg_temp.own(m.id, c.n)",
        "tenant_id": "c.tenant",
        "repository_id": "pg_temp.own(m.repository_id, c.n)",
        "due_at": SPREAD,
    },
}
_OF_DAYS = {  # the same, for what happened to a tenant on a day: h
    "backup_runs": {
        "id": "h.run",
        "tenant_id": "h.tenant",
        "policy_id": "pg_temp.own(m.policy_id, h.n)",
        "local_date": "h.at::date",
        "asked_at": "h.at",
        "started_at": "h.at",
        "due_at": "h.at",
        "ended_at": "h.at + interval '90 seconds'",
        "state": "case when h.failed then 'failed' else 'stored' end",
        "failure": "case when h.failed then "
        "jsonb_build_object('code', 'source-unreachable', 'message', 'down') end",
    },
    "points": {
        "id": "h.run",
        "tenant_id": "h.tenant",
        "policy_id": "pg_temp.own(m.policy_id, h.n)",
        "number": ":days - h.d",
        "local_date": "h.at::date",
        "taken_at": "h.at",
        "first_seen_at": "h.at",
    },
    "snapshots": {
        "id": "pg_temp.own(m.id, h.n, h.d)",
        "tenant_id": "h.tenant",
        "source_id": "pg_temp.own(m.source_id, h.n)",
        "repository_id": "pg_temp.own(m.repository_id, h.n)",
        "origin_id": "pg_temp.own(m.origin_id, h.n, h.d)",
        "restic_id": "md5(h.run::text)",
        "taken_at": "h.at",
        "checked_at": "h.at",
        "verified_at": "h.at",
    },
    "point_sources": {
        "id": "pg_temp.own(m.id, h.n, h.d)",
        "tenant_id": "h.tenant",
        "point_id": "h.run",
        "source_id": "pg_temp.own(m.source_id, h.n)",
        "snapshot_id": "pg_temp.own(m.snapshot_id, h.n, h.d)",
    },
    "copies": {
        "id": "pg_temp.own(m.id, h.n, h.d)",
        "tenant_id": "h.tenant",
        "point_id": "h.run",
        "repository_id": "pg_temp.own(m.repository_id, h.n)",
        "stored_at": "h.at",
        "due_at": "h.at",
    },
}
_SLOTS = """
insert into slots (id, tenant_id, schedule_id, at, local_date, outcome, run_id)
select pg_temp.own(m.id, h.n, h.d), h.tenant, pg_temp.own(m.id, h.n), h.at, h.at::date, 'run', h.run
from schedules m, happened h
where m.tenant_id = :model and (m.cadence = 'daily' or extract(dow from h.at) = 5)
"""
_STEPS = f"""
insert into steps (id, tenant_id, of, row_id, old, new, code, params, by, at)
select pg_temp.timed(h.at + s * interval '1 second', h.n), h.tenant, 'backup_runs', h.run,
       'queued', 'making', 'ok', '{{}}', 'system:worker', h.at + s * interval '1 second'
from happened h, generate_series(1, {STEPS}) s
"""
_PROOFS = """
insert into proofs (id, tenant_id, copy_id, level, state, asked_by, due_at, ended_at, seconds, bytes)
select pg_temp.own(m.id, -h.n, h.d), h.tenant, pg_temp.own(m.id, h.n, h.d), 'share', 'passed',
       'rota', h.at, h.at + interval '1 minute', 3, 1000000
from copies m, happened h
where m.tenant_id = :model and h.d % 7 = 0 and not h.failed
"""
_TENANT = {
    "id": "c.tenant",
    "slug": "'customer-' || lpad(c.n::text, 5, '0')",
    "name": "'Customer ' || c.n",
    "plan_version_id": "(select (array_agg(id order by code, version))[1 + c.n % count(*)::int] "
    "from plan_versions)",
    "created_at": ":now - interval '400 days'",
}


def gather(session: Session, model: UUID, extent: Extent, now: datetime) -> None:
    """Many like the tenant `model`, which has one point. As a superuser without triggers."""
    about = {
        "model": model,
        "tenants": extent.tenants,
        "days": extent.days,
        "now": now - timedelta(minutes=5),
    }
    for statement in (*_FUNCTIONS.split(";"), _CROWD, _DAYS):
        session.execute(text(statement), about)
    _copy(session, about, "tenants", _TENANT, "crowd c where m.id = :model")
    for table, own in _OF_TENANTS.items():
        but = f"and c.n % {BARE_EVERY} <> 0" if table == "sources" else ""
        _copy(session, about, table, own, f"crowd c where m.tenant_id = :model {but}")
    for table, own in _OF_DAYS.items():
        but = "" if table == "backup_runs" else "and not h.failed"
        _copy(session, about, table, own, f"happened h where m.tenant_id = :model {but}")
    for statement in (_SLOTS, _STEPS, _PROOFS):
        session.execute(text(statement), about)


def _copy(
    session: Session, about: Mapping[str, Any], table: str, own: Mapping[str, str], of: str
) -> None:
    """The model's rows for all of them, with columns of their own."""
    names = [each.name for each in METADATA.tables[table].columns]
    values = ", ".join(own.get(name, f'm."{name}"') for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    session.execute(
        text(f"insert into {table} ({columns}) select {values} from {table} m, {of}"), about
    )
