"""The scheduler and the run machine under every order of events that chance finds.

A pure model stands beside the real database and the real broker; after each step both must agree.

    I1  at most one run for each slot            I5  a run ends once
    I2  every due slot is run or missed          I7  what waits and lost its doorbell is rung again
    I3  the next moment only grows               I8  two lost workers, then quarantine
    I4  fences only grow, and only the newest    I9  a tenant without sources gets no run
        one moves the row
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, text, update

from backup import policy as policies
from backup import schedule
from backup.models import BackupRun, Policy, Schedule, Slot, Source
from backup.schedule import SlotKind
from backup.states import RunState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import RING_AGAIN, Dispatcher
from strongroom.lifecycle import Move, Overtaken, Step, WrongTurn, advance, take
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import BOLT, FakeClock, add_folder, add_tenant, queue, rows_of
from tests.platform.doorbells import dispatcher, forget, waiting

BEGIN = datetime(2026, 3, 20, 9, 0, tzinfo=UTC)
ENDED = {RunState.STORED, RunState.FAILED}
ALIVE = {RunState.QUEUED, RunState.MAKING}

# Which of those there are by then: how many is not drawn, for it hangs on a real clock.
ANY = st.integers(0, 999)


@dataclass
class Expected:
    """What the model knows of one run."""

    state: RunState = RunState.QUEUED
    fence: int = 0
    losses: int = 0
    held: list[int] = field(default_factory=list)  # fences that were ever given out


class World(RuleBasedStateMachine):
    """One tenant, two dispatchers, any number of workers, time and bad luck."""

    runtime: ClassVar[Runtime]
    clock: ClassVar[FakeClock]
    tenant: ClassVar[Tenant]

    @initialize()
    def begin(self) -> None:
        self.clock.stop_at(BEGIN)
        with self.session() as session:
            for table in ("slots", "backup_runs", "steps"):
                session.execute(text(f"delete from {table}"))
            session.execute(update(Source).values(removed_at=None))
            for row in session.query(Schedule):
                row.last_at = BEGIN
                row.next_at = schedule.next_slot(self.plan(row.cadence), after=BEGIN).at
        forget(self.runtime)
        self.runs: dict[UUID, Expected] = {}
        self.bells: list[UUID] = []
        self.next_at: dict[UUID, datetime] = {}
        self.removed: datetime | None = None
        self.seen = BEGIN
        self.dispatchers = [self.start(), self.start()]

    def start(self) -> Dispatcher:
        return dispatcher(self.runtime)

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """Past every rule, as no process of ours may: the test cleans up and turns clocks."""
        with self.runtime.database.session(Role.MIGRATOR, tenant=self.tenant.id) as session:
            yield session

    @contextlib.contextmanager
    def working(self) -> Iterator[Any]:
        with self.runtime.database.session(Role.WORKER, tenant=self.tenant.id) as session:
            yield session

    def plan(self, kind: SlotKind) -> schedule.Schedule:
        (policy,) = rows_of(self.runtime, self.tenant, Policy)
        return schedule.schedule_of(
            policies.from_json(policy.body),
            kind,
            zone=schedule.zone_named(policy.zone),
            tenant_id=self.tenant.id,
        )

    # What happens

    @rule(seconds=st.sampled_from([1, 60, 301, 3600, 20 * 3600, 86_400, 40 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward(seconds=seconds)

    @rule(which=st.integers(0, 1))
    def a_dispatcher_goes_round(self, which: int) -> None:
        now = self.runtime.now()
        self.dispatchers[which].round(now)
        self.bells += [bell.subject for bell in waiting(self.runtime)]
        self.seen = max(self.seen, now)
        self.learn()

    @rule(which=st.integers(0, 1))
    def a_dispatcher_starts_anew(self, which: int) -> None:
        self.dispatchers[which] = self.start()

    @precondition(lambda self: self.removed is None)
    @rule()
    def somebody_asks_for_a_run(self) -> None:
        self.runs[queue(self.runtime, self.tenant)] = Expected()

    @rule()
    def the_broker_forgets(self) -> None:
        self.bells.clear()
        forget(self.runtime)

    @precondition(lambda self: self.bells)
    @rule(which=ANY, keep=st.booleans())
    def a_doorbell_is_answered(self, which: int, keep: bool) -> None:
        """Out of order, and perhaps not for the last time."""
        run_id = self.bells[which % len(self.bells)]
        if not keep:
            self.bells.remove(run_id)
        self.taken(run_id)

    def taken(self, run_id: UUID) -> None:
        """By a worker, if it waits."""
        with self.working() as session:
            move = Move(by=WORKER, at=self.runtime.now())
            fence = take(session, session.get_one(BackupRun, run_id), owner="a:b:1:1", move=move)
        known = self.runs[run_id]
        assert (fence is not None) == (known.state is RunState.QUEUED)
        if fence is not None:
            assert fence > known.fence
            known.state, known.fence = RunState.MAKING, fence
            known.held.append(fence)

    @precondition(lambda self: any(known.held for known in self.runs.values()))
    @rule(which=ANY, to=st.sampled_from([RunState.STORED, RunState.FAILED, RunState.QUEUED]))
    def somebody_who_ever_held_a_run_moves_it(self, which: int, to: RunState) -> None:
        """Its holder, or one who was stopped and woken."""
        choices = [(each, fence) for each, known in self.runs.items() for fence in known.held]
        run_id, fence = choices[which % len(choices)]
        known = self.runs[run_id]
        ours = known.state is RunState.MAKING and known.fence == fence
        values = {"owner": None, "lease_until": None, "nudged_at": None}
        try:
            with self.working() as session:
                row = session.get_one(BackupRun, run_id)
                move = Move(by=WORKER, at=self.runtime.now(), fence=fence, values=values)
                advance(session, row, to, move)
        except (Overtaken, WrongTurn):
            assert not ours
        else:
            assert ours
            known.state = to

    @precondition(lambda self: any(k.state in ALIVE for k in self.runs.values()))
    @rule()
    def a_worker_is_lost(self) -> None:
        """On the run that has lost the most; it is taken first if it waits."""
        alive = [each for each, known in self.runs.items() if known.state in ALIVE]
        run_id = max(alive, key=lambda each: self.runs[each].losses)
        known = self.runs[run_id]
        if known.state is RunState.QUEUED:
            self.taken(run_id)
        with self.working() as session:
            past = func.clock_timestamp() - timedelta(seconds=1)
            lost = update(BackupRun).where(BackupRun.id == run_id)
            session.execute(lost.values(lease_until=past))
        self.a_dispatcher_goes_round(0)
        known.losses += 1
        known.fence += 1
        known.state = RunState.QUARANTINED if known.losses >= 2 else RunState.QUEUED

    @rule()
    def the_sources_are_removed_or_come_back(self) -> None:
        self.a_dispatcher_goes_round(0)
        now = self.runtime.now()
        self.removed = now if self.removed is None else None
        with self.session() as session:
            session.execute(update(Source).values(removed_at=self.removed))

    @rule()
    def after_a_while_all_that_waits_has_a_doorbell(self) -> None:
        """I7: however the doorbells were lost."""
        self.the_broker_forgets()
        self.clock.forward(seconds=RING_AGAIN.total_seconds() + 3601)
        self.a_dispatcher_goes_round(1)
        queued = {each for each, known in self.runs.items() if known.state is RunState.QUEUED}
        assert queued <= set(self.bells)

    # What always holds

    def learn(self) -> None:
        """Runs that the dispatcher made; I9: none while there was nothing to back up."""
        for row in rows_of(self.runtime, self.tenant, BackupRun):
            if row.id not in self.runs:
                assert self.removed is None
                self.runs[row.id] = Expected()

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        rows = rows_of(self.runtime, self.tenant, BackupRun)
        found = {row.id: (row.state, row.fence, row.losses) for row in rows}
        assert found == {
            each: (known.state, known.fence, known.losses) for each, known in self.runs.items()
        }  # I4, I8

    @invariant()
    def every_slot_is_on_record_once(self) -> None:
        rows = rows_of(self.runtime, self.tenant, Slot)
        wanted = [
            slot.at
            for kind in SlotKind
            for slot in schedule.due_slots(self.plan(kind), last=None, since=BEGIN, now=self.seen)
        ]
        assert sorted(row.at for row in rows) == sorted(wanted)  # I1, I2
        days = [(row.schedule_id, row.local_date) for row in rows]
        assert len(days) == len(set(days))
        for row in rows:
            assert (row.run_id is not None) == (str(row.outcome) == "run")

    @invariant()
    def the_next_moment_only_grows(self) -> None:
        for row in rows_of(self.runtime, self.tenant, Schedule):
            assert row.next_at > self.seen  # I3
            assert row.next_at >= self.next_at.get(row.id, BEGIN)
            self.next_at[row.id] = row.next_at

    @invariant()
    def a_run_ends_once(self) -> None:
        ends = [
            step.row_id
            for step in rows_of(self.runtime, self.tenant, Step, Step.of == "backup_runs")
            if step.new in {str(state) for state in ENDED}
        ]
        assert len(ends) == len(set(ends))  # I5


@pytest.fixture
def world(
    runtime: Runtime, clock: FakeClock, tmp_path: Path, bypass: None
) -> Iterator[type[World]]:
    clock.stop_at(BEGIN)
    tenant = add_tenant(runtime, BOLT)  # in Cairo, where the clock changes on 24 April
    add_folder(runtime, tenant, tmp_path / "files")
    yield type("ThisWorld", (World,), {"runtime": runtime, "clock": clock, "tenant": tenant})


@pytest.fixture
def bypass(runtime: Runtime) -> None:
    """The owner of this one test database may clean up between two examples."""
    with runtime.database.session(Role.MIGRATOR) as session:
        for table in ("slots", "backup_runs", "steps", "sources", "schedules"):
            session.execute(text(f"create policy test on {table} to migrator using (true)"))


def explore(world: type[World], *, examples: int, steps: int, phases: tuple[Phase, ...]) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=phases,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_order_of_events_loses_doubles_or_forgets_anything(world: type[World]) -> None:
    explore(
        world, examples=10, steps=25, phases=(Phase.reuse, Phase.generate)
    )  # a failure is told at once


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_order_of_events_loses_anything_in_a_long_search(world: type[World]) -> None:
    explore(world, examples=400, steps=60, phases=tuple(Phase))
