"""The tenant's own signed record, in each region where it has a repository.

With it, and the records of the repositories, a platform is built again without any database: who the
tenant is, its plan and policy, its sources with what they may name, and their passwords, wrapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import key_records, places, planning, point_records, repositories
from backup.key_records import Wanted
from backup.models import AllowedPlace, Source
from strongroom import escrow
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import PlanVersion, Tenant

KIND = "tenant"
COLUMNS = ("slug", "name", "country", "zone", "locale", "pack", "keep_in", "own_schedule")


def refresh(runtime: Runtime, tenant: UUID) -> int:
    """Write the tenant's record where it is missing or out of date, and those of its repositories.

    Gives how many were written; raises what `key_records.refresh` raises.
    """
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        escrow.complete(session, runtime.vault, tenant, now=runtime.now())
        body = body_of(session, session.get_one(Tenant, tenant))
        wanted = [
            Wanted(region, tenant, {**body, "region": region.name})
            for _row, region in repositories.of_tenant(session, tenant)
        ]
    written = key_records.keep(
        runtime, tenant, {each.region.name: each for each in wanted}.values()
    )
    written += key_records.refresh(runtime, tenant)
    point_records.tidy(runtime, tenant)
    return written


def body_of(session: Session, tenant: Tenant) -> dict[str, Any]:
    """What the record says, without its region."""
    plan = session.get_one(PlanVersion, tenant.plan_version_id)
    policy = planning.current_policy(session, tenant.id)
    return {
        "kind": KIND,
        "tenant": str(tenant.id),
        "subject": str(tenant.id),
        **{name: getattr(tenant, name) for name in COLUMNS},
        "canary": tenant.canary,
        "created_at": tenant.created_at.isoformat(),
        "plan": {"code": plan.code, "version": plan.version, "name": plan.name, "body": plan.body},
        "policy": {
            "version": policy.version,
            "body": policy.body,
            "zone": policy.zone,
            "cites": policy.cites,
        },
        "places": _places(session, tenant.id),
        "sources": _sources(session, tenant.id),
    }


def _places(session: Session, tenant: UUID) -> list[dict[str, str]]:
    rows = session.execute(
        select(AllowedPlace)
        .where(AllowedPlace.tenant_id == tenant)
        .order_by(AllowedPlace.kind, AllowedPlace.value)
    ).scalars()
    return [{"kind": str(r.kind), "value": r.value, "added_by": r.added_by} for r in rows]


def _sources(session: Session, tenant: UUID) -> list[Mapping[str, Any]]:
    rows = session.execute(
        select(Source).where(Source.tenant_id == tenant).order_by(Source.id)
    ).scalars()
    return [
        {
            "id": str(row.id),
            "kind": row.kind,
            "name": row.name,
            "options": row.options,
            "ceiling_days": row.ceiling_days,
            "transit": row.transit,
            "added_at": row.added_at.isoformat(),
            "removed_at": None if row.removed_at is None else row.removed_at.isoformat(),
            **key_records.secret_json(session, tenant, row.id, places.PASSWORD),
        }
        for row in rows
    ]
