"""Rows move once, leave a step, and only for who holds them."""

from __future__ import annotations

import ast
import enum
import itertools
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from backup import models, planning
from backup.models import BackupRun
from backup.planning import Order
from backup.states import CopyState, RepositoryState, RunState, Trigger
from restore.models import Restore
from restore.states import RestoreState
from strongroom.actors import WORKER
from strongroom.audit import entries
from strongroom.audit.leaves import Ending
from strongroom.db import Base, Role
from strongroom.lifecycle import (
    LEASE,
    Lived,
    Move,
    Overtaken,
    Reason,
    Step,
    Work,
    WrongTurn,
    advance,
    database_now,
    on_record,
    renew,
    take,
)
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import ADA

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
LIVED = (
    models.BackupRun,
    models.Copy,
    models.Proof,
    models.Removal,
    models.Repository,
    Restore,
)
# A repository begins as the only one of its region, or as its next epoch.
BEGINNINGS = {models.Repository: (RepositoryState.NEW, RepositoryState.COMING)}


@pytest.fixture
def run_id(runtime: Runtime, acme: Tenant) -> uuid.UUID:
    """A queued run of Acme."""
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        policy = planning.current_policy(session, acme.id)
        order = Order(Trigger.MANUAL, ADA, runtime.now())
        return planning.insert_run(session, policy, order).id


def move(runtime: Runtime, **more: Any) -> Move:
    return Move(by=WORKER, at=runtime.now(), **more)


def load(runtime: Runtime, tenant: Tenant, run_id: uuid.UUID) -> BackupRun:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return session.get_one(BackupRun, run_id)


def steps(runtime: Runtime, tenant: Tenant, run_id: uuid.UUID) -> list[Step]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        query = select(Step).where(Step.row_id == run_id).order_by(Step.id)
        return list(session.execute(query).scalars())


def take_it(runtime: Runtime, tenant: Tenant, run_id: uuid.UUID) -> int | None:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        row = session.get_one(BackupRun, run_id)
        return take(session, row, owner="host:boot:1:1", move=move(runtime))


def put(runtime: Runtime, tenant: Tenant, run: BackupRun, to: RunState, **more: Any) -> None:
    """Advance what was read earlier, in a session of its own."""
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        run = session.merge(run, load=False)
        advance(session, run, to, move(runtime, **more))


