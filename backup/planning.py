"""From schedules to runs: what the dispatcher inserts, and what people ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import policy as policies
from backup import schedule
from backup.models import BackupRun, Policy, Schedule, Slot, Source
from backup.schedule import SlotKind
from backup.states import RunState, SlotOutcome, Trigger
from strongroom.actors import DISPATCHER, Actor
from strongroom.errors import BadValue
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, record

BATCH = 200
AHEAD = timedelta(days=1)  # by more than this, what a schedule says of the past is no past

log = structlog.get_logger(__name__)


class NoSources(BadValue):
    """There is nothing to back up."""

    code = "no-sources"


@dataclass(frozen=True)
class Order:
    """What a run is to do, and who wants it."""

    trigger: Trigger
    by: Actor
    at: datetime
    full: bool = False
    cadences: tuple[SlotKind, ...] = field(default=())
    only_source: UUID | None = None  # of a safety point


def begin_schedules(session: Session, policy: Policy, *, now: datetime) -> None:
    """Start both schedules of a tenant, or move them when the policy changed."""
    for kind in SlotKind:
        plan = _plan(policy, kind)
        upcoming = schedule.next_slot(plan, after=now)
        statement = insert(Schedule).values(
            id=new_id(),
            tenant_id=policy.tenant_id,
            cadence=kind,
            last_at=now,
            next_at=upcoming.at,
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "cadence"], set_={"next_at": upcoming.at}
            )
        )


def enqueue_due(session: Session, now: datetime) -> int:
    """The dispatcher's planner: one run for each tenant whose schedules came due.

    Several dispatchers may call it at once: a tenant is claimed with SKIP LOCKED, and a slot is
    unique by schedule and moment. One tenant that fails stops no other. Gives the number of runs
    made.
    """
    due = session.execute(
        select(Schedule.tenant_id)
        .where(or_(Schedule.next_at <= now, Schedule.last_at > now + AHEAD))
        .order_by(Schedule.next_at)
        .limit(BATCH)
    ).scalars()
    made = 0
    for tenant in dict.fromkeys(due):
        try:
            with session.begin_nested():
                made += _enqueue_tenant(session, tenant, now)
        except Exception:  # an edge: it is logged with the tenant's name, the others go on
            log.exception("no run could be planned", tenant=str(tenant))
    return made


def _claim(session: Session, tenant: UUID) -> dict[SlotKind, Schedule]:
    """The tenant's schedules, all of them locked; none when another dispatcher has one."""
    rows = session.execute(
        select(Schedule)
        .where(Schedule.tenant_id == tenant)
        .order_by(Schedule.cadence)
        .with_for_update(skip_locked=True)
    ).scalars()
    claimed = {row.cadence: row for row in rows}
    return claimed if len(claimed) == len(SlotKind) else {}


def _enqueue_tenant(session: Session, tenant: UUID, now: datetime) -> int:
    schedules = _claim(session, tenant)
    if not schedules:
        return 0
    policy = current_policy(session, tenant)
    due = []
    for kind, row in schedules.items():
        _bring_back(row, now)
        last = _last_slot(session, row, now)
        due += schedule.due_slots(_plan(policy, kind), last=last, since=row.last_at, now=now)
    plan = schedule.plan_catch_up(due)
    run_id = None
    if plan.run and _has_sources(session, tenant):
        order = Order(
            Trigger.SCHEDULE,
            DISPATCHER,
            now,
            full=plan.full,
            cadences=tuple(slot.kind for slot in plan.run),
        )
        run_id = insert_run(session, policy, order).id
        session.flush()
    for slot in plan.missed:
        _insert_slot(session, schedules[slot.kind], slot, run_id=None)
    for slot in plan.run:
        _insert_slot(session, schedules[slot.kind], slot, run_id=run_id)
    for kind, row in schedules.items():
        row.last_at = max(row.last_at, now)
        row.next_at = schedule.next_slot(_plan(policy, kind), after=now).at
    return 1 if run_id else 0


def _bring_back(row: Schedule, now: datetime) -> None:
    """A clock that was ahead, and is right again, must not silence the schedule until then."""
    if row.last_at > now + AHEAD:
        log.error("a schedule was ahead of time", tenant=str(row.tenant_id), last=str(row.last_at))
        row.last_at = now


def insert_run(session: Session, policy: Policy, order: Order) -> BackupRun:
    """A queued run under this policy."""
    zone = schedule.zone_named(policy.zone)
    run = BackupRun(
        id=new_id(),
        tenant_id=policy.tenant_id,
        state=RunState.QUEUED,
        trigger=order.trigger,
        policy_id=policy.id,
        cadences=[str(kind) for kind in order.cadences],
        local_date=order.at.astimezone(zone).date(),
        full=order.full,
        only_source_id=order.only_source,
        asked_by=str(order.by),
        asked_at=order.at,
        due_at=order.at,
    )
    session.add(run)
    record(
        session,
        run,
        old="",
        move=Move(by=order.by, at=order.at, reason=Reason(f"run-{order.trigger}")),
    )
    return run


def request_run(session: Session, tenant: UUID, order: Order) -> BackupRun:
    """A run that somebody asked for. Raises NoSources."""
    if not _has_sources(session, tenant):
        raise NoSources(
            "A backup was wanted, but this tenant has no sources. Add one with "
            "`strongroom source add`."
        )
    return insert_run(session, current_policy(session, tenant), order)


def current_policy(session: Session, tenant: UUID) -> Policy:
    """The policy in force: the highest version."""
    return session.execute(
        select(Policy).where(Policy.tenant_id == tenant).order_by(Policy.version.desc()).limit(1)
    ).scalar_one()


def late(policy: Policy, schedules: Sequence[Schedule], *, now: datetime) -> list[schedule.Slot]:
    """What was due by these schedules of the policy's tenant, and nobody has planned."""
    return [
        slot
        for row in schedules
        for slot in schedule.late(
            _plan(policy, row.cadence), since=row.last_at, next_at=row.next_at, now=now
        )
    ]


def _has_sources(session: Session, tenant: UUID) -> bool:
    found = session.execute(
        select(Source.id).where(Source.tenant_id == tenant, Source.removed_at.is_(None)).limit(1)
    )
    return found.first() is not None


def _plan(policy: Policy, kind: SlotKind) -> schedule.Schedule:
    return schedule.schedule_of(
        policies.from_json(policy.body),
        kind,
        zone=schedule.zone_named(policy.zone),
        tenant_id=policy.tenant_id,
    )


def _last_slot(session: Session, row: Schedule, now: datetime) -> schedule.Slot | None:
    last = session.execute(
        select(Slot)
        .where(Slot.tenant_id == row.tenant_id, Slot.schedule_id == row.id, Slot.at <= now + AHEAD)
        .order_by(Slot.at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if last is None else schedule.Slot(last.at, last.local_date, row.cadence)


def _insert_slot(
    session: Session, row: Schedule, slot: schedule.Slot, *, run_id: UUID | None
) -> None:
    """One row a moment; one that a clock ahead of time had called missed gets its run."""
    came = {"outcome": SlotOutcome.RUN if run_id else SlotOutcome.MISSED, "run_id": run_id}
    statement = insert(Slot).values(
        id=new_id(),
        tenant_id=row.tenant_id,
        schedule_id=row.id,
        at=slot.at,
        local_date=slot.local_date,
        **came,
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "schedule_id", "at"],
            set_=came,
            where=Slot.run_id.is_(None),
        )
    )
