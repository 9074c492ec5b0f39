"""Every kind of damage is found by each level that should find it, and healing is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup import tasks, verify
from backup.models import Copy, Pack
from backup.states import CopyState, Level, ProofState
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.storage import ObjectInfo, Store
from tenants.models import Tenant
from tests.backup.proving import (
    DAMAGE,
    forget_healings,
    harm,
    healings,
    prove,
    put_back,
    read_all,
    rows,
)
from tests.backup.vaults import A, B, in_front_of, set_policy, vault
from tests.cast import ADA, FakeClock, add_folder, back_up, fill, rows_of
from tests.faults import Answer503

LEVELS = (Level.STRUCTURE, Level.SHARE, Level.DATA)
DATA_FIRST = [
    *(pytest.param(level, marks=pytest.mark.long) for level in LEVELS[:2]),
    Level.DATA,  # finds all that the others find
]


@pytest.mark.parametrize("level", DATA_FIRST)
def test_damage_is_found_undates_its_region_only_and_is_to_be_healed(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, level: Level
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="more")
    point = back_up(runtime, acme)
    held, other = vault(runtime, acme, B), vault(runtime, acme, A)
    good = {each.key: held.store.get(each.key) for each in held.store.list(held.prefix)}
    for kind in [kind for kind, levels in DAMAGE.items() if level in levels]:
        put_back(held, good)
        clock.forward(days=29)
        assert prove(held, point, Level.DATA).state is ProofState.PASSED, kind
        assert None not in {each.verified_at for each in rows(held)}
        forget_healings(held)
        clock.forward(days=29)
        harm(held, kind)

        proof = prove(held, point, level)

        assert proof.state is ProofState.FAILED, (kind, proof.failure or proof.found)
        assert {each.verified_at for each in rows(held) if each.lost_at is None} <= {None}, kind
        [healing] = healings(held)
        assert healing.seen["proof"] == str(proof.id)
        assert healing.seen["damaged"] or healing.seen["errors"], kind
    assert None not in {each.verified_at for each in rows(other)}


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_whole_passes_and_nothing_is_to_be_healed(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, level: Level
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    clock.forward(days=29)

    proof = prove(held, point, level)

    assert proof.state is ProofState.PASSED
    assert proof.found is not None
    assert proof.found["packs_read"] == (0 if level is Level.STRUCTURE else len(held.packs()))
    assert healings(held) == []


@pytest.mark.parametrize("level", DATA_FIRST)
def test_the_content_of_another_tenant_proves_nothing(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path, clock: FakeClock, level: Level
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    add_folder(runtime, bolt, tmp_path / "theirs")
    point, _ = back_up(runtime, acme), back_up(runtime, bolt)
    held, theirs = vault(runtime, acme), vault(runtime, bolt)
    harm(held, "delete everything")
    for each in theirs.store.list(theirs.prefix):
        held.store.put(
            held.prefix + each.key.removeprefix(theirs.prefix), theirs.store.get(each.key)
        )
    clock.forward(days=29)

    assert prove(held, point, level).state is ProofState.FAILED
    assert {each.verified_at for each in rows(held)} == {None}


@pytest.mark.parametrize("level", DATA_FIRST)
def test_an_older_state_of_the_same_repository_proves_nothing(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, level: Level
) -> None:
    """As after a region was restored from a copy of last week: all that is there is whole."""
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme)
    old = {each.key for each in held.store.list(held.prefix)}
    fill(tmp_path / "files", words="newer")
    point = back_up(runtime, acme)
    for each in list(held.store.list(held.prefix)):
        if each.key not in old:
            held.store.delete(each.key)
    clock.forward(days=29)

    assert prove(held, point, level).state is ProofState.FAILED


@pytest.mark.parametrize(
    "shown", [pytest.param("nothing", marks=pytest.mark.long), "a few", "all but one"]
)
def test_a_region_that_lists_too_little_is_not_believed(
    runtime: Runtime,
    acme: Tenant,
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    shown: str,
) -> None:
    """Everything it still shows is whole, and so is what it hides."""
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme)
    older = held.packs()
    fill(tmp_path / "files", files=1, words="newer")
    point = back_up(runtime, acme)
    newer = [each for each in held.packs() if each not in older]
    kept = {"nothing": [], "a few": older[:1], "all but one": [*older, *newer[1:]]}[shown]
    whole = Store.list

    def list_less(store: Store, prefix: str) -> Iterator[ObjectInfo]:
        listed = whole(store, prefix)
        return (each for each in listed if "/data/" not in each.key or each.key in kept)

    monkeypatch.setattr(Store, "list", list_less)
    clock.forward(days=29)

    for level in (Level.SHARE, Level.DATA):
        assert prove(held, point, level).state is ProofState.FAILED
    assert {each.verified_at for each in rows(held)} == {None}


def test_a_region_that_hides_packs_nobody_read_yet_is_not_believed(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.query(Pack).delete()
    whole = Store.list
    monkeypatch.setattr(
        Store, "list", lambda store, prefix: () if "data/" in prefix else whole(store, prefix)
    )

    assert prove(held, point, Level.DATA).state is ProofState.FAILED


def test_a_vanished_snapshot_is_brought_again_and_the_others_stay_dated(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    first = back_up(runtime, acme)
    fill(tmp_path / "files", words="more")
    second = back_up(runtime, acme)
    held = vault(runtime, acme)
    [newest] = [each for each in rows(held) if each.taken_at == max(r.taken_at for r in rows(held))]
    held.store.delete(f"{held.prefix}snapshots/{newest.restic_id}")

    assert prove(held, second, Level.STRUCTURE).state is ProofState.FAILED

    copies = rows_of(runtime, acme, Copy, Copy.repository_id == held.site.row.id)
    states = {each.point_id: each.state for each in copies}
    assert states == {first.id: CopyState.STORED, second.id: CopyState.WAITING}
    assert [each.verified_at is None for each in rows(held)] == [
        each.id == newest.id for each in rows(held)
    ]


def test_a_region_that_is_away_fails_no_proof(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme, B)
    with in_front_of(runtime, B) as proxy:
        proxy.fault = Answer503()
        proof = prove(held, point, Level.SHARE)

    assert proof.state is ProofState.WAITING
    assert None not in {each.verified_at for each in rows(held)}


@pytest.mark.long
def test_pruned_packs_are_not_missed(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    """Retention lets points go, and with them packs that were read before."""
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=1, floor=1)
    held = vault(runtime, acme)
    seen: set[str] = set()
    for words in ("one", "two", "three"):
        fill(tmp_path / "files", words=words)
        point = back_up(runtime, acme)
        seen |= set(held.packs())
    assert len(seen) > len(held.packs())
    read_all(held, clock() - timedelta(days=40))

    proof = prove(held, point, Level.SHARE)

    assert proof.state is ProofState.PASSED, proof.found


def test_a_source_that_retention_took_out_of_a_point_is_not_missed(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    lapsing = add_folder(runtime, acme, tmp_path / "lapsing", name="lapsing")
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    set_policy(runtime, acme, last=5, source_max_age_days={str(lapsing.id): 1})
    clock.forward(days=2)
    tasks.review(runtime, acme.id)
    held = vault(runtime, acme)
    assert sorted(each.forgotten_at is None for each in held.rows()) == [False, True]

    proof = prove(held, point, Level.STRUCTURE)

    assert proof.state is ProofState.PASSED, proof.found


def test_what_was_let_go_while_its_proof_waited_is_no_damage(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=1, floor=1)
    first = back_up(runtime, acme)
    fill(tmp_path / "files", words="newer")
    back_up(runtime, acme)
    held = vault(runtime, acme)

    proof = prove(held, first, Level.STRUCTURE)

    assert proof.state is ProofState.PASSED, proof.found
    assert healings(held) == []


def test_packs_that_a_healing_made_up_for_are_no_longer_expected(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme)
    before = held.packs()
    fill(tmp_path / "files", files=1, words="newer")
    point = back_up(runtime, acme)
    held.store.delete(next(each for each in held.packs() if each not in before))
    assert prove(held, point, Level.SHARE).state is ProofState.FAILED

    forget_healings(held)

    assert prove(held, point, Level.SHARE).state is ProofState.PASSED
    # which says nothing of the structure: this healing was a sham
    assert prove(held, point, Level.STRUCTURE).state is ProofState.FAILED


def test_a_proof_beside_one_that_finds_damage_verifies_nothing(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before the damage was seen, and passed over a pack that was read lately."""
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    read = verify.read_packs

    def beside(*arguments: Any) -> verify.Found:
        found = read(*arguments)
        monkeypatch.undo()
        harm(held, "flip a byte of data")
        assert prove(held, point, Level.DATA, asked_by=str(ADA)).state is ProofState.FAILED
        return found

    monkeypatch.setattr(verify, "read_packs", beside)
    assert prove(held, point, Level.DATA).state is ProofState.PASSED
    assert {each.verified_at for each in rows(held)} == {None}
