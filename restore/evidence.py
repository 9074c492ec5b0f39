"""A restore as a document: who asked for what, why, what was done, and how that is known.

Names of paths and tables are the tenant's data: they are in it only for those who may see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Point, Source
from restore import undoing
from restore.models import Restore
from strongroom.lifecycle import Step

# Of a report, what holds no name of the tenant's.
FIGURES = frozenset(
    {
        *("files", "bytes", "entries", "left_out_count", "rows", "seconds", "bring_seconds"),
        *("region", "verified", "passed_over", "proof", "safety_point", "no_safety_point"),
        *(
            "dry_run",
            "would_restore",
            "would_appear",
            "would_change",
            "unchanged",
            "would_delete",
            "items",
        ),
        *("total_bytes", "counts", "estimated_seconds", "estimated_from", "source_gone"),
    }
)


def document(session: Session, row: Restore, *, names: bool) -> dict[str, Any]:
    """All that is known of one restore; `names` for those who may see them."""
    source = session.get_one(Source, row.source_id)
    point = session.get_one(Point, row.point_id)
    plan = None if row.plan_id is None else session.get_one(Restore, row.plan_id)
    other = undoing.undone_by(session, row)
    return {
        "restore": str(row.id),
        "tenant": str(row.tenant_id),
        "state": str(row.state),
        "source": {"id": str(source.id), "name": source.name, "kind": source.kind},
        "point": {"id": str(point.id), "number": point.number, "taken_at": _iso(point.taken_at)},
        "destination": str(row.destination),
        "chosen": _chosen(row, names=names),
        "asked_by": row.asked_by,
        "asked_at": _iso(row.asked_at),
        "reason": row.reason,
        "decided_by": row.decided_by,
        "decided_at": _iso(row.decided_at),
        "ended_at": _iso(row.ended_at),
        "plan": None if plan is None else _plan(plan, names=names),
        "report": report(row.report, names=names),
        "failure": failure(row.failure, names=names),
        "safety_point": str(row.safety_run_id) if row.safety_run_id else None,
        "undoes": str(row.undoes_id) if row.undoes_id else None,
        "undone_by": None if other is None else str(other.id),
        "steps": [_step(each) for each in steps(session, row)],
    }


def steps(session: Session, row: Restore) -> list[Step]:
    """What became of it, in order."""
    wanted = select(Step).where(Step.row_id == row.id).order_by(Step.id)
    return list(session.execute(wanted).scalars())


def report(found: Mapping[str, Any] | None, *, names: bool) -> dict[str, Any] | None:
    """Without names, its figures. Pure."""
    if found is None or names:
        return None if found is None else dict(found)
    return {key: value for key, value in found.items() if key in FIGURES}


def failure(found: Mapping[str, Any] | None, *, names: bool) -> dict[str, Any] | None:
    """Without names, its code. Pure."""
    if found is None:
        return None
    return dict(found) if names else {"code": found.get("code")}


def _chosen(row: Restore, *, names: bool) -> dict[str, Any]:
    count = len(row.paths) + len(row.tables)
    if not names:
        return {"everything": count == 0, "count": count}
    return {"everything": count == 0, "paths": row.paths, "tables": row.tables}


def _plan(plan: Restore, *, names: bool) -> dict[str, Any]:
    return {
        "plan": str(plan.id),
        "asked_by": plan.asked_by,
        "made_at": _iso(plan.ended_at),
        "said": report(plan.report, names=names),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "old": step.old,
        "new": step.new,
        "because": step.code,
        "by": step.by,
        "at": _iso(step.at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
