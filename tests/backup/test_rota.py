"""Whose turn it is: spread, never twice at once, nothing forgotten; and what a share reads."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from backup import rota
from backup.holdings import Holdings, Known, doubts, replaced
from backup.models import Copy, Proof, Rota, Snapshot
from backup.policy import Verification
from backup.states import Level, ProofState
from strongroom.db import Role
from strongroom.dispatch import Dispatcher
from strongroom.runtime import Runtime
from tenants import plan_changes
from tenants.models import Tenant
from tests.backup.proving import prove, read_all, rows
from tests.backup.vaults import A, B, Vault, set_policy, vault, vaults
from tests.cast import ADA, FakeClock, add_folder, back_up, fill, rows_of
from web import duties

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENTS = some.integers(-200_000, 300_000).map(lambda hours: NOON + timedelta(hours=hours))


@given(some.uuids(), MOMENTS, some.integers(1, 400))
def test_the_next_turn_is_ahead_at_most_one_period_away_and_on_a_grid(
    repository: uuid.UUID, now: datetime, days: int
) -> None:
    step = timedelta(days=days)
    due = rota.next_turn(repository, Level.STRUCTURE, step, after=now)
    assert now < due <= now + step
    assert rota.next_turn(repository, Level.STRUCTURE, step, after=due) == due + step
    assert rota.next_turn(repository, Level.STRUCTURE, step, after=due - step / 2) == due


def test_turns_of_many_repositories_never_come_all_at_once() -> None:
    week = timedelta(days=7)
    due = [
        rota.next_turn(uuid.uuid4(), Level.STRUCTURE, week, after=NOON) for _ in range(7 * 24 * 20)
    ]
    hours = [int((each - NOON) / timedelta(hours=1)) for each in due]
    assert max(hours.count(hour) for hour in range(7 * 24)) < 60  # 20 on average


@pytest.mark.parametrize("days", [1, 2, 7, 28, 300])
@pytest.mark.parametrize("outage", [0, 3, 40])
def test_every_byte_is_read_within_its_days_with_certainty(days: int, outage: int) -> None:
    """Shares come each day, up to an hour early or late; after an outage the first makes up."""
    repository = uuid.UUID(int=7)
    names = [f"{first:02x}{'0' * 62}" for first in range(256)]
    read = dict.fromkeys(names, NOON)
    start = rota.next_turn(repository, Level.SHARE, DAY, after=NOON)
    for number in range(3 * days):
        now = start + number * DAY + timedelta(minutes=number * 37 % 60)
        if days <= number < days + outage:
            continue
        known = {name: Known(at, whole=True) for name, at in read.items()}
        held = Holdings(dict.fromkeys(names, 1), known, (), ())
        chosen = held.share(rota.day_of(repository, now), every_days=days, now=now)
        read |= dict.fromkeys(chosen, now)
        if days > 7 and not outage:
            assert len(chosen) <= 2 * len(names) / days + 1  # spread, not all on one day
        oldest = min(read.values())
        assert start + (number + 1) * DAY - oldest <= days * DAY + timedelta(hours=1)


def test_a_share_reads_what_is_unread_and_what_is_damaged_whatever_the_day() -> None:
    name = "01" + "0" * 62
    fresh, day = NOON - timedelta(hours=1), 0
    read = {name: Known(fresh, whole=True)}
    assert Holdings({name: 1}, read, (), ()).share(day, every_days=28, now=NOON) == {}
    for known in ({}, {name: Known(fresh, whole=False)}):
        assert Holdings({name: 1}, known, (), ()).share(day, every_days=28, now=NOON) == {name: 1}


def test_packs_are_as_old_as_the_oldest_and_an_unread_one_has_no_date() -> None:
    known = {"aa": Known(NOON - 9 * DAY, whole=True), "bb": Known(NOON - DAY, whole=True)}
    held = Holdings({"aa": 1, "bb": 1, "cc": 1}, known, (), ())
    assert held.oldest({}, gone=set()) is None
    assert held.oldest({"cc": NOON}, gone=set()) == NOON - 9 * DAY
    assert held.oldest({"cc": NOON, "aa": NOON}, gone=set()) == NOON - DAY
    assert held.oldest({"cc": NOON}, gone={"aa"}) == NOON - DAY
    assert Holdings({}, {}, (), ()).oldest({}, gone=set()) is None


def test_a_listing_without_packs_is_doubted_only_where_there_are_snapshots() -> None:
    assert doubts([], []) == ()
    assert doubts([], [0])
    assert doubts([50, 49], [100, 3]) == ()
    assert doubts([50], [100, 3])


def test_only_packs_reported_gone_before_a_healing_ended_were_made_up_for() -> None:
    read = {"aa": NOON - DAY, "bb": NOON + DAY, "cc": NOON - DAY}
    reports = [(NOON, ["aa", "bb", "dd"])]
    assert replaced(read, reports, NOON + DAY) == {"aa"}
    assert replaced(read, reports, NOON - DAY) == set()
    assert replaced(read, reports, None) == set()


def test_a_policy_moves_what_is_ahead_and_leaves_what_is_overdue() -> None:
    row = Rota(repository_id=uuid.uuid4(), level=Level.STRUCTURE, due_at=NOON + 25 * DAY)
    wanted = Verification(structure_every_days=7, data_every_days=28, drill_every_days=30)
    assert NOON < rota.moved(row, wanted, now=NOON) <= NOON + 7 * DAY
    row.due_at = NOON - DAY
    assert rota.moved(row, wanted, now=NOON) == NOON - DAY


def rotas(runtime: Runtime, tenant: Tenant) -> list[Rota]:
    return rows_of(runtime, tenant, Rota, Rota.level.in_(rota.LEVELS))


def plan(runtime: Runtime) -> int:
    """As a dispatcher does it, with its rights."""
    with runtime.database.session(Role.DISPATCHER) as session:
        return rota.plan(session, runtime.now())


def waiting(runtime: Runtime, tenant: Tenant) -> list[Proof]:
    asked = (Proof.asked_by == rota.ASKED_BY, Proof.state == ProofState.WAITING)
    return rows_of(runtime, tenant, Proof, *asked)


def test_each_repository_gets_its_turns_when_it_is_named(runtime: Runtime, acme: Tenant) -> None:
    now = runtime.now()
    found = {(row.repository_id, row.level): row.due_at - now for row in rotas(runtime, acme)}
    ids = [held.site.row.id for held in vaults(runtime, acme)]
    assert set(found) == {(one, level) for one in ids for level in rota.LEVELS}
    assert all(timedelta(0) < ahead <= 7 * DAY for ahead in found.values())


def test_a_change_of_plan_moves_the_turns(runtime: Runtime, acme: Tenant) -> None:
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.query(Rota).update({"due_at": runtime.now() + 300 * DAY})
    plan_changes.change(runtime, acme, "business", by=ADA)
    assert all(row.due_at <= runtime.now() + 7 * DAY for row in rotas(runtime, acme))


def test_a_repository_without_turns_gets_them_from_the_planner(
    runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.MIGRATOR) as session:
        session.connection().exec_driver_sql("alter table rotas no force row level security")
        session.connection().exec_driver_sql("delete from rotas")
    plan(runtime)
    assert len(rotas(runtime, acme)) == 4


def test_turns_become_proofs_of_the_newest_stored_copies_and_never_two_at_once(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="newer")
    newest = back_up(runtime, acme)
    clock.forward(days=8)

    assert plan(runtime) == 4  # Bolt has nothing to prove
    clock.forward(days=8)
    assert plan(runtime) == 0  # they still wait

    found = waiting(runtime, acme)
    copies = {row.id: row for row in rows_of(runtime, acme, Copy)}
    assert {copies[proof.copy_id].point_id for proof in found} == {newest.id}
    pairs = {(copies[proof.copy_id].repository_id, proof.level) for proof in found}
    assert len(pairs) == len(found) == 4
    assert waiting(runtime, bolt) == []
    assert all(row.due_at > runtime.now() for row in [*rotas(runtime, acme), *rotas(runtime, bolt)])


def test_a_dispatcher_rings_for_turns_and_a_worker_proves(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    assert rota.plan in duties.PLANNERS
    clock.forward(days=8)
    dispatcher = Dispatcher(runtime.database, runtime.app, (), (rota.plan,), runtime.now())
    dispatcher.round(runtime.now())
    assert len(waiting(runtime, acme)) == 4
    for held in vaults(runtime, acme):
        for level in rota.LEVELS:
            assert prove(held, point, level).state is ProofState.PASSED
    assert all(row.passed_at is not None for row in rotas(runtime, acme))


def test_a_clock_that_was_ahead_silences_nobody(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    now = runtime.now()
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        ahead = now + 400 * DAY
        session.query(Rota).update({"planned_at": ahead, "due_at": ahead + DAY})
    plan(runtime)
    assert all(row.due_at <= now + 8 * DAY for row in rotas(runtime, acme))


def verified(held: Vault) -> set[datetime | None]:
    return {each.verified_at for each in rows(held)}


def test_a_missed_month_shows_as_an_old_proof_until_it_was_made_up_for(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    before = runtime.now()
    read_all(held, before - 40 * DAY)
    prove(held, point, Level.STRUCTURE)
    assert all(each is not None and each <= before for each in verified(held))

    clock.forward(days=1)
    proof = prove(held, point, Level.SHARE)

    assert proof.found is not None
    assert proof.found["packs_read"] == len(held.packs())
    assert all(each is not None and each > before for each in verified(held))


def test_a_share_dates_every_snapshot_by_the_oldest_reading_and_none_younger(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="newer")
    point = back_up(runtime, acme)
    held, other = vault(runtime, acme, A), vault(runtime, acme, B)
    old = runtime.now() - 20 * DAY
    read_all(held, old)
    there = verified(other)

    proof = prove(held, point, Level.SHARE)

    assert proof.found is not None
    assert proof.found["packs_read"] < len(held.packs())
    assert verified(held) == {old}
    assert verified(other) == there


def test_a_share_verifies_nothing_whose_structure_was_never_checked(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.query(Snapshot).update({"checked_at": None, "verified_at": None})

    assert prove(held, point, Level.SHARE).state is ProofState.PASSED
    assert verified(held) == {None}
    assert prove(held, point, Level.STRUCTURE).state is ProofState.PASSED
    assert prove(held, point, Level.SHARE).state is ProofState.PASSED
    assert None not in verified(held)


def test_structure_by_rota_dates_all_snapshots_that_stand_there(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="newer")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    later = clock.forward(days=3)

    assert prove(held, point, Level.STRUCTURE).state is ProofState.PASSED
    assert all(each.checked_at is not None and each.checked_at >= later for each in rows(held))


def test_a_person_who_asks_has_everything_read_however_fresh(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    proof = prove(held, point, Level.DATA, asked_by=str(ADA))
    assert proof.found is not None
    assert proof.found["packs_read"] == len(held.packs())


def test_a_shorter_time_for_reading_makes_the_next_share_larger(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    body = {"structure_every_days": 7, "data_every_days": 1, "drill_every_days": 30}
    set_policy(runtime, acme, verification=body)
    proof = prove(held, point, Level.SHARE)
    assert proof.found is not None
    assert proof.found["packs_read"] == len(held.packs())
