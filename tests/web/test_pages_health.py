"""How tenants stand, from their rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from backup.models import Copy, Point, Proof, Repository
from backup.states import CopyState, Level, ProofState, RepositoryState, Trigger
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.proving import prove
from tests.backup.vaults import B, vault
from tests.cast import FakeClock, add_folder, back_up, carry_out, queue, rows_of
from web import health, readings
from web.health import Attention, Counts, Health


def standing(runtime: Runtime, tenant: Tenant) -> Health:
    with runtime.database.session(Role.OPERATOR) as session:
        everybody = health.read(session, now=runtime.now())
    return next(each for each in everybody if each.slug == tenant.slug)


def codes(runtime: Runtime, tenant: Tenant) -> list[Attention]:
    return [each.code for each in standing(runtime, tenant).troubles]


@pytest.fixture
def stored(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Tenant:
    """Acme with one point that is whole and verified in both regions."""
    add_folder(runtime, acme, tmp_path / "acme")
    back_up(runtime, acme)
    return acme


def test_all_is_well_after_a_backup(runtime: Runtime, stored: Tenant) -> None:
    assert codes(runtime, stored) == []


def test_points_and_verified_points_are_counted_as_retention_counts_them(
    runtime: Runtime, stored: Tenant, bolt: Tenant
) -> None:
    back_up(runtime, stored)
    with runtime.database.session(Role.OPERATOR) as session:
        counts = health.count_points(session, [stored.id, bolt.id])
        verified = readings.verified_points(session, stored.id)

    assert counts == {stored.id: Counts(points=2, verified=len(verified))}
    assert len(verified) == 2


def test_a_late_copy_makes_old_data_no_newer(
    runtime: Runtime, stored: Tenant, clock: FakeClock
) -> None:
    late = clock.forward(hours=31)
    with runtime.database.session(Role.OPERATOR, tenant=stored.id) as session:
        one = session.query(Copy).order_by(Copy.id.desc()).limit(1).one()
        one.stored_at = late

    assert codes(runtime, stored) == [Attention.OVERDUE]


def test_a_failed_run_needs_attention_until_one_succeeds(
    runtime: Runtime, stored: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "acme").rename(tmp_path / "away")
    carry_out(runtime, stored, queue(runtime, stored))
    found = standing(runtime, stored).troubles[0]
    (tmp_path / "away").rename(tmp_path / "acme")
    back_up(runtime, stored)

    assert found.code is Attention.LAST_RUN_FAILED
    assert found.failure is not None
    assert codes(runtime, stored) == []


def test_a_failed_proof_needs_attention_until_the_copy_is_proven_again(
    runtime: Runtime, stored: Tenant, clock: FakeClock
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=stored.id) as session:
        proof = session.query(Proof).order_by(Proof.id).limit(1).one()
        proof.state = ProofState.FAILED
    clock.forward(hours=20)

    assert codes(runtime, stored) == [Attention.PROOFS_FAILED]


@pytest.mark.parametrize(
    ("level", "needs"), [(Level.STRUCTURE, True), (Level.SHARE, False), (Level.DATA, False)]
)
def test_a_failed_share_is_made_good_by_what_reads_packs_in_its_region(
    runtime: Runtime, stored: Tenant, level: Level, needs: bool
) -> None:
    """By a proof of any copy there; one of the structure alone says nothing of it."""
    held = vault(runtime, stored)
    [first] = rows_of(runtime, stored, Point)
    proof = prove(held, first, Level.SHARE)
    with runtime.database.session(Role.OPERATOR, tenant=stored.id) as session:
        session.execute(update(Proof).where(Proof.id == proof.id).values(state=ProofState.FAILED))
    second = back_up(runtime, stored)

    prove(vault(runtime, stored, B), second, level)
    assert codes(runtime, stored) == [Attention.PROOFS_FAILED]
    prove(held, second, level)
    assert codes(runtime, stored) == ([Attention.PROOFS_FAILED] if needs else [])


def test_a_waiting_copy_counts_once_it_has_failed_to_come(runtime: Runtime, stored: Tenant) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=stored.id) as session:
        copy = session.query(Copy).limit(1).one()
        copy.state, copy.failure = CopyState.WAITING, None
    before = codes(runtime, stored)
    with runtime.database.session(Role.OPERATOR, tenant=stored.id) as session:
        session.execute(
            update(Copy)
            .where(Copy.state == CopyState.WAITING)
            .values(failure={"code": "storage-unreachable"})
        )

    assert before == []
    assert codes(runtime, stored) == [Attention.COPIES_WAIT]


def test_the_worst_comes_first(runtime: Runtime, stored: Tenant, clock: FakeClock) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=stored.id) as session:
        session.execute(update(Repository).values(state=RepositoryState.FROZEN))
    clock.forward(hours=31)

    assert codes(runtime, stored) == [Attention.OVERDUE, Attention.REPOSITORIES_FROZEN]
    assert standing(runtime, stored).troubles[1].count == 2


def test_another_tenants_trouble_is_not_ours(
    runtime: Runtime, stored: Tenant, bolt: Tenant
) -> None:
    assert codes(runtime, bolt) == [Attention.NO_SOURCES]
    assert codes(runtime, stored) == []


def test_the_command_line_and_the_page_say_the_same(
    runtime: Runtime, stored: Tenant, bolt: Tenant
) -> None:
    queue(runtime, stored, trigger=Trigger.MANUAL)

    status = readings.status(runtime)

    assert status["attention"] == 1
    assert {each["tenant"]: each["attention"] for each in status["tenants"]} == {
        "acme": [],
        "bolt": ["no-sources"],
    }
    assert status["tenants"][0]["running"] == ["backup queued"]
