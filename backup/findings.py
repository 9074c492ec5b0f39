"""What a person has to look at: seen by us, open until settled, and told once.

Whoever looks says what is there now (`report`): what is new opens a finding, what is still there
is dated, what is no longer seen settles by itself as GONE. A finding that `freezes` stands before
every removal of the tenant, like a hold, until a person accepts or rejects it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from backup.models import Finding
from backup.states import Decision
from strongroom.actors import WORKER, Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sight:
    """Something seen; code and subject together say what it is."""

    code: str
    subject: str  # an object's key, a restic id, a source's id
    params: Mapping[str, Any] = field(default_factory=dict)
    repository: UUID | None = None
    point: UUID | None = None
    source: UUID | None = None
    freezes: bool = False


def see(session: Session, tenant: UUID, sight: Sight, *, now: datetime) -> Finding:
    """Open a finding, or date the open one of the same code and subject."""
    row = session.execute(
        _open(tenant).where(Finding.code == sight.code, Finding.subject == sight.subject)
    ).scalar_one_or_none()
    if row is None:
        row = Finding(
            id=new_id(),
            tenant_id=tenant,
            repository_id=sight.repository,
            point_id=sight.point,
            source_id=sight.source,
            code=sight.code,
            subject=sight.subject,
            params=dict(sight.params),
            freezes=sight.freezes,
            first_seen_at=now,
            last_seen_at=now,
        )
        session.add(row)
        session.flush()
        log.error("something needs a person", code=sight.code, subject=sight.subject)
    row.last_seen_at = now
    row.params = dict(sight.params)
    return row


def report(
    session: Session,
    tenant: UUID,
    sights: Iterable[Sight],
    *,
    codes: Sequence[str],
    repository: UUID | None,
    now: datetime,
) -> list[Finding]:
    """All that is seen now of these codes there; what was open and is not among it is GONE."""
    seen = [see(session, tenant, sight, now=now) for sight in sights]
    ids = {row.id for row in seen}
    earlier = session.execute(
        _open(tenant).where(Finding.code.in_(codes), Finding.repository_id == repository)
    ).scalars()
    for row in earlier:
        if row.id not in ids:
            _settle(row, Decision.GONE, by=WORKER, now=now)
    return seen


def settle(
    session: Session,
    which: tuple[UUID, UUID],
    decision: Decision,
    *,
    by: Actor,
    note: str,
    now: datetime,
) -> Finding:
    """A person's word on a tenant's finding, named by both ids. Raises NotFound when it is not open, BadValue without a note."""
    if not note.strip():
        raise BadValue("Say why with --note; whoever finds it later has to understand it.")
    tenant, finding = which
    row: Finding | None = session.execute(
        _open(tenant).where(Finding.id == finding)
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(
            f"No finding {finding} is open. `strongroom finding list` shows those that are.",
            code="no-finding",
        )
    _settle(row, decision, by=by, now=now, note=note)
    said = {"finding": row.code, "note": note}
    deed = Deed(f"findings.{decision}", "findings", row.id, details=said)
    entries.note(session, deed, by=by, at=now)
    return row


def open_of(session: Session, tenant: UUID, *, freezing: bool = False) -> Sequence[Finding]:
    """The open findings of a tenant, oldest first."""
    wanted = _open(tenant).order_by(Finding.first_seen_at, Finding.id)
    if freezing:
        wanted = wanted.where(Finding.freezes)
    return session.execute(wanted).scalars().all()


def is_open(session: Session, tenant: UUID, codes: Sequence[str]) -> bool:
    """Whether any finding of these codes is open."""
    found = _open(tenant).where(Finding.code.in_(codes)).limit(1)
    return session.execute(found).first() is not None


def _open(tenant: UUID) -> Select[Any]:
    return select(Finding).where(Finding.tenant_id == tenant, Finding.settled_at.is_(None))


def _settle(
    row: Finding, decision: Decision, *, by: Actor, now: datetime, note: str | None = None
) -> None:
    row.settled_at, row.settled_by = now, str(by)
    row.decision, row.note = decision, note
