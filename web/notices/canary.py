"""The canary: a tenant of ours that is broken on purpose, so that an alert has to arrive every day.

Its only source is a folder that is not there. Its daily run fails as a customer's would, the watch sees
that as it sees customers, and the alert goes the way of all alerts. What proves the way is the receipt of
the message at each first channel; where none came for `PATIENCE`, the loudest alert is told by all
channels. In no count of tenants does it appear.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backup.models import BackupRun, Source
from strongroom.actors import Actor
from strongroom.alerts.deciding import Event, Manner, Trouble
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.ids import new_id
from strongroom.notices import channels
from strongroom.notices.models import Channel, Message
from strongroom.notices.states import MessageState
from strongroom.runtime import Runtime
from tenants import onboarding
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from web import health
from web.health import Attention

SLUG = "canary"
PATIENCE = timedelta(hours=26)  # a day, and two hours for the schedule's own spread
SINGS = timedelta(minutes=30)  # so long after its run the alert stands
BROKEN = "/nonexistent/broken-on-purpose"
CODE, SILENT = "canary", "canary.silent"
BROKEN_SO = frozenset({Attention.LAST_RUN_FAILED, Attention.LAST_POINT_PARTIAL})


@dataclass(frozen=True)
class Arrival:
    """What one channel has had of the canary."""

    channel: Channel
    last: datetime | None  # when the newest arrived
    since: datetime  # from when on one is expected


@dataclass(frozen=True)
class Standing:
    """How the canary does."""

    tenant: UUID
    ran: datetime | None  # when its last run ended
    failed: bool  # as it should
    arrivals: tuple[Arrival, ...]


def set_up(runtime: Runtime, *, plan: str, zone: str, country: str, by: Actor) -> Tenant:
    """Safe to repeat. Raises BadValue for a tenant of this name that is a customer."""
    with runtime.database.session(Role.OPERATOR) as session:
        row = session.execute(select(Tenant).where(Tenant.slug == SLUG)).scalar_one_or_none()
        used = row is not None and not row.canary and _has_sources(session, row.id)
    if used:
        raise BadValue(
            f"There is a customer {SLUG!r}; the canary needs this name.", code="no-canary"
        )
    if row is None:
        new = NewTenant(SLUG, "Canary (broken on purpose)", plan, zone, country, "en")
        row = onboarding.add(runtime, new, by=by)
    with runtime.database.session(Role.OPERATOR, tenant=row.id) as session:
        kept = session.get_one(Tenant, row.id)
        if not kept.canary:
            kept.canary = True
            _break(session, row.id, now=runtime.now())
            deed = Deed("tenants.canary-made", "tenants", row.id)
            entries.note(session, deed, by=by, at=runtime.now())
    return row


def _has_sources(session: Session, tenant: UUID) -> bool:
    return session.execute(select(Source.id).where(Source.tenant_id == tenant)).first() is not None


def _break(session: Session, tenant: UUID, *, now: datetime) -> None:
    """A source that nobody could add, because it is looked at first."""
    session.add(
        Source(
            id=new_id(),
            tenant_id=tenant,
            kind="directory",
            name="broken-on-purpose",
            options={"path": BROKEN, "exclude": []},
            added_at=now,
        )
    )


def of_platform(session: Session) -> Tenant | None:
    return session.execute(select(Tenant).where(Tenant.canary)).scalar_one_or_none()


def standing(session: Session, *, now: datetime) -> Standing | None:
    """None where no canary was set up."""
    tenant = of_platform(session)
    if tenant is None:
        return None
    ran = session.execute(
        select(BackupRun.ended_at)
        .where(BackupRun.tenant_id == tenant.id, BackupRun.ended_at.is_not(None))
        .order_by(BackupRun.id.desc())
        .limit(1)
    ).scalar()
    seen = health.read(session, now=now, tenants=[tenant.id])  # as customers are seen
    arrived: dict[UUID, datetime] = {row.reader_id: row.at for row in session.execute(_arrived())}
    return Standing(
        tenant=tenant.id,
        ran=ran,
        failed=any(trouble.code in BROKEN_SO for each in seen for trouble in each.troubles),
        arrivals=tuple(
            Arrival(each, arrived.get(each.id), max(each.added_at, tenant.created_at))
            for each in channels.in_use(session)
            if each.level == channels.FIRST
        ),
    )


def _arrived() -> Any:
    """When the newest of the canary's messages arrived, by channel."""
    return (
        select(Message.reader_id, func.max(Message.ended_at).label("at"))
        .where(
            Message.kind == f"alert.{Event.OPENED}",
            Message.state == MessageState.DELIVERED,
            Message.params["code"].astext == CODE,
        )
        .group_by(Message.reader_id)
    )


def troubles(session: Session, *, now: datetime) -> Iterable[Trouble]:
    """The song of the day, and the silence that is worse than any alert."""
    found = standing(session, now=now)
    return [] if found is None else judged(found, now=now)


def judged(found: Standing, *, now: datetime) -> list[Trouble]:
    """Pure."""
    seen = []
    if found.failed and found.ran is not None and now - found.ran < SINGS:
        group = f"{CODE}:{found.ran:%Y-%m-%d}"
        seen.append(Trouble(group, CODE, severe=True, worst=SLUG, manner=Manner.CANARY))
    for each in found.arrivals:
        if now - max(each.last or each.since, each.since) > PATIENCE:
            params = {"last": None if each.last is None else each.last.isoformat()}
            seen.append(
                Trouble(
                    f"{SILENT}:{each.channel.name}",
                    SILENT,
                    severe=True,
                    worst=each.channel.name,
                    params=params,
                    manner=Manner.LOUD,
                )
            )
    return seen
