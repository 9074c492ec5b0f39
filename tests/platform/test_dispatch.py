"""Dispatchers on a real database and a real broker: every slot once, nothing lost, nothing twice."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, update
from sqlalchemy.orm import Session

from backup import planning
from backup.models import BackupRun, Point, PointSource, Policy, Schedule, Slot
from backup.states import RunState, SlotOutcome
from backup.tasks import run as run_task
from strongroom import dispatch, owner
from strongroom.actors import WORKER
from strongroom.db import Database, Role
from strongroom.dispatch import RING_AGAIN, Due, back_off
from strongroom.lifecycle import Move, take
from strongroom.runtime import Runtime
from strongroom.worker import Queue, make_app
from tenants.models import Tenant
from tests.cast import FakeClock, add_folder, queue, rows_of, run_of
from tests.platform.doorbells import Bell, broker, dispatcher, forget, waiting
from web import duties

DEAD = "redis://:none@127.0.0.1:1/0"  # nobody listens on port 1


@pytest.fixture
def clock() -> FakeClock:
    """From eight in the morning on, wherever the sun is now: at night a tenant's own slot may come
    up while a test counts what is rung for."""
    made = FakeClock()
    morning = made().replace(hour=8, minute=0, second=0, microsecond=0)
    made.forward(seconds=((morning - made()) % timedelta(days=1)).total_seconds())
    return made


@pytest.fixture(autouse=True)
def quiet(runtime: Runtime) -> Iterator[None]:
    """A broker without other tests' doorbells."""
    forget(runtime)
    yield
    forget(runtime)


@pytest.fixture
def run_id(runtime: Runtime, acme: Tenant, tmp_path: Path) -> uuid.UUID:
    """A queued run of Acme, with a folder to back up."""
    add_folder(runtime, acme, tmp_path / "files")
    return queue(runtime, acme)


def bell_of(tenant: Tenant, run_id: uuid.UUID) -> Bell:
    return Bell("backup.run", tenant.id, run_id, "backup")


def taken(runtime: Runtime, tenant: Tenant, run_id: uuid.UUID, *, by: str) -> int:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        row = session.get_one(BackupRun, run_id)
        fence = take(session, row, owner=by, move=Move(by=WORKER, at=runtime.now()))
    assert fence is not None
    return fence


def lease_over(runtime: Runtime, tenant: Tenant) -> None:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        past = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(update(BackupRun).values(lease_until=past))


# From schedules to runs


