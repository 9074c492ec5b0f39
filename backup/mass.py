"""A pass of retention that would take too much at once waits for a person's word.

The word is for exactly the points that were shown: a pass that would take others asks again.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import findings, guards
from backup.findings import Sight
from backup.guards import MassRemoval
from backup.models import Finding
from backup.retention import Decision, Verdict
from backup.states import Decision as Word

SHARE = 0.34  # the most of a tenant's points that one pass may take

log = structlog.get_logger(__name__)


def allowed(session: Session, tenant: UUID, decision: Decision, *, now: datetime) -> bool:
    """Whether the pass may go on; if not, a finding says so and asks."""
    losing = {str(verdict.point.id) for verdict in decision.verdicts if _loses(verdict)}
    refused = _refusal(decision)
    if refused is None or losing <= _accepted(session, tenant):
        findings.report(session, tenant, [], codes=[MassRemoval.code], repository=None, now=now)
        return True
    params = {**refused.params, "points": sorted(losing)}
    sight = Sight(MassRemoval.code, "retention", params=params)
    findings.report(session, tenant, [sight], codes=[MassRemoval.code], repository=None, now=now)
    log.error("retention waits for a person", tenant=str(tenant), error=refused.message)
    return False


def _refusal(decision: Decision) -> MassRemoval | None:
    try:
        guards.guard(decision, share=SHARE)
    except MassRemoval as refused:
        return refused
    return None


def _loses(verdict: Verdict) -> bool:
    return bool(not verdict.keep or verdict.without)


def _accepted(session: Session, tenant: UUID) -> set[str]:
    """The points of the last pass that a person let through."""
    params = session.execute(
        select(Finding.params)
        .where(
            Finding.tenant_id == tenant,
            Finding.code == MassRemoval.code,
            Finding.decision == Word.ACCEPTED,
        )
        .order_by(Finding.settled_at.desc())
        .limit(1)
    ).scalar()
    return set((params or {}).get("points", ()))
