"""What opens the backups is itself kept safe: dumps of the control database, escrow wraps, records.

One process does it (`strongroom serve upkeep`), round by round; a second one does no harm. It alone
holds the dumper's URL. A part that fails is logged and tried again with the next round; what stays
undone is seen by `strongroom status`, because the newest dump grows old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from backup.models import Repository
from backup.record_rows import KeyRecord
from backup.states import SHUT
from strongroom import control_dumps, escrow, platform_records
from strongroom.audit import keys, sequencing
from strongroom.control_dumps import Newest
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret
from tenants import records
from tenants.models import Tenant
from web.promises import statements

ROUND_SECONDS = 30.0
EVERY = timedelta(days=1)  # each record is looked at
AGAIN = timedelta(minutes=15)  # after a failure
HOUR = timedelta(hours=1)
LOOK = timedelta(minutes=10)  # how promises stand is looked at this often
BATCH = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Standing:
    """How the second way to the backups stands."""

    dumps: Sequence[Newest]
    coverage: Sequence[escrow.Coverage]  # of each escrow key in use; empty: there is none
    attention: tuple[str, ...]  # codes of what needs a person


class Upkeep:
    """The rounds of one process; remembers when a failed part is tried again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._not_before: dict[str, datetime] = {}

    def round(self) -> None:
        """Whatever is due."""
        self._guarded("platform records", partial(platform_records.keep, self._runtime), rest=HOUR)
        self._guarded("keys of the record", self._record_keys, rest=HOUR)
        self._guarded("control dump", self._dump)
        self._guarded("promises", partial(statements.keep, self._runtime), rest=LOOK)
        for tenant in due(self._runtime):
            self._guarded(f"records of {tenant}", partial(records.refresh, self._runtime, tenant))

    def _record_keys(self) -> None:
        keys.keep(self._runtime, sequencing.all_places(self._runtime))

    def _dump(self) -> None:
        runtime = self._runtime
        with runtime.database.session(Role.OPERATOR) as session:
            every = timedelta(hours=runtime.settings.dump_hours)
            wanted = control_dumps.is_due(session, every=every, now=runtime.now())
        if wanted:
            control_dumps.take(runtime)
        control_dumps.expire(runtime)

    def _guarded(
        self, name: str, act: Callable[[], object], *, rest: timedelta = timedelta(0)
    ) -> None:
        now = self._runtime.now()
        if self._not_before.get(name, now) > now:
            return
        try:
            act()
        except Exception:  # an edge: one part's failure is logged, the others go on
            log.exception("a part of the upkeep failed", part=name)
            self._not_before[name] = now + AGAIN
        else:
            self._not_before[name] = now + rest


def due(runtime: Runtime) -> Sequence[UUID]:
    """Tenants with a record that was not looked at for a day, a repository or tenant without one, or
    a secret that changed since."""
    now = runtime.now()
    seen = (
        select(
            KeyRecord.tenant_id,
            KeyRecord.subject_id,
            func.min(KeyRecord.checked_at).label("checked_at"),
            func.min(KeyRecord.written_at).label("written_at"),
        )
        .group_by(KeyRecord.tenant_id, KeyRecord.subject_id)
        .subquery()
    )
    stale = or_(seen.c.checked_at.is_(None), seen.c.checked_at <= now - EVERY)
    of_tenants = (
        select(Tenant.id.label("tenant"), seen.c.checked_at)
        .join(Repository, Repository.tenant_id == Tenant.id)
        .outerjoin(seen, seen.c.subject_id == Tenant.id)
        .where(stale)
    )
    of_repositories = (
        select(Repository.tenant_id.label("tenant"), seen.c.checked_at)
        .outerjoin(seen, seen.c.subject_id == Repository.id)
        .where(Repository.key_hint.is_not(None), Repository.state.not_in(SHUT), stale)
    )
    changed = (
        select(Secret.tenant_id.label("tenant"), seen.c.checked_at)
        .join(
            seen, or_(seen.c.subject_id == Secret.subject_id, seen.c.subject_id == Secret.tenant_id)
        )
        .where(Secret.created_at > seen.c.written_at)
    )
    every = of_tenants.union(of_repositories, changed).subquery()
    with runtime.database.session(Role.OPERATOR) as session:
        rows = session.execute(
            select(every.c.tenant)
            .group_by(every.c.tenant)
            .order_by(func.min(every.c.checked_at).nulls_first())
            .limit(BATCH)
        ).scalars()
        return list(rows)


def all_tenants(session: Session) -> Sequence[UUID]:
    return session.execute(select(Tenant.id).order_by(Tenant.id)).scalars().all()


def standing(runtime: Runtime) -> Standing:
    """For `status`, `escrow status` and pages."""
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR) as session:
        dumps = control_dumps.newest(session)
        coverage = escrow.coverage(session)
        begun = session.execute(select(func.min(Tenant.created_at))).scalar_one()
    return Standing(dumps, coverage, attention(dumps, coverage, begun=begun, now=now))


def attention(
    dumps: Sequence[Newest],
    coverage: Sequence[escrow.Coverage],
    *,
    begun: datetime | None,
    now: datetime,
) -> tuple[str, ...]:
    """What needs a person. Pure. A platform younger than a day has had no time for its first dump."""
    found = []
    young = begun is None or now - begun <= control_dumps.LATE
    if not young and any(each.is_late(now) for each in dumps):
        found.append("control-dump-late")
    if not young and any(not each.complete for each in coverage):
        found.append("escrow-incomplete")
    return tuple(found)
