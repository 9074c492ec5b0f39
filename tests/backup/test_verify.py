"""A proof finds what is wrong with a copy, says so of that copy alone, and cries wolf never."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backup import runs, verify
from backup.followers import want_proof
from backup.models import Copy, Pack, Point, Proof
from backup.states import ProofState
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, B, Vault, snapshots_of, vault
from tests.cast import FakeClock, add_folder, back_up, fill, queue, rows_of


def prove_again(held: Vault, point: Point) -> Proof:
    """As a proof that fell due."""
    runtime, tenant = held.runtime, point.tenant_id
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        copy = (
            session.query(Copy).filter_by(point_id=point.id, repository_id=held.site.row.id).one()
        )
        want_proof(session, copy, now=runtime.now())
        session.flush()
        wanted = session.query(Proof).filter_by(copy_id=copy.id, state=ProofState.WAITING)
        [proof_id] = [proof.id for proof in wanted]
    proof = verify.prove(runtime, tenant, proof_id)
    assert proof is not None
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        return session.get_one(Proof, proof_id)


def verified(held: Vault, point: Point) -> list[datetime | None]:
    return [each.verified_at for each in snapshots_of(held, point)]


def harm(held: Vault, kind: str) -> None:
    """Change what lies there, with the region's root credentials."""
    if kind == "delete an index":
        held.store.delete(next(iter(held.store.list(held.prefix + "index/"))).key)
        return
    pack = max(held.store.list(held.prefix + "data/"), key=lambda each: each.size).key
    data = held.store.get(pack)
    flipped = bytes([data[0] ^ 1])
    held.store.put(pack, data[:-1] if kind == "cut a pack short" else flipped + data[1:])


@pytest.mark.parametrize("kind", ["flip a byte", "cut a pack short", "delete an index"])
def test_damage_in_one_region_undates_its_copies_and_no_others(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, kind: str
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    first, second = vault(runtime, acme, A), vault(runtime, acme, B)
    harm(second, kind)
    clock.forward(days=29)  # the policy has everything read once in 28 days

    proofs = [prove_again(first, point), prove_again(second, point)]

    assert [proof.state for proof in proofs] == [ProofState.PASSED, ProofState.FAILED]
    assert None not in verified(first, point)
    assert set(verified(second, point)) == {None}


def test_packs_that_were_read_lately_are_not_read_again_and_old_ones_are(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="new")
    held = vault(runtime, acme)
    before = len(held.packs())

    point = back_up(runtime, acme)
    [lately] = proofs_of(held, point)
    clock.forward(days=29)
    later = prove_again(held, point)

    assert lately.found is not None
    assert lately.found["packs_read"] == len(held.packs()) - before
    assert later.found is not None
    assert later.found["packs_read"] == len(held.packs())


def proofs_of(held: Vault, point: Point) -> list[Proof]:
    with held.runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        copies = session.query(Copy.id).filter_by(point_id=point.id, repository_id=held.site.row.id)
        return list(session.query(Proof).filter(Proof.copy_id.in_(copies)))


def test_a_full_run_has_everything_read_again(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme, B)
    harm(held, "flip a byte")

    point = back_up(runtime, acme, full=True)

    assert [proof.state for proof in proofs_of(held, point)] == [ProofState.FAILED]
    assert set(verified(held, point)) == {None}


def test_a_pack_that_was_mended_is_believed_again(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    good = {each: held.store.get(each) for each in held.packs()}
    harm(held, "flip a byte")
    clock.forward(days=29)
    assert prove_again(held, point).state is ProofState.FAILED

    for key, data in good.items():
        held.store.put(key, data)

    assert prove_again(held, point).state is ProofState.PASSED
    assert all(pack.whole for pack in rows_of(runtime, acme, Pack))


def test_a_proof_beside_a_backup_finds_no_damage(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup runs to its end between the proof's look at the structure and at the packs."""
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    held = vault(runtime, acme)
    fill(tmp_path / "files", words="meanwhile")
    read = verify.read_packs
    made = []

    def beside(*arguments: Any, **options: Any) -> verify.Found:
        run_id = queue(runtime, acme)
        thread = threading.Thread(target=lambda: made.append(runs.make(runtime, acme.id, run_id)))
        thread.start()
        found = read(*arguments, **options)
        thread.join()
        return found

    forget_proofs(held)
    monkeypatch.setattr(verify, "read_packs", beside)
    proof = prove_again(held, point)

    assert made != [None]
    assert proof.state is ProofState.PASSED


def forget_proofs(held: Vault) -> None:
    """As if nothing had been read yet."""
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        session.query(Pack).delete()
        for row in held.rows():
            session.merge(row).verified_at = None
