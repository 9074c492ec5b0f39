"""The real planner, with the rows of real tenants: what it asks for, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from backup.models import Point, Rota
from backup.states import Level, Trigger
from restore.models import Drill
from restore.rehearsed import drills, turns
from restore.states import DrillState
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import A, B, in_front_of, set_policy, vault
from tests.cast import FakeClock, back_up, rows_of
from tests.faults import Refuse
from tests.restore import drilling
from tests.restore.drilling import carry_out, waits

Plan = Callable[[], list[Drill]]


@pytest.fixture
def plan(runtime: Runtime, acme: Tenant, bolt: Tenant) -> Plan:
    """One round of the dispatcher; the drills that it made."""

    def once() -> list[Drill]:
        before = {row.id for tenant in (acme, bolt) for row in rows_of(runtime, tenant, Drill)}
        with runtime.database.session(Role.DISPATCHER) as session:
            made = turns.plan(session, runtime.now())
        found = [row for tenant in (acme, bolt) for row in rows_of(runtime, tenant, Drill)]
        new = [row for row in found if row.id not in before]
        assert len(new) == made
        return new

    return once


@pytest.fixture
def at_noon(clock: FakeClock) -> datetime:
    return clock.stop_at((clock() + timedelta(days=1)).replace(hour=12, minute=0, second=0))


@pytest.fixture
def point(
    runtime: Runtime, acme: Tenant, tmp_path: Path, at_noon: datetime, clock: FakeClock
) -> Point:
    cast.add_folder(runtime, acme, tmp_path / "acme")
    set_policy(runtime, acme, verification=days(10))
    made = back_up(runtime, acme)
    clock.forward(days=1)
    return made


def days(drill: int) -> dict[str, int]:
    return {"structure_every_days": 7, "data_every_days": 28, "drill_every_days": drill}


def region_of(runtime: Runtime, tenant: Tenant, row: Drill) -> str:
    ids = {vault(runtime, tenant, name).site.row.id: name for name in (A, B)}
    return ids[row.repository_id]


def test_a_tenant_without_points_has_no_turn(plan: Plan, at_noon: datetime) -> None:
    assert plan() == []


def test_regions_alternate_and_nobody_comes_before_his_time(
    runtime: Runtime, acme: Tenant, point: Point, plan: Plan, clock: FakeClock
) -> None:
    seen = []
    for _ in range(4):
        [row] = plan()
        assert plan() == []  # it waits
        assert (row.point_id, row.asked_by) == (point.id, "rota")
        drilling.passed(carry_out(runtime, row))
        seen.append(region_of(runtime, acme, row))
        clock.forward(days=7)
        assert plan() == []
        clock.forward(days=2)
    assert seen in ([A, B, A, B], [B, A, B, A])


def test_the_newest_point_is_drilled_and_one_that_was_not_yet_comes_first(
    runtime: Runtime, acme: Tenant, point: Point, tmp_path: Path
) -> None:
    set_policy(runtime, acme, last=3, verification=days(10))
    cast.fill(tmp_path / "acme", words="two")
    second = back_up(runtime, acme)
    safety = back_up(runtime, acme, trigger=Trigger.SAFETY)
    repository = vault(runtime, acme).site.row.id

    def chosen() -> object:
        with runtime.database.session(Role.DISPATCHER) as session:
            return drills.newest_point(session, acme.id, repository)

    assert safety.number > second.number
    assert chosen() == second.id
    drilling.passed(drilling.drill(runtime, acme, second))
    assert chosen() == point.id
    drilling.passed(drilling.drill(runtime, acme, point))
    assert chosen() == second.id


def test_after_a_failure_another_region_is_next_and_this_one_again_after_a_day(
    runtime: Runtime, acme: Tenant, point: Point, plan: Plan, clock: FakeClock
) -> None:
    [row] = plan()
    first = region_of(runtime, acme, row)
    drilling.harm(vault(runtime, acme, first), "pack gone")
    drilling.failed(carry_out(runtime, row))
    clock.forward(hours=1)

    [other] = plan()
    assert region_of(runtime, acme, other) != first
    drilling.passed(carry_out(runtime, other))
    clock.forward(hours=2)
    assert plan() == []
    clock.forward(hours=24)
    [again] = plan()
    assert region_of(runtime, acme, again) == first


def test_a_region_that_is_away_gets_no_more_and_the_other_one_is_drilled(
    runtime: Runtime, acme: Tenant, point: Point, plan: Plan, clock: FakeClock
) -> None:
    [row] = plan()
    away = region_of(runtime, acme, row)
    with in_front_of(runtime, away) as proxy:
        proxy.fault = Refuse()
        assert waits(carry_out(runtime, row)) == "region-away"
    clock.forward(days=1)
    [other] = plan()
    assert region_of(runtime, acme, other) != away


def test_two_dispatchers_plan_once(runtime: Runtime, acme: Tenant, point: Point) -> None:
    with (
        runtime.database.session(Role.DISPATCHER) as one,
        runtime.database.session(Role.DISPATCHER) as other,
    ):
        assert turns.plan(one, runtime.now()) == 1
        assert turns.plan(other, runtime.now()) == 0
    assert len(rows_of(runtime, acme, Drill)) == 1


def test_of_several_tenants_the_one_that_runs_out_first_is_first(
    runtime: Runtime,
    bolt: Tenant,
    point: Point,
    plan: Plan,
    tmp_path: Path,
    clock: FakeClock,
) -> None:
    cast.add_folder(runtime, bolt, tmp_path / "bolt")
    set_policy(runtime, bolt, verification=days(3))
    back_up(runtime, bolt)
    clock.forward(days=1)

    assert [row.tenant_id for row in plan()] == [bolt.id]


def test_a_quarantined_drill_is_trouble_and_holds_nothing_up(
    runtime: Runtime, acme: Tenant, point: Point, plan: Plan, clock: FakeClock
) -> None:
    [row] = plan()
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(Drill).values(state=DrillState.QUARANTINED, due_at=runtime.now()))
    clock.forward(days=1)
    [other] = plan()
    assert other.repository_id != row.repository_id


def test_the_setting_says_how_many_and_each_repository_has_its_row(
    runtime: Runtime, acme: Tenant, point: Point
) -> None:
    with runtime.database.session(Role.DISPATCHER) as session:
        assert turns.plan(session, runtime.now(), budget=50) == 1
    [rota] = rows_of(runtime, acme, Rota, Rota.level == Level.DRILL)
    assert rota.planned_at == runtime.now()


@pytest.fixture(autouse=True)
def looked_never() -> Iterator[None]:
    turns._looked.clear()
    yield
    turns._looked.clear()


def test_the_dispatcher_looks_twice_a_minute(runtime: Runtime, acme: Tenant, point: Point) -> None:
    with runtime.database.session(Role.DISPATCHER) as session:
        assert turns.plan_drills(session, runtime.now()) == 1
        session.query(Drill).update({"state": DrillState.QUARANTINED})
        assert turns.plan_drills(session, runtime.now() + timedelta(seconds=29)) == 0
