"""Mending a repository in which damage was seen, from a region that is whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Finding, Healing, Pack
from backup.states import HealingState
from strongroom.actors import WORKER, Actor
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record

MISSING = "data-missing"  # no region has it now; the next backup stores again what still exists
OPEN = (HealingState.WAITING, HealingState.HEALING, HealingState.QUARANTINED)


def want(
    session: Session,
    tenant: UUID,
    repository_id: UUID,
    *,
    seen: Mapping[str, Any],
    by: Actor,
    now: datetime,
) -> Healing:
    """Have the repository mended; one attempt at a time, which looks at all that is wrong."""
    row = _open(session, tenant, repository_id)
    if row is None:
        row = Healing(
            id=new_id(),
            tenant_id=tenant,
            repository_id=repository_id,
            state=HealingState.WAITING,
            seen=dict(seen),
            asked_by=str(by),
            asked_at=now,
            due_at=now,
        )
        session.add(row)
        session.flush()
        record(session, row, old="", move=Move(by=by, at=now, reason=Reason("damage-seen")))
    elif row.state is HealingState.WAITING:
        row.seen = _together(row.seen, seen)
    return row


def close(
    session: Session, tenant: UUID, repository_id: UUID, *, report: Mapping[str, Any], now: datetime
) -> None:
    """End a healing that nobody needs any more, for what was gone lies there again.

    Only under the repository's lease: who has taken the healing can then have done nothing yet,
    and finds a higher fence. Packs that were read and found damaged are still for the healing.
    """
    row = _open(session, tenant, repository_id, lock=True)
    if row is None or row.state is HealingState.QUARANTINED or _has_damaged(session, repository_id):
        return
    values = {
        "ended_at": now,
        "report": {**(row.report or {}), **report},
        "failure": None,
        "fence": row.fence + 1,
        "owner": None,
        "lease_until": None,
    }
    move = Move(by=WORKER, at=now, reason=Reason("undeleted"), values=values)
    advance(session, row, HealingState.HEALED, move)


def _has_damaged(session: Session, repository_id: UUID) -> bool:
    damaged = select(Pack.name).where(Pack.repository_id == repository_id, Pack.whole.is_(False))
    return session.execute(damaged.limit(1)).first() is not None


def is_open(session: Session, tenant: UUID, repository_id: UUID) -> bool:
    """Whether damage was seen there that has not been dealt with yet."""
    return _open(session, tenant, repository_id) is not None


def _open(
    session: Session, tenant: UUID, repository_id: UUID, *, lock: bool = False
) -> Healing | None:
    wanted = select(Healing).where(
        Healing.tenant_id == tenant,
        Healing.repository_id == repository_id,
        Healing.state.in_(OPEN),
    )
    return session.execute(wanted.with_for_update() if lock else wanted).scalar_one_or_none()


def _together(earlier: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """What was seen before and what is seen now; lists of names grow."""
    found = {**earlier, **seen}
    for name in set(earlier).intersection(seen):
        if isinstance(earlier[name], list) and isinstance(seen[name], list):
            found[name] = [*dict.fromkeys([*earlier[name], *seen[name]])]
    return found


def rereads(session: Session, tenant: UUID, repository_id: UUID) -> bool:
    """Whether the next backup is to read everything again: what is lost may still be at the source."""
    return (
        session.execute(
            select(Finding.id).where(
                Finding.tenant_id == tenant,
                Finding.repository_id == repository_id,
                Finding.code == MISSING,
                Finding.settled_at.is_(None),
            )
        ).first()
        is not None
    )
