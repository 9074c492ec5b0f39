"""What the lost platform removed after its last dump looks like a stranger's act; a person lets it go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup import findings, removal, tasks, unexplained, verify
from backup.models import Finding, Healing, Proof, Removal
from backup.states import Decision, ProofState, RemovalState, RepositoryState
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import digest, restored, set_policy, vaults
from tests.cast import ACME, ADA, add_folder, add_tenant, back_up, fill, rows_of
from tests.end_to_end.losses import Company, company, upkeep


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path / "company") as made:
        yield made


def stopped(*_: object) -> None:
    raise StrongroomError("the machine was lost here")


def open_of(runtime: Runtime, tenant: Tenant) -> list[Finding]:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return list(findings.open_of(session, tenant.id))


@pytest.mark.long
def test_what_was_pruned_after_the_last_dump_goes_once_a_person_let_it(
    lost: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    with lost.platform("home") as before:
        acme = add_tenant(before, ACME)
        fill(files, words="first")
        add_folder(before, acme, files)
        back_up(before, acme)
        fill(files, words="second")
        back_up(before, acme)
        set_policy(before, acme)
        upkeep(before)  # the dump
        with monkeypatch.context() as patch:
            patch.setattr(removal, "_sweep", stopped)
            tasks.review(before, acme.id)
        assert {row.state for row in rows_of(before, acme, Removal)} == {RemovalState.FORGOTTEN}
        shutil.copytree(before.settings.keys, tmp_path / "keys")
    lost.lose("home")

    said = lost.recover("home", "--key-store", tmp_path / "keys")

    assert (said.code, said.document["points_gone"]) == (3, 1)
    with lost.platform("home") as after:
        assert [row.code for row in open_of(after, acme)] == ["recovered"]
        assert rows_of(after, acme, Healing) == []  # what retention let go is not brought back
        accept(after, acme)
        fill(files, words="third")
        point = back_up(after, acme)
        tasks.review(after, acme.id)
        found = open_of(after, acme)
        assert {row.code for row in found} == {unexplained.CODE}
        assert {row.params["deleted"]["snapshots"] for row in found} == {1}
        states = {held.row.state for held in vaults(after, acme)}
        assert states == {RepositoryState.FROZEN}
        accept(after, acme)
        lost.clock.forward(minutes=1)
        for row in rows_of(after, acme, Proof, Proof.state == ProofState.WAITING):
            verify.prove(after, acme.id, row.id)
        for held in vaults(after, acme):
            removal.apply(after, acme.id, held.row.id)
        for held in vaults(after, acme):
            assert held.row.state is RepositoryState.READY
            assert held.left_over() == []
            assert held.is_clean()
            assert restored(held, point, tmp_path / "back") == [digest(files)]
        assert {row.state for row in rows_of(after, acme, Removal)} == {RemovalState.GONE}
        assert open_of(after, acme) == []


def accept(runtime: Runtime, tenant: Tenant) -> None:
    """As `strongroom finding accept` does."""
    for row in open_of(runtime, tenant):
        with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            of, now = (tenant.id, row.id), runtime.now()
            settled = findings.settle(session, of, Decision.ACCEPTED, by=ADA, note="us", now=now)
            if row.code == unexplained.CODE:
                assert unexplained.prove(session, settled, by=ADA, now=now)