def test_a_move_sets_the_state_and_leaves_a_step_that_says_who_and_why(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    run = load(runtime, acme, run_id)
    put(runtime, acme, run, RunState.FAILED, reason=Reason("no-sources", {"count": 0}))
    step = steps(runtime, acme, run_id)[-1]
    assert load(runtime, acme, run_id).state is RunState.FAILED
    assert (step.of, step.old, step.new) == ("backup_runs", "queued", "failed")
    assert (step.code, step.params, step.by) == ("no-sources", {"count": 0}, "system:worker")


def test_further_columns_are_set_in_the_same_act_and_cannot_turn_the_state(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    run = load(runtime, acme, run_id)
    values = {"failure": {"code": "x"}, "state": RunState.STORED}
    put(runtime, acme, run, RunState.FAILED, values=values)
    after = load(runtime, acme, run_id)
    assert (after.state, after.failure) == (RunState.FAILED, {"code": "x"})


@pytest.mark.parametrize(
    ("old", "new"),
    [(old, new) for old, new in itertools.product(RunState, RunState)
     if new not in BackupRun.STEPS[old]],
)  # fmt: skip
def test_a_step_that_the_table_does_not_list_is_refused(old: RunState, new: RunState) -> None:
    run = BackupRun(id=uuid.uuid4(), state=old)
    with pytest.raises(WrongTurn, match=f"from {old} to {new}"):
        advance(None, run, new, Move(by=WORKER, at=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", LIVED, ids=lambda kind: kind.__name__)
def test_every_state_of_a_lifecycle_has_its_steps_and_can_be_reached(kind: Any) -> None:
    states: set[enum.StrEnum] = set(type(next(iter(kind.STEPS))))
    reached = set().union(*kind.STEPS.values())
    assert set(kind.STEPS) == states
    if kind in BEGINNINGS:
        assert states - reached == set(BEGINNINGS[kind])
    else:
        assert len(states - reached) <= 1  # the first one


@pytest.mark.parametrize("kind", [each for each in LIVED if issubclass(each, Work)])
def test_work_can_be_put_back_or_quarantined_while_busy_and_freed_by_a_person(kind: Any) -> None:
    assert kind.BUSY in kind.STEPS[kind.WAITING]
    assert {kind.WAITING, kind.QUARANTINE} <= kind.STEPS[kind.BUSY]
    assert kind.WAITING in kind.STEPS[kind.QUARANTINE]


def test_who_read_the_row_before_it_moved_is_overtaken_and_leaves_no_step(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    early = load(runtime, acme, run_id)
    put(runtime, acme, load(runtime, acme, run_id), RunState.FAILED)
    before = len(steps(runtime, acme, run_id))
    with pytest.raises(Overtaken):
        put(runtime, acme, early, RunState.MAKING)
    assert load(runtime, acme, run_id).state is RunState.FAILED
    assert len(steps(runtime, acme, run_id)) == before


def test_who_holds_an_older_fence_is_overtaken(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    first = take_it(runtime, acme, run_id)
    put(runtime, acme, load(runtime, acme, run_id), RunState.QUEUED)
    second = take_it(runtime, acme, run_id)
    assert first is not None and second is not None and second > first
    with pytest.raises(Overtaken):
        put(runtime, acme, load(runtime, acme, run_id), RunState.STORED, fence=first)
    put(runtime, acme, load(runtime, acme, run_id), RunState.STORED, fence=second)
    assert load(runtime, acme, run_id).state is RunState.STORED


def race(act: Callable[[], object], *, runners: int = 8) -> list[object]:
    """Everybody at once; what each got, or the exception it met."""
    gate = threading.Barrier(runners)
    results: list[object] = []

    def go() -> None:
        gate.wait()
        try:
            results.append(act())
        except Overtaken as error:
            results.append(error)

    threads = [threading.Thread(target=go) for _ in range(runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_many_who_move_a_row_at_once_one_does(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    early = load(runtime, acme, run_id)
    before = len(steps(runtime, acme, run_id))
    results = race(lambda: put(runtime, acme, early, RunState.FAILED))
    assert [type(each) for each in results].count(Overtaken) == len(results) - 1
    assert len(steps(runtime, acme, run_id)) == before + 1


def test_of_many_who_take_a_row_at_once_one_gets_it(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    results = race(lambda: take_it(runtime, acme, run_id))
    run = load(runtime, acme, run_id)
    assert sorted(results, key=str) == [1] + [None] * (len(results) - 1)
    assert (run.state, run.fence, run.attempt) == (RunState.MAKING, 1, 1)


def test_a_lease_runs_on_the_databases_clock_wherever_business_time_is(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    runtime.clock.forward(days=400)  # type: ignore[attr-defined]
    take_it(runtime, acme, run_id)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        until, now = session.get_one(BackupRun, run_id).lease_until, database_now(session)
    assert until is not None
    assert LEASE - timedelta(seconds=30) < until - now <= LEASE


def test_taking_leaves_a_step_with_the_fence_and_what_is_not_waiting_is_not_taken(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    fence = take_it(runtime, acme, run_id)
    step = steps(runtime, acme, run_id)[-1]
    assert (step.old, step.new, step.code, step.fence) == ("queued", "making", "taken", fence)
    assert take_it(runtime, acme, run_id) is None
    assert len(steps(runtime, acme, run_id)) == 2  # asked for, taken


@pytest.fixture
def taken(runtime: Runtime, acme: Tenant, run_id: uuid.UUID) -> Iterator[BackupRun]:
    """A run whose lease is about to end."""
    assert take_it(runtime, acme, run_id) == 1
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        soon = text("clock_timestamp() + interval '1 second'")
        session.execute(update(BackupRun).values(lease_until=soon))
        run = session.get_one(BackupRun, run_id)
        session.refresh(run)
    yield run


def renewed(runtime: Runtime, tenant: Tenant, held: dict[uuid.UUID, int]) -> set[uuid.UUID]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return renew(session, BackupRun, held)


def test_a_lease_is_extended_for_its_holder(
    runtime: Runtime, acme: Tenant, taken: BackupRun
) -> None:
    before = taken.lease_until
    assert renewed(runtime, acme, {taken.id: 1}) == {taken.id}
    after = load(runtime, acme, taken.id).lease_until
    assert before is not None and after is not None
    assert after - before > LEASE / 2


def test_a_lease_is_not_extended_for_an_older_fence_a_stranger_or_nobody(
    runtime: Runtime, acme: Tenant, bolt: Tenant, taken: BackupRun
) -> None:
    assert renewed(runtime, acme, {taken.id: 0}) == set()
    assert renewed(runtime, bolt, {taken.id: 1}) == set()
    assert renewed(runtime, acme, {}) == set()
    assert load(runtime, acme, taken.id).lease_until == taken.lease_until


def test_a_lease_that_was_given_back_stays_so(
    runtime: Runtime, acme: Tenant, taken: BackupRun
) -> None:
    put(runtime, acme, taken, RunState.STORED, values={"owner": None, "lease_until": None})
    assert renewed(runtime, acme, {taken.id: 1}) == set()
    assert load(runtime, acme, taken.id).lease_until is None


# Nobody else sets a state

SETS_STATE = re.compile(r"\bset\s+state\s*=", re.IGNORECASE)


def culprits(source: str) -> list[int]:
    """Lines that set `.state` by assignment, setattr, an update statement or SQL of their own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="state", ctx=ast.Store() | ast.Del()):
                found.append(node.lineno)
            case ast.Call(func=ast.Name("setattr"), args=[_, ast.Constant("state"), *_]):
                found.append(node.lineno)
            case ast.Call(func=ast.Attribute(attr="values"), keywords=keywords) if any(
                keyword.arg == "state" for keyword in keywords
            ) and _begins_with_update(node):
                found.append(node.lineno)
            case ast.Constant(str(text)) if SETS_STATE.search(text):
                found.append(node.lineno)
    return found


def _begins_with_update(node: ast.AST) -> bool:
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    return "update" in names


@pytest.mark.parametrize(
    "source",
    [
        "run.state = RunState.STORED",
        "run.state: RunState = x",
        "setattr(run, 'state', x)",
        "session.execute(update(Run).where(a).values(state=x))",
        "text('update runs set state = 1')",
        "for run.state in x: pass",
    ],
)
def test_the_walk_finds_every_way_to_set_a_state(source: str) -> None:
    assert culprits(source) == [1]


def test_the_walk_lets_constructors_and_comparisons_pass() -> None:
    assert culprits("Run(state=x)\nrun.state == x\nselect(a).where(a.state == x)") == []


def test_nobody_but_the_lifecycle_sets_a_state() -> None:
    parts = ("platform", "backup", "restore", "tenants", "web")
    files = [path for part in parts for path in (ROOT / part).rglob("*.py")]
    found = {
        str(path.relative_to(ROOT)): culprits(path.read_text(encoding="utf-8")) for path in files
    }
    found.pop("platform/strongroom/lifecycle.py")
    assert len(files) > 100
    assert {path: lines for path, lines in found.items() if lines} == {}


# What is on record


def lived() -> list[Any]:
    """Every model that has a lifecycle, in one order in every process."""
    found = {each.class_ for each in Base.registry.mappers if issubclass(each.class_, Lived)}
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", lived(), ids=lambda kind: kind.__name__)
def test_every_state_has_a_rule_about_the_record(kind: Any) -> None:
    assert set(kind.ON_RECORD) == set(kind.STEPS)


def test_what_a_person_moves_is_on_record_whatever_it_is() -> None:
    for kind, state in ((BackupRun, RunState.QUEUED), (models.Copy, CopyState.REMOVED)):
        assert on_record(kind, "", state, Move(by=ADA, at=AT)) is Ending.DONE
        assert on_record(kind, "", state, Move(by=WORKER, at=AT)) is None


def test_work_that_is_tried_again_is_not_on_record_each_time() -> None:
    waiting, running = RestoreState.WAITING, RestoreState.RUNNING
    assert on_record(Restore, running, waiting, Move(by=WORKER, at=AT)) is None
    assert on_record(Restore, RestoreState.ASKED, waiting, Move(by=WORKER, at=AT)) is Ending.DONE


def test_a_move_and_its_entry_are_kept_or_lost_together(
    runtime: Runtime, acme: Tenant, run_id: uuid.UUID
) -> None:
    move = Move(by=ADA, at=runtime.now(), reason=Reason("given-up"))
    with (
        pytest.raises(ZeroDivisionError),
        runtime.database.session(Role.WORKER, tenant=acme.id) as session,
    ):
        advance(session, session.get_one(BackupRun, run_id), RunState.FAILED, move)
        raise ZeroDivisionError
    assert entries_of(runtime, run_id) == ["backup-runs.queued"]
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        advance(session, session.get_one(BackupRun, run_id), RunState.FAILED, move)
    assert entries_of(runtime, run_id) == ["backup-runs.failed", "backup-runs.queued"]


def entries_of(runtime: Runtime, subject: uuid.UUID) -> list[str]:
    with runtime.database.session(Role.OPERATOR) as session:
        return sorted(row.code for row in entries.on_subject(session, "backup_runs", subject))
