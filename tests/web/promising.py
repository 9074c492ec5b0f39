"""A tenant under each of the five packs, in good standing: rows as work leaves them, and no bytes.

world         five tenants named as their packs; whatever is measured of them is kept
states        how every promise stands, by id
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text, update

from backup.models import (
    BackupRun,
    Point,
    Repository,
    Rota,
    Schedule,
    Slot,
    Source,
)
from backup.schedule import SlotKind
from backup.states import RepositoryState, SlotOutcome
from restore.models import Drill
from restore.states import DrillState
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.people import grants, record
from strongroom.people.grants import Decider, Wish
from strongroom.people.providers import Provider
from strongroom.people.rules import GrantScope, StaffRole, TenantRole
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret
from tenants import pack_changes
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tenants.promise_rows import State
from tests import catalogues
from tests.cast import ADA, FakeClock, add_tenant
from tests.catalogues import Extent
from tests.people.cast import People, Somebody
from web import holding
from web.promises import attesting, register
from web.promises.attesting import Document

PACKS = ("comfile", "daftra", "datacore", "jhb", "mittal")
DAYS = 10  # so old are the tenants, with a point for each day
PAPER = Document("paper.pdf", "ab" * 32, 1000)
ATTESTED = ("datacore-tls-audits", "jhb-encryption")
NEVER_KEPT = {"jhb-necessary", "datacore-revision", "mittal-absolute"}


@dataclass(frozen=True)
class World:
    """Everybody there is, at a moment that stands still."""

    runtime: Runtime
    now: datetime
    tenants: dict[str, Tenant]
    owners: dict[str, Somebody]
    support: Somebody

    def run(self, pack: str, statement: str, role: Role = Role.OPERATOR, **values: Any) -> None:
        """SQL on one pack's tenant; `:tenant` and `:now` are known."""
        known = {"tenant": self.tenants[pack].id, "now": self.now, **values}
        bound = {name: value for name, value in known.items() if f":{name}" in statement}
        with self.runtime.database.session(role, tenant=self.tenants[pack].id) as session:
            session.execute(text(statement), bound)

    def states(self) -> dict[str, State]:
        return states(self.runtime)


def states(runtime: Runtime) -> dict[str, State]:
    return {row.promise.id: row.state for row in register.read(runtime)}


def make(runtime: Runtime, clock: FakeClock) -> World:
    now = clock.stop_at(datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0))
    runtime = replace(runtime, settings=replace(runtime.settings, openid=(PROVIDER,)))
    people = People(runtime)
    support = people.staff(StaffRole.SUPPORT)
    tenants, owners = {}, {}
    for pack in PACKS:
        plan = "enterprise" if pack == "datacore" else "starter"
        new = NewTenant(pack, pack.title(), plan, "Asia/Dubai", "AE", "en", pack)
        tenants[pack] = add_tenant(runtime, new)
        owners[pack] = people.member(tenants[pack], TenantRole.OWNER)
        _settle(runtime, tenants[pack], now)
    world = World(runtime, now, tenants, owners, support)
    pack_changes.choose_times(runtime, tenants["datacore"], {"daily_at": "03:30"}, by=ADA)
    _schedules(runtime, tenants["datacore"], now)
    _grant(world)
    _call(world)
    holding.place(runtime, tenants["mittal"], "a court asked", until=None, by=ADA)
    _delivered(world, "datacore", "complete", now - timedelta(days=3))
    for promise in ATTESTED:
        attesting.confirm(runtime, promise, PAPER, "M. Saleh", by=ADA)
    world.run("datacore", "delete from record_pending")  # as if they had been signed
    return world


PROVIDER = Provider("corp", "Corp", "https://id.example.org", "us", "secret")


def _settle(runtime: Runtime, tenant: Tenant, now: datetime) -> None:
    begun = now - timedelta(days=DAYS)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        session.execute(update(Tenant).where(Tenant.id == tenant.id).values(created_at=begun))
        source = Source(
            id=new_id(), tenant_id=tenant.id, kind="directory", name="files", options={},
            added_at=begun, transit=tenant.pack == "comfile",
        )  # fmt: skip
        session.add(source)
        session.flush()
        if source.transit:
            pack_changes.refresh(session, runtime, session.get_one(Tenant, tenant.id), by=ADA)
        extent = Extent(0, 0, DAYS, 1, 0, 0)
        catalogues.history(session, tenant.id, source.id, extent, now - timedelta(hours=2))
        for repository in session.query(Repository).filter_by(tenant_id=tenant.id):
            session.execute(
                update(Repository)
                .where(Repository.id == repository.id)
                .values(state=RepositoryState.READY, key_hint="hint", created_at=begun)
            )
            session.execute(insert(Secret), _secret(tenant, repository.id, now))
            _drilled(session, tenant.id, repository.id, DrillState.PASSED, now - timedelta(days=2))
    _schedules(runtime, tenant, now)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        passed = {"passed_at": now - timedelta(hours=1), "due_at": now + timedelta(hours=5)}
        session.execute(update(Rota).where(Rota.tenant_id == tenant.id).values(passed))
        _slots(session, tenant.id, now)


