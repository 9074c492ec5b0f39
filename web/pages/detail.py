"""One tenant for its page: sources, work, failures, missed slots, points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select, true
from sqlalchemy.orm import Session

from backup import findings
from backup.models import (
    BackupRun,
    Copy,
    Hold,
    PointSource,
    Policy,
    Proof,
    Removal,
    Schedule,
    Slot,
    Source,
)
from backup.states import (
    CopyState,
    Outcome,
    ProofState,
    RemovalState,
    RunState,
    SlotOutcome,
)
from restore.models import Restore
from restore.states import RestoreState
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import health, readings, rehearsed
from web.health import Counts, Health, said_why
from web.pages import findings as finding_lines
from web.pages.findings import FindingLine
from web.rehearsed import LastDrill

LATELY = timedelta(days=30)
MOST = 20  # failures and missed slots that are listed


@dataclass(frozen=True)
class SourceLine:
    """A source, and what came of it last."""

    name: str
    kind: str
    place: str  # folder or address; never a password
    outcome: str | None  # in the last run that came to it
    at: datetime | None


@dataclass(frozen=True)
class WorkLine:
    """Something that goes on now."""

    what: str  # as health.Working has it
    phase: str
    percent: int | None = None
    bytes: int | None = None  # done
    total: int | None = None  # to do, as far as it is known
    where: str | None = None  # region
    since: datetime | None = None


@dataclass(frozen=True)
class FailureLine:
    """Something that did not go well."""

    what: str  # as health.Working has it, or "removal"
    at: datetime | None
    code: str
    message: str | None  # as it was written down
    where: str | None = None  # source or region
    again: datetime | None = None  # when it is tried again


@dataclass(frozen=True)
class MissedSlot:
    """A moment at which a backup was due and none was made."""

    at: datetime
    local_date: date
    cadence: str


@dataclass(frozen=True)
class Detail:
    """Everything the page shows."""

    tenant: Tenant
    health: Health
    counts: Counts
    policy: Policy
    upcoming: datetime | None  # when the next backup is due
    holds: Sequence[Hold]
    sources: Sequence[SourceLine]
    work: Sequence[WorkLine]
    drill: LastDrill | None  # None: none has come to an end yet
    findings: Sequence[FindingLine]  # open ones
    failures: Sequence[FailureLine]
    missed: Sequence[MissedSlot]
    points: Sequence[Mapping[str, Any]]  # as readings.points has them


def read(runtime: Runtime, slug: str) -> Detail | None:
    """None if there is no such tenant."""
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR) as session:
        tenant = session.execute(select(Tenant).where(Tenant.slug == slug)).scalar_one_or_none()
    if tenant is None:
        return None
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        (standing,) = health.read(session, now=now, tenants=[tenant.id])
        work = _work(session, tenant.id)
        return Detail(
            tenant=tenant,
            health=standing,
            counts=health.count_points(session, [tenant.id]).get(tenant.id, Counts()),
            policy=_policy(session, tenant.id),
            upcoming=_upcoming(session, tenant.id),
            holds=_holds(session, tenant.id, now),
            sources=_sources(session, tenant.id),
            work=work,
            drill=rehearsed.last_of(session, [tenant.id]).get(tenant.id),
            findings=finding_lines.lines(findings.open_of(session, tenant.id)),
            failures=_failures(session, tenant.id, since=now - LATELY),
            missed=_missed(session, tenant.id, since=now - LATELY),
            points=[
                each
                for each in readings.points(runtime, tenant, everything=True)
                if each["kept_by"] or _failed_lately(each, now)
            ],
        )


def _failed_lately(point: Mapping[str, Any], now: datetime) -> bool:
    """A failed one holds nothing, but a gap in the numbers would raise questions."""
    taken = datetime.fromisoformat(point["taken_at"])
    return point["outcome"] == Outcome.FAILED and taken > now - LATELY


def _policy(session: Session, tenant: UUID) -> Policy:
    return session.execute(
        select(Policy).where(Policy.tenant_id == tenant).order_by(Policy.version.desc()).limit(1)
    ).scalar_one()


def _upcoming(session: Session, tenant: UUID) -> datetime | None:
    return session.execute(
        select(Schedule.next_at)
        .where(Schedule.tenant_id == tenant)
        .order_by(Schedule.next_at)
        .limit(1)
    ).scalar_one_or_none()


def _holds(session: Session, tenant: UUID, now: datetime) -> Sequence[Hold]:
    rows = session.execute(
        select(Hold)
        .where(Hold.tenant_id == tenant, Hold.released_at.is_(None))
        .order_by(Hold.placed_at)
    ).scalars()
    return [row for row in rows if row.until is None or row.until > now]


def _sources(session: Session, tenant: UUID) -> list[SourceLine]:
    last = (
        select(PointSource.outcome, BackupRun.ended_at)
        .join(BackupRun, BackupRun.id == PointSource.point_id)
        .where(
            PointSource.tenant_id == tenant,
            BackupRun.tenant_id == tenant,
            PointSource.source_id == Source.id,
        )
        .order_by(PointSource.point_id.desc())
        .limit(1)
        .lateral()
    )
    rows = session.execute(
        select(Source, last.c.outcome, last.c.ended_at)
        .outerjoin(last, true())
        .where(Source.tenant_id == tenant, Source.removed_at.is_(None))
        .order_by(Source.name)
    )
    return [
        SourceLine(
            name=row.Source.name,
            kind=row.Source.kind,
            place=str(row.Source.options.get("path") or row.Source.options.get("dsn") or ""),
            outcome=None if row.outcome is None else str(row.outcome),
            at=row.ended_at,
        )
        for row in rows
    ]


def _work(session: Session, tenant: UUID) -> list[WorkLine]:
    runs = session.execute(
        select(BackupRun)
        .where(
            BackupRun.tenant_id == tenant,
            BackupRun.state.in_([RunState.QUEUED, RunState.MAKING]),
        )
        .order_by(BackupRun.id)
    ).scalars()
    copies = session.execute(
        select(Copy, Region.name)
        .join(Region, Region.id == Copy.region_id)
        .where(Copy.tenant_id == tenant, Copy.state == CopyState.COPYING)
    )
    proofs = session.execute(
        select(Proof, Region.name)
        .join(Copy, Copy.id == Proof.copy_id)
        .join(Region, Region.id == Copy.region_id)
        .where(Proof.tenant_id == tenant, Proof.state == ProofState.PROVING)
    )
    restores = session.execute(
        select(Restore).where(
            Restore.tenant_id == tenant,
            Restore.state.in_([RestoreState.WAITING, RestoreState.RUNNING]),
        )
    ).scalars()
    return [
        *(_run(row) for row in runs),
        *(WorkLine("copy", str(row.state), where=region) for row, region in copies),
        *(WorkLine("proof", str(row.state), where=region) for row, region in proofs),
        *(
            WorkLine("restore", str(row.phase or row.state), since=row.asked_at, where=row.region)
            for row in restores
        ),
    ]


def _run(row: BackupRun) -> WorkLine:
    seen = row.progress if row.state is RunState.MAKING and row.progress else {}
    return WorkLine(
        what="backup",
        phase=str(row.state),
        percent=seen.get("percent"),
        bytes=seen.get("bytes"),
        total=seen.get("total"),
        since=row.started_at or row.asked_at,
    )


def _failures(session: Session, tenant: UUID, *, since: datetime) -> list[FailureLine]:
    """What did not go well lately, the newest first; what is tried again comes before."""
    ended = [
        *_failed_runs(session, tenant, since),
        *_failed_proofs(session, tenant, since),
        *_failed_restores(session, tenant, since),
    ]
    ended.sort(key=lambda line: line.at or since, reverse=True)
    return [*_held_up(session, tenant), *ended][:MOST]


def _failed_runs(session: Session, tenant: UUID, since: datetime) -> Iterator[FailureLine]:
    """A line for each source that failed; for a run that never came to a source, one for it."""
    rows = session.execute(
        select(BackupRun, PointSource, Source.name)
        .outerjoin(
            PointSource,
            and_(
                PointSource.tenant_id == BackupRun.tenant_id,
                PointSource.point_id == BackupRun.id,
                said_why(PointSource.failure),
            ),
        )
        .outerjoin(Source, Source.id == PointSource.source_id)
        .where(
            BackupRun.tenant_id == tenant,
            said_why(BackupRun.failure),
            BackupRun.asked_at > since,
        )
        .order_by(BackupRun.id.desc())
        .limit(MOST)
    )
    for run, part, source in rows:
        again = run.due_at if run.state is RunState.QUEUED else None
        failure = (part or run).failure or {}
        yield _line("backup", run.ended_at or run.asked_at, failure, where=source, again=again)


def _failed_proofs(session: Session, tenant: UUID, since: datetime) -> Iterator[FailureLine]:
    rows = session.execute(
        select(Proof, Region.name)
        .join(Copy, Copy.id == Proof.copy_id)
        .join(Region, Region.id == Copy.region_id)
        .where(
            Proof.tenant_id == tenant,
            Proof.state.in_([ProofState.FAILED, ProofState.QUARANTINED]),
            Proof.due_at > since,
        )
        .order_by(Proof.id.desc())
        .limit(MOST)
    )
    for proof, region in rows:
        errors = (proof.found or {}).get("errors") or (proof.found or {}).get("damaged") or []
        failure = proof.failure or {"code": "proof-failed", "message": "; ".join(errors[:2])}
        yield _line("proof", proof.ended_at or proof.due_at, failure, where=region)


def _failed_restores(session: Session, tenant: UUID, since: datetime) -> Iterator[FailureLine]:
    rows = session.execute(
        select(Restore)
        .where(
            Restore.tenant_id == tenant,
            Restore.state.in_([RestoreState.FAILED, RestoreState.QUARANTINED]),
            Restore.asked_at > since,
        )
        .order_by(Restore.id.desc())
        .limit(MOST)
    ).scalars()
    for row in rows:
        yield _line("restore", row.ended_at or row.asked_at, row.failure or {})


def _held_up(session: Session, tenant: UUID) -> Iterator[FailureLine]:
    """Copies and removals that could not be done yet and are tried again."""
    copies = session.execute(
        select(Copy, Region.name)
        .join(Region, Region.id == Copy.region_id)
        .where(
            Copy.tenant_id == tenant,
            Copy.state.in_([CopyState.WAITING, CopyState.QUARANTINED]),
            said_why(Copy.failure),
        )
        .order_by(Copy.due_at)
        .limit(MOST)
    )
    for copy, region in copies:
        again = copy.due_at if copy.state is CopyState.WAITING else None
        yield _line("copy", None, copy.failure or {}, where=region, again=again)
    removals = session.execute(
        select(Removal)
        .where(
            Removal.tenant_id == tenant,
            Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
            Removal.blocked["code"].astext != "object-lock",
        )
        .order_by(Removal.due_at)
        .limit(MOST)
    ).scalars()
    for removal in removals:
        yield _line("removal", None, removal.blocked or {}, again=removal.due_at)


def _line(
    what: str,
    at: datetime | None,
    failure: Mapping[str, Any],
    *,
    where: str | None = None,
    again: datetime | None = None,
) -> FailureLine:
    code, message = failure.get("code", "failed"), failure.get("message")
    return FailureLine(what, at, code, message, where, again)


def _missed(session: Session, tenant: UUID, *, since: datetime) -> list[MissedSlot]:
    rows = session.execute(
        select(Slot.at, Slot.local_date, Schedule.cadence)
        .join(Schedule, Schedule.id == Slot.schedule_id)
        .where(
            Slot.tenant_id == tenant,
            Slot.outcome == SlotOutcome.MISSED,
            Slot.at > since,
        )
        .order_by(Slot.at.desc())
        .limit(MOST)
    )
    return [MissedSlot(row.at, row.local_date, str(row.cadence)) for row in rows]
