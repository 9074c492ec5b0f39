"""Leases are kept while they are held, and their loss is noticed in time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from backup.models import BackupRun
from strongroom import keeper as keepers
from strongroom.actors import WORKER
from strongroom.db import Database, Role
from strongroom.keeper import Held, Keeper
from strongroom.lifecycle import LEASE, Move, database_now, take
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.platform.stack_cast import until
from tests.platform.test_lifecycle import run_id

__all__ = ["run_id"]
BEAT = 0.05
ENDS_SOON = update(BackupRun).values(lease_until=func.clock_timestamp() + timedelta(seconds=2))


@pytest.fixture
def run(runtime: Runtime, acme: Tenant, run_id: uuid.UUID) -> BackupRun:
    """Taken, with a lease that is about to end."""
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        row = session.get_one(BackupRun, run_id)
        assert take(session, row, owner="a:b:1:1", move=Move(by=WORKER, at=runtime.now())) == 1
        session.execute(ENDS_SOON)
    return row


@pytest.fixture
def keeper(runtime: Runtime) -> Iterator[Keeper]:
    made = Keeper(runtime.database, beat=BEAT)
    yield made
    assert until(lambda: made._thread is None)


def left(runtime: Runtime, run: BackupRun) -> timedelta:
    """How long the lease still lasts."""
    with runtime.database.session(Role.WORKER, tenant=run.tenant_id) as session:
        row = session.get_one(BackupRun, run.id)
        assert row.lease_until is not None
        return row.lease_until - database_now(session)


def overtake(runtime: Runtime, run: BackupRun) -> None:
    with runtime.database.session(Role.WORKER, tenant=run.tenant_id) as session:
        session.execute(update(BackupRun).values(fence=BackupRun.fence + 1))


def test_a_lease_is_renewed_as_long_as_it_is_held(
    runtime: Runtime, keeper: Keeper, run: BackupRun
) -> None:
    with keeper.holding(run, 1) as held:
        assert until(lambda: left(runtime, run) > LEASE - timedelta(seconds=5))
        assert not held.is_lost


def test_who_was_overtaken_is_told_within_a_beat(
    runtime: Runtime, keeper: Keeper, run: BackupRun
) -> None:
    with keeper.holding(run, 1) as held:
        overtake(runtime, run)
        assert held.lost.wait(60)
        assert held.is_lost


def test_a_database_that_is_away_for_a_moment_loses_no_lease(
    runtime: Runtime, run: BackupRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Database({Role.WORKER: "postgresql+psycopg://worker@127.0.0.1:1/none"})
    alone = Keeper(nobody, beat=BEAT)
    tried: list[float] = []
    monkeypatch.setattr(keepers.log, "warning", lambda *_, **__: tried.append(time.monotonic()))
    with alone.holding(run, 1) as held:
        assert until(lambda: len(tried) >= 2)
        assert not held.is_lost
    nobody.close()
    assert until(lambda: alone._thread is None)


def test_a_lease_that_could_not_be_renewed_counts_as_lost_before_it_ends() -> None:
    held = Held(BackupRun, uuid.uuid4(), uuid.uuid4(), 1)
    limit = LEASE.total_seconds() - keepers.MARGIN_SECONDS
    held.renewed = time.monotonic() - limit + 20
    assert not held.is_lost
    held.renewed = time.monotonic() - limit - 0.1  # as for one who was stopped and woken
    assert held.is_lost
    held.renewed = time.monotonic()
    assert held.is_lost  # for good


def test_one_lost_lease_does_not_keep_another_from_being_renewed(
    runtime: Runtime, keeper: Keeper, acme: Tenant, run: BackupRun
) -> None:
    stranger = BackupRun(id=uuid.uuid4(), tenant_id=acme.id)
    with keeper.holding(stranger, 1) as lost, keeper.holding(run, 1) as held:
        assert lost.lost.wait(60)
        assert until(lambda: left(runtime, run) > LEASE - timedelta(seconds=5))
        assert not held.is_lost


def test_nothing_is_renewed_after_the_block_and_the_thread_comes_back_when_needed(
    runtime: Runtime, keeper: Keeper, run: BackupRun
) -> None:
    with keeper.holding(run, 1):
        thread = keeper._thread
    assert until(lambda: keeper._thread is None)
    assert thread is not None and until(lambda: not thread.is_alive())
    with runtime.database.session(Role.WORKER, tenant=run.tenant_id) as session:
        session.execute(ENDS_SOON)  # it may have been renewed within that moment
    assert left(runtime, run) < timedelta(seconds=3)
    with keeper.holding(run, 1):
        assert until(lambda: left(runtime, run) > LEASE - timedelta(seconds=5))