def _schedules(runtime: Runtime, tenant: Tenant, now: datetime) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        for kind, hours in ((SlotKind.DAILY, 10), (SlotKind.WEEKLY, 100)):
            session.execute(
                update(Schedule)
                .where(Schedule.tenant_id == tenant.id, Schedule.cadence == kind)
                .values(last_at=now, next_at=now + timedelta(hours=hours))
            )


def _slots(session: Any, tenant: UUID, now: datetime) -> None:
    rows = {row.cadence: row.id for row in session.query(Schedule).filter_by(tenant_id=tenant)}
    points = session.query(Point).filter_by(tenant_id=tenant).order_by(Point.number)
    for number, point in enumerate(points, 1):
        kinds = [SlotKind.DAILY] + ([SlotKind.WEEKLY] if number == DAYS - 3 else [])
        for kind in kinds:
            session.add(
                Slot(
                    id=new_id(),
                    tenant_id=tenant,
                    schedule_id=rows[kind],
                    at=point.taken_at,
                    local_date=point.local_date,
                    outcome=SlotOutcome.RUN,
                    run_id=point.id,
                )
            )


def _secret(tenant: Tenant, subject: UUID, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "tenant_id": tenant.id,
        "subject_id": subject,
        "purpose": "repository-password",
        "provider": "local",
        "key_id": "1",
        "key_version": 1,
        "algorithm": "A",
        "nonce": b"n",
        "ciphertext": b"c",
        "created_at": now,
    }


def _drilled(
    session: Any, tenant: UUID, repository: UUID, state: DrillState, ended: datetime
) -> None:
    wanted = select(BackupRun.id).where(BackupRun.tenant_id == tenant)
    point = session.execute(wanted.order_by(BackupRun.asked_at.desc()).limit(1)).scalar_one()
    row = Drill(
        id=new_id(), tenant_id=tenant, point_id=point, repository_id=repository, state=state,
        asked_by="rota", asked_at=ended, ended_at=ended, due_at=ended,
    )  # fmt: skip
    session.add(row)


def drilled(world: World, pack: str, state: DrillState, ended: datetime) -> None:
    tenant = world.tenants[pack].id
    with world.runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
        wanted = select(Repository.id).where(Repository.tenant_id == tenant).limit(1)
        _drilled(session, tenant, session.execute(wanted).scalar_one(), state, ended)


def _grant(world: World) -> None:
    """Asked for, given by the owner, and ended."""
    tenant = world.tenants["datacore"].id
    asked = world.now - timedelta(hours=5)
    with world.runtime.database.session(Role.PEOPLE, tenant=tenant) as session:
        wish = Wish(GrantScope.READ, "ticket 12: a file is missing", world.now - timedelta(hours=1))
        row = grants.ask(session, tenant, world.support.account, wish, now=asked)
        decider = Decider(world.owners["datacore"].account, for_tenant=True)
        grants.decide(session, row, decider, yes=True, now=asked)


def _call(world: World) -> None:
    tenant = world.tenants["daftra"].id
    with world.runtime.database.session(Role.PEOPLE, tenant=tenant) as session:
        account = world.support.account.id
        record.note(session, "pin-right", account, by=ADA, at=world.now, about=tenant)


def _delivered(world: World, pack: str, ended_as: str, at: datetime) -> None:
    world.run(
        pack,
        """insert into deliveries (id, tenant_id, point_id, source_id, kind, paths, tables, name,
            expected_bytes, state, ended_as, asker_id, web_session_id, asked_by, asked_at, ended_at,
            made_at, due_at, attempt, regions)
        select uuidv7(), :tenant, p.id, s.id, 'file', '[]', '[]', 'x', 1, 'ended', :ended_as,
            uuidv7(), uuidv7(), 'x', :at, :at, :at, :at, 0, '[]'
        from points p, sources s where p.tenant_id = :tenant and s.tenant_id = :tenant limit 1""",
        ended_as=ended_as,
        at=at,
    )


def delivered(world: World, pack: str, ended_as: str, *, minutes: int) -> None:
    _delivered(world, pack, ended_as, world.now - timedelta(minutes=minutes))
