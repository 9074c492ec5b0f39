"""From schedules to runs, on a real database: each slot once, whoever looks and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from backup import planning, schedule
from backup import policy as policies
from backup.models import BackupRun, Policy, Schedule, Slot
from backup.planning import NoSources, Order
from backup.schedule import SlotKind, zone_named
from backup.states import RunState, SlotOutcome, Trigger
from strongroom.actors import DISPATCHER
from strongroom.db import Role
from strongroom.lifecycle import Step
from strongroom.runtime import Runtime
from tenants import plan_changes, sourcing
from tenants.models import Tenant
from tests.cast import ACME, ADA, FakeClock, add_folder, add_tenant, queue, rows_of, run_of

THURSDAY = datetime(2026, 1, 8, 12, 0, tzinfo=UTC)  # the weekly slot falls on a Friday


@pytest.fixture
def acme(runtime: Runtime, clock: FakeClock, tmp_path: Path) -> Tenant:
    """Onboarded on a Thursday at noon, with a folder."""
    clock.stop_at(THURSDAY)
    tenant = add_tenant(runtime, ACME)
    add_folder(runtime, tenant, tmp_path / "files")
    return tenant


def enqueue(runtime: Runtime) -> int:
    with runtime.database.session(Role.DISPATCHER) as session:
        return planning.enqueue_due(session, runtime.now())


def slots(runtime: Runtime, tenant: Tenant) -> list[Slot]:
    return sorted(rows_of(runtime, tenant, Slot), key=lambda row: row.at)


def test_a_new_tenant_has_both_schedules_and_nothing_is_due_yet(
    runtime: Runtime, acme: Tenant
) -> None:
    rows = rows_of(runtime, acme, Schedule)
    assert {row.cadence for row in rows} == set(SlotKind)
    assert all(row.next_at > THURSDAY for row in rows)
    assert enqueue(runtime) == 0
    assert slots(runtime, acme) == []


def test_a_slot_makes_one_queued_run_under_the_policy_in_force(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    due = min(row.next_at for row in rows_of(runtime, acme, Schedule))
    clock.stop_at(due)
    assert [enqueue(runtime), enqueue(runtime)] == [1, 0]
    (run,) = rows_of(runtime, acme, BackupRun)
    (policy,) = rows_of(runtime, acme, Policy)
    assert (run.state, run.trigger, run.policy_id) == (
        RunState.QUEUED,
        Trigger.SCHEDULE,
        policy.id,
    )
    assert (run.asked_by, run.due_at) == (str(DISPATCHER), due)


def test_the_run_stands_for_the_tenants_day_not_for_ours(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    due = min(row.next_at for row in rows_of(runtime, acme, Schedule))
    clock.stop_at(due)
    enqueue(runtime)
    (run,) = rows_of(runtime, acme, BackupRun)
    dubai = due.astimezone(zone_named(acme.zone)).date()
    assert run.local_date == dubai == slots(runtime, acme)[0].local_date
    assert due.date() != dubai  # half past one there is the evening before in UTC


def test_on_the_weekly_day_one_full_run_answers_both_schedules(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.stop_at(THURSDAY + timedelta(hours=15))
    enqueue(runtime)
    (run,) = rows_of(runtime, acme, BackupRun)
    assert (run.full, sorted(run.cadences)) == (True, ["daily", "weekly"])
    assert [(row.outcome, row.run_id) for row in slots(runtime, acme)] == [
        (SlotOutcome.RUN, run.id)
    ] * 2


def test_on_other_days_files_that_did_not_change_are_not_read_again(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.stop_at(THURSDAY + timedelta(hours=15))
    enqueue(runtime)
    clock.stop_at(THURSDAY + timedelta(days=2, hours=-2))
    assert enqueue(runtime) == 1
    later = max(rows_of(runtime, acme, BackupRun), key=lambda run: run.due_at)
    assert (later.full, later.cadences) == (False, ["daily"])


def expected(runtime: Runtime, tenant: Tenant, kind: SlotKind) -> list[schedule.Slot]:
    """By the pure functions alone."""
    (policy,) = rows_of(runtime, tenant, Policy)
    plan = schedule.schedule_of(
        policies.from_json(policy.body), kind, zone=zone_named(policy.zone), tenant_id=tenant.id
    )
    return schedule.due_slots(plan, last=None, since=THURSDAY, now=runtime.now())


def test_every_slot_of_a_month_without_a_dispatcher_is_on_record(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.forward(days=30)
    assert enqueue(runtime) == 1
    (run,) = rows_of(runtime, acme, BackupRun)
    wanted = [each for kind in SlotKind for each in expected(runtime, acme, kind)]
    found = slots(runtime, acme)
    assert sorted(each.at for each in wanted) == [row.at for row in found]
    newest = max(each.local_date for each in wanted)
    assert {row.local_date for row in found if row.run_id == run.id} == {newest}
    assert {row.outcome for row in found if row.run_id is None} == {SlotOutcome.MISSED}


def test_a_tenant_whose_schedules_another_dispatcher_holds_is_passed_over_without_waiting(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.forward(days=1)
    with runtime.database.session(Role.DISPATCHER) as other:
        weekly = select(Schedule).where(Schedule.cadence == SlotKind.WEEKLY)
        other.execute(weekly.with_for_update())
        with runtime.database.session(Role.DISPATCHER) as session:
            session.execute(text("set local lock_timeout = '5s'"))
            assert planning.enqueue_due(session, runtime.now()) == 0  # who waits raises
    assert enqueue(runtime) == 1


def test_a_run_that_is_asked_for_takes_no_slot(runtime: Runtime, acme: Tenant) -> None:
    run = run_of(runtime, acme, queue(runtime, acme, full=True))
    assert (run.trigger, run.cadences, run.full) == (Trigger.MANUAL, [], True)
    assert (run.asked_by, run.asked_at, run.due_at) == (str(ADA), THURSDAY, THURSDAY)
    assert slots(runtime, acme) == []


def test_asking_leaves_a_step_that_says_who_asked(runtime: Runtime, acme: Tenant) -> None:
    run_id = queue(runtime, acme)
    (step,) = rows_of(runtime, acme, Step, Step.row_id == run_id)
    assert (step.old, step.new, step.code, step.by) == ("", "queued", "run-manual", str(ADA))


def test_a_tenant_without_sources_cannot_ask_for_a_run(
    runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    with pytest.raises(NoSources, match="strongroom source add"):
        queue(runtime, bolt)
    sourcing.remove(runtime, acme, "files", by=ADA)
    with pytest.raises(NoSources):
        queue(runtime, acme)
    assert rows_of(runtime, acme, BackupRun) == []


def test_slots_without_sources_are_missed_and_the_next_one_with_a_source_runs(
    runtime: Runtime, bolt: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    clock.forward(days=1)
    assert enqueue(runtime) == 0
    before = {row.outcome for row in rows_of(runtime, bolt, Slot)}
    add_folder(runtime, bolt, tmp_path / "late")
    clock.forward(days=1)
    assert enqueue(runtime) == 1
    assert before == {SlotOutcome.MISSED}
    assert SlotOutcome.RUN in {row.outcome for row in rows_of(runtime, bolt, Slot)}


def test_another_plan_moves_the_schedules_and_gives_no_day_a_second_slot(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.stop_at(THURSDAY + timedelta(hours=15))
    enqueue(runtime)
    first = {row.next_at for row in rows_of(runtime, acme, Schedule)}
    plan_changes.change(runtime, acme, "enterprise", by=ADA)  # half past midnight
    assert {row.next_at for row in rows_of(runtime, acme, Schedule)} != first
    clock.forward(hours=2)
    enqueue(runtime)
    days = [(row.schedule_id, row.local_date) for row in slots(runtime, acme)]
    assert len(days) == len(set(days)) == 2


def test_a_run_serves_the_policy_it_was_queued_under_though_another_came_since(
    runtime: Runtime, acme: Tenant
) -> None:
    run_id = queue(runtime, acme)
    before = run_of(runtime, acme, run_id).policy_id
    plan_changes.change(runtime, acme, "business", by=ADA)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        current = planning.current_policy(session, acme.id)
    assert current.version == 2
    assert run_of(runtime, acme, run_id).policy_id == before != current.id


def test_an_order_for_a_safety_point_says_so(runtime: Runtime, acme: Tenant) -> None:
    order = Order(Trigger.SAFETY, ADA, runtime.now())
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        run_id = planning.request_run(session, acme.id, order).id
    assert run_of(runtime, acme, run_id).trigger is Trigger.SAFETY
