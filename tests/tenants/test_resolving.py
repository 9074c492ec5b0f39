"""What is in force for a tenant, and where each value comes from."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from backup import planning
from backup.models import Point, Source
from strongroom.audit.entries import Entry
from strongroom.db import Role
from strongroom.errors import NotFound
from strongroom.runtime import Runtime
from tenants import onboarding, pack_changes, packs, plan_changes, resolving, sourcing
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tenants.pack_changes import NoOwnSchedule
from tenants.plan_changes import WouldRemove
from tenants.resolving import BadSchedule, Explained, Origin
from tenants.sourcing import NewSource
from tests.cast import ADA, FakeClock, add_tenant, fill
from tests.restore.shelves import LAST, shelf

CLIO = NewTenant(
    "clio", "Clio", "enterprise", "Asia/Riyadh", "SA", "ar-SA", "datacore", ("AE", "SA")
)


def explained(runtime: Runtime, tenant: Tenant) -> dict[str, Explained]:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = session.get_one(Tenant, tenant.id)
        found = resolving.of_tenant(session, row, packs.known(None))
        current = planning.current_policy(session, tenant.id)
        assert current.body == found.policy.to_json()
        assert current.cites == found.cites
    return {each.key: each for each in found.values}


def origins(values: dict[str, Explained]) -> dict[str, Origin]:
    return {key: each.origin for key, each in values.items() if each.origin is not Origin.PLAN}


def test_without_a_pack_everything_is_the_plans(runtime: Runtime, acme: Tenant) -> None:
    values = explained(runtime, acme)
    assert origins(values) == {}
    assert values["retention.daily"].value == 14
    assert values["retention.daily"].named == "starter v1"


def test_plan_pack_and_tenant_each_have_their_part(runtime: Runtime) -> None:
    clio = add_tenant(runtime, CLIO)
    pack_changes.choose_times(runtime, clio, {"daily_at": "04:15"}, by=ADA)
    values = explained(runtime, clio)
    assert origins(values) == {
        "placement.countries": Origin.TENANT,
        "placement.least_km": Origin.PACK,
        "daily_at": Origin.TENANT,
    }
    assert (values["daily_at"].value, values["daily_at"].instead_of) == ("04:15", "00:30")
    assert (values["placement.least_km"].value, values["placement.least_km"].named) == (
        100,
        "datacore",
    )


def test_a_pack_only_makes_rules_stricter(runtime: Runtime, acme: Tenant) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        found = resolving.of_tenant(session, session.get_one(Tenant, acme.id), packs.known(None))
    strict = found.policy.to_json() | {"regions": 3, "placement": {"least_km": 500}}
    plan = plan_of(strict)
    under = Tenant(slug="x", zone="Asia/Dubai", pack="datacore")
    resolved = resolving.resolve(plan, under, (), packs.known(None))
    assert (resolved.policy.regions, resolved.policy.placement.least_km) == (3, 500)
    assert {each.origin for each in resolved.values} == {Origin.PLAN}


def plan_of(body: dict[str, object]) -> resolving.PlanVersion:
    return resolving.PlanVersion(code="strict", version=1, name={}, body=body)


def test_a_tenant_under_a_pack_that_is_gone_has_what_plan_and_tenant_say(
    runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.execute(update(Tenant).where(Tenant.id == acme.id).values(pack="gone"))
    assert origins(explained(runtime, acme)) == {}


def test_messages_held_to_be_sent_on_have_the_packs_ceiling(
    runtime: Runtime, tmp_path: Path
) -> None:
    tenant = add_tenant(
        runtime, NewTenant("c", "C", "starter", "Asia/Dubai", "AE", "en", "comfile")
    )
    for name, transit in (("outbox", True), ("files", False)):
        folder = tmp_path / name
        fill(folder)
        new = NewSource("directory", name, {"path": str(folder)}, transit=transit)
        sourcing.add(runtime, tenant, new, by=ADA)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        outbox = session.query(Source).filter_by(name="outbox").one().id
        session.execute(
            update(Source).where(Source.tenant_id == tenant.id, Source.name == "files")
            .values(ceiling_days=90)
        )  # fmt: skip
        pack_changes.refresh(session, runtime, session.get_one(Tenant, tenant.id), by=ADA)
    values = explained(runtime, tenant)
    found = {
        each.value: (each.origin, each.named) for k, each in values.items() if "max_age_days." in k
    }
    assert found == {30: (Origin.PACK, "comfile"), 90: (Origin.SOURCE, "files")}
    assert values[f"source_max_age_days.{outbox}"].value == 30


def test_a_pack_is_chosen_changed_and_left_on_record(runtime: Runtime, acme: Tenant) -> None:
    pack_changes.put_under(runtime, acme, "datacore", by=ADA)
    assert origins(explained(runtime, acme)) == {"placement.least_km": Origin.PACK}
    pack_changes.put_under(runtime, acme, None, by=ADA)
    assert origins(explained(runtime, acme)) == {}
    with runtime.database.session(Role.OPERATOR) as session:
        told = select(Entry.details).where(Entry.code == "tenants.pack-changed").order_by(Entry.id)
        found = session.execute(told).scalars().all()
    assert [each["pack"] for each in found if each] == ["datacore", "none"]


def test_a_pack_that_is_not_there_is_refused(runtime: Runtime, acme: Tenant) -> None:
    with pytest.raises(NotFound):
        pack_changes.put_under(runtime, acme, "nobody", by=ADA)
    with pytest.raises(NotFound):
        onboarding.add(
            runtime, NewTenant("x", "X", "starter", "Asia/Dubai", "AE", "en", "nobody"), by=ADA
        )


def test_what_a_pack_would_let_go_goes_only_when_somebody_says_so(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.stop_at(LAST + timedelta(days=60))
    made = shelf(runtime, acme, [{"/a.txt": 1}, {"/a.txt": 2}])  # months ago
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.execute(update(Source).where(Source.id == made.source).values(transit=True))
        session.execute(update(Point).where(Point.tenant_id == acme.id).values(bytes=1))
    with pytest.raises(WouldRemove) as refusal:
        pack_changes.put_under(runtime, acme, "comfile", by=ADA)
    assert refusal.value.params["points"]
    assert origins(explained(runtime, acme)) == {}
    pack_changes.put_under(runtime, acme, "comfile", by=ADA, let_go=True)
    assert set(origins(explained(runtime, acme)).values()) == {Origin.PACK}


def test_a_plan_without_own_schedules_allows_none(runtime: Runtime, acme: Tenant) -> None:
    with pytest.raises(NoOwnSchedule):
        pack_changes.choose_times(runtime, acme, {"daily_at": "04:15"}, by=ADA)


def test_times_that_are_none_are_refused(runtime: Runtime) -> None:
    clio = add_tenant(runtime, CLIO)
    for said in ({"daily_at": "25:00"}, {"weekly_on": "someday"}):
        with pytest.raises(BadSchedule):
            pack_changes.choose_times(runtime, clio, said, by=ADA)


def test_on_a_plan_without_own_schedules_the_plans_times_hold_again(runtime: Runtime) -> None:
    clio = add_tenant(runtime, CLIO)
    pack_changes.choose_times(runtime, clio, {"weekly_on": "monday"}, by=ADA)
    assert "weekly_on" in origins(explained(runtime, clio))
    plan_changes.change(runtime, clio, "business", by=ADA)
    assert "weekly_on" not in origins(explained(runtime, clio))