def test_four_dispatchers_at_once_make_one_run_for_each_slot(
    runtime: Runtime, acme: Tenant, bolt: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    for tenant in (acme, bolt):
        add_folder(runtime, tenant, tmp_path / tenant.slug)
    days = [clock.stop_at(runtime.now() + timedelta(days=day)) for day in range(1, 9)]
    together(runtime, days)
    for tenant in (acme, bolt):
        slots = rows_of(runtime, tenant, Slot)
        runs = {row.id for row in rows_of(runtime, tenant, BackupRun)}
        assert len({(row.schedule_id, row.at) for row in slots}) == len(slots) >= 8
        assert {row.run_id for row in slots if row.run_id} == runs
        assert len(runs) == len({row.local_date for row in slots if row.run_id})


def together(runtime: Runtime, moments: list[datetime]) -> None:
    """Four dispatchers, each with connections of its own, through the same moments."""
    gate = threading.Barrier(4)
    databases = [Database(runtime.settings.databases) for _ in range(4)]

    def go(database: Database) -> None:
        mine = dispatcher(runtime, database=database)
        for moment in moments:
            gate.wait()
            mine.round(moment)

    threads = [threading.Thread(target=go, args=(each,)) for each in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()


def test_slots_that_nobody_looked_at_become_rows_and_one_run(
    runtime: Runtime, acme: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    clock.forward(days=10)
    dispatcher(runtime).round(runtime.now())
    slots = rows_of(runtime, acme, Slot)
    (run,) = rows_of(runtime, acme, BackupRun)
    newest = max(row.local_date for row in slots)
    assert {row.outcome for row in slots if row.local_date < newest} == {SlotOutcome.MISSED}
    assert {row.run_id for row in slots if row.local_date == newest} == {run.id}
    assert len({row.local_date for row in slots}) in (10, 11)
    assert run.full  # the weekly slot among the missed ones is made up for


def test_a_tenant_without_sources_gets_rows_for_its_slots_and_no_run(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.forward(days=3)
    dispatcher(runtime).round(runtime.now())
    outcomes = {row.outcome for row in rows_of(runtime, acme, Slot)}
    assert outcomes == {SlotOutcome.MISSED}
    assert rows_of(runtime, acme, BackupRun) == []


def test_a_slot_that_is_done_is_not_done_again_when_the_clock_goes_back(
    runtime: Runtime, acme: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    clock.forward(days=2)
    dispatcher(runtime).round(runtime.now())
    before = len(rows_of(runtime, acme, Slot))
    for hours in (-47, 46, 1):
        clock.forward(hours=hours)
        dispatcher(runtime).round(runtime.now())
    assert len(rows_of(runtime, acme, Slot)) == before
    assert len(rows_of(runtime, acme, BackupRun)) == 1


def test_the_next_moment_is_always_ahead_after_a_round(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    seen = []
    for _ in range(4):
        now = clock.forward(days=1)
        dispatcher(runtime).round(now)
        schedules = rows_of(runtime, acme, Schedule)
        assert all(row.next_at > now for row in schedules)
        seen.append(min(row.next_at for row in schedules))
    assert seen == sorted(set(seen))


# Ringing


def test_what_waits_is_rung_for_once_until_it_is_time_to_ring_again(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    going = dispatcher(runtime)
    clock.forward(seconds=1)
    assert [going.round(runtime.now()) for _ in range(3)] == [1, 0, 0]
    assert waiting(runtime) == [bell_of(acme, run_id)]
    clock.forward(seconds=RING_AGAIN.total_seconds() - 5)
    assert going.round(runtime.now()) == 0
    clock.forward(seconds=10)
    assert going.round(runtime.now()) == 1
    assert waiting(runtime) == [bell_of(acme, run_id)]


def test_a_dispatcher_that_starts_rings_for_everything_that_waits(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    dispatcher(runtime).round(runtime.now())
    forget(runtime)
    clock.forward(seconds=1)
    second = dispatcher(runtime)
    clock.forward(seconds=1)
    assert [second.round(runtime.now()) for _ in range(2)] == [1, 0]
    assert waiting(runtime) == [bell_of(acme, run_id)]


def test_what_is_due_later_is_not_rung_for(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(BackupRun).values(due_at=runtime.now() + timedelta(minutes=1)))
    assert dispatcher(runtime).round(runtime.now()) == 0
    clock.forward(seconds=61)
    assert dispatcher(runtime).round(runtime.now()) == 1


def test_doorbells_lost_with_the_broker_are_rung_again(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    going = dispatcher(runtime)
    going.round(runtime.now())
    forget(runtime)
    clock.forward(seconds=RING_AGAIN.total_seconds() + 5)
    going.round(runtime.now())
    assert waiting(runtime) == [bell_of(acme, run_id)]


def test_a_broker_that_is_away_delays_a_doorbell_by_a_round_and_stops_none(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    started = runtime.now()
    away = make_app(DEAD)
    assert dispatcher(runtime, app=away, started=started).round(clock.forward(seconds=1)) == 0
    assert dispatcher(runtime, started=started).round(clock.forward(seconds=2)) == 1
    assert waiting(runtime) == [bell_of(acme, run_id)]
    away.close()


def test_a_row_that_somebody_works_on_is_passed_over_and_the_others_are_rung_for(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    other = queue(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.get_one(BackupRun, run_id, with_for_update=True)
        assert dispatcher(runtime).round(runtime.now()) == 1  # and does not wait for the lock
    assert waiting(runtime) == [bell_of(acme, other)]


def test_a_part_that_fails_stops_no_other(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    def broken_planner(session: Session, now: datetime) -> int:
        raise ZeroDivisionError

    class NoTable:
        WAITING = BUSY = "nothing"

    broken = Due(NoTable, ("nothing",), "broken.task", Queue.COPY)
    going = dispatcher(
        runtime,
        planners=(broken_planner, *duties.PLANNERS),
        dues=(broken, *duties.DUES),
    )
    assert going.round(runtime.now()) == 1
    assert waiting(runtime) == [bell_of(acme, run_id)]
    assert set(going.failures) == {"broken_planner", "broken.task"}


def test_one_tenant_whose_policy_cannot_be_read_stops_no_other(
    runtime: Runtime, acme: Tenant, bolt: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    for tenant in (acme, bolt):
        add_folder(runtime, tenant, tmp_path / tenant.slug)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        current = planning.current_policy(session, acme.id)
        values = {"tenant_id": acme.id, "version": 2, "body": {}, "zone": current.zone}
        session.add(Policy(**values, cites="nothing", made_at=runtime.now()))
    clock.forward(days=1, hours=1)
    dispatcher(runtime).round(runtime.now())
    assert len(rows_of(runtime, bolt, BackupRun)) == 1
    assert rows_of(runtime, acme, BackupRun) == []


# Lost workers


def test_a_run_whose_lease_ran_out_is_put_back_at_once_and_rung_for(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    fence = taken(runtime, acme, run_id, by="elsewhere:boot:1:1")
    lease_over(runtime, acme)
    assert dispatcher(runtime).round(runtime.now()) == 1
    run = run_of(runtime, acme, run_id)
    assert (run.state, run.losses, run.owner, run.lease_until) == (RunState.QUEUED, 1, None, None)
    assert run.fence > fence  # whoever wakes up holds an older one
    assert waiting(runtime) == [bell_of(acme, run_id)]


def test_a_run_whose_lease_still_lasts_is_left_alone(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    taken(runtime, acme, run_id, by="elsewhere:boot:1:1")
    dispatcher(runtime).round(runtime.now())
    assert run_of(runtime, acme, run_id).state is RunState.MAKING


def test_a_run_of_a_process_that_has_ended_here_is_put_back_before_its_lease_ends(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    host, boot, pid, _ = owner.me().rsplit(":", 3)
    taken(runtime, acme, run_id, by=f"{host}:{boot}:{pid}:1")  # the number came twice
    dispatcher(runtime).round(runtime.now())
    assert run_of(runtime, acme, run_id).state is RunState.QUEUED


def test_a_run_that_takes_two_workers_down_is_quarantined_with_its_reason(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    for _ in range(2):
        taken(runtime, acme, run_id, by="elsewhere:boot:1:1")
        lease_over(runtime, acme)
        dispatcher(runtime).round(runtime.now())
        clock.forward(hours=2)
    run = run_of(runtime, acme, run_id)
    assert run.state is RunState.QUARANTINED
    assert run.failure == {"code": "workers-lost", "params": {"losses": 2}}
    forget(runtime)
    assert dispatcher(runtime).round(runtime.now()) == 0


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(-1, 0), (0, 0), (1, 15), (2, 30), (3, 60), (9, 3600), (99, 3600)]
)
def test_the_pause_doubles_up_to_an_hour(attempt: int, seconds: int) -> None:
    assert back_off(attempt) == timedelta(seconds=seconds)


def test_a_later_attempt_waits_longer_after_a_loss(
    runtime: Runtime, acme: Tenant, clock: FakeClock, run_id: uuid.UUID
) -> None:
    now = clock.stop_at(runtime.now())
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(BackupRun).values(attempt=2))
    taken(runtime, acme, run_id, by="elsewhere:boot:1:1")
    lease_over(runtime, acme)
    assert dispatcher(runtime).round(now) == 0
    assert run_of(runtime, acme, run_id).due_at == now + timedelta(seconds=30)


def test_what_ran_out_is_found_however_much_is_at_work(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(runtime, acme, run_id, by="elsewhere:boot:1:1")
    lost = queue(runtime, acme)
    taken(runtime, acme, lost, by="elsewhere:boot:2:2")
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        past = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(update(BackupRun).where(BackupRun.id == lost).values(lease_until=past))
    monkeypatch.setattr(dispatch, "BATCH", 1)
    dispatcher(runtime).round(runtime.now())
    assert run_of(runtime, acme, lost).state is RunState.QUEUED
    assert run_of(runtime, acme, run_id).state is RunState.MAKING


def test_a_run_that_was_taken_anew_since_a_dispatcher_looked_stays_with_its_worker(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    taken(runtime, acme, run_id, by="elsewhere:boot:1:1")
    lease_over(runtime, acme)

    def meanwhile(*_: Any) -> None:
        dispatcher(runtime).round(runtime.now())
        taken(runtime, acme, run_id, by="elsewhere:boot:2:2")

    with runtime.database.session(Role.DISPATCHER) as session:
        event.listen(session.connection(), "after_cursor_execute", meanwhile, once=True)
        assert dispatch.find_lost(session, BackupRun) == []
    assert run_of(runtime, acme, run_id).owner == "elsewhere:boot:2:2"


# Doorbells that come twice


def test_ten_doorbells_for_one_run_make_one_point(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    threads = [
        threading.Thread(target=run_task, args=(str(acme.id), str(run_id))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(5):  # and late ones
        run_task(str(acme.id), str(run_id))
    assert [point.id for point in rows_of(runtime, acme, Point)] == [run_id]
    assert len(rows_of(runtime, acme, PointSource)) == 1
    assert run_of(runtime, acme, run_id).fence == 1


def test_a_doorbell_with_another_tenants_name_on_it_does_nothing(
    runtime: Runtime, acme: Tenant, bolt: Tenant, run_id: uuid.UUID
) -> None:
    run_task(str(bolt.id), str(run_id))
    run_task(str(acme.id), str(uuid.uuid4()))
    assert run_of(runtime, acme, run_id).state is RunState.QUEUED
    assert rows_of(runtime, bolt, BackupRun) == []


def test_a_message_carries_two_ids_and_nothing_of_what_they_stand_for(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    dispatcher(runtime).round(runtime.now())
    with broker(runtime) as client:
        raw = client.lrange("backup", 0, -1)[0]  # type: ignore[index]
    message = json.loads(raw)
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[str(acme.id), str(run_id)], {}]
    assert acme.slug.encode() not in raw
    assert b"files" not in raw
