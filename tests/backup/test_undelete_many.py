"""Bringing back costs each tenant little, goes on side by side, and never waits for what cannot be."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backup import leases, point_records, reproving, undelete
from backup.inventory import key_of_pack
from backup.models import Copy, Healing, Proof
from backup.restic import calls, repairs
from backup.states import CopyState, HealingState, ProofState
from strongroom import storage
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.storage import Act
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tests.backup.test_census import wipe
from tests.backup.vaults import A, Vault, vault
from tests.cast import ADA, add_folder, add_tenant, back_up, fill, rows_of
from tests.web.command_line import sit_down


@dataclass
class Spent:
    """What went out of the process."""

    restic: Counter[str] = field(default_factory=Counter)
    listings: int = 0  # of all versions
    seconds: Counter[str] = field(default_factory=Counter)


@contextmanager
def spending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spent]:
    """Counts restic's calls and listings of versions while the block runs."""
    spent, start, versions = Spent(), calls.prepared, storage.Store.versions

    @contextmanager
    def counted(call: calls.Call, here: calls.Surroundings) -> Iterator[Any]:
        began = time.monotonic()
        spent.restic[call.command] += 1
        with start(call, here) as command:
            yield command
            spent.seconds[call.command] += time.monotonic() - began  # type: ignore[assignment]

    def listed(store: storage.Store, prefix: str) -> Iterator[storage.Version]:
        spent.listings += 1
        return versions(store, prefix)

    with monkeypatch.context() as patch:
        patch.setattr(calls, "prepared", counted)
        patch.setattr(storage.Store, "versions", listed)
        yield spent


def backed_up(runtime: Runtime, tenant: Tenant, folder: Path) -> Vault:
    add_folder(runtime, tenant, folder)
    back_up(runtime, tenant)
    return vault(runtime, tenant, A)


def wipe_all(held: Vault) -> set[str]:
    """All that the tenant has in the bucket, records included; gives the keys."""
    below = f"t/{held.site.row.tenant_id}/"
    keys = {each.key for each in held.store.list(below) if "/locks/" not in each.key}
    for key in keys:
        held.store.delete(key)
    return keys


def keys_of(held: Vault) -> set[str]:
    return {each.key for each in held.store.list(f"t/{held.site.row.tenant_id}/")}


def pack_of_files(held: Vault) -> str:
    """A pack that a check of the structure does not open."""
    [index] = [each.key for each in held.store.list(f"{held.prefix}index/")]
    listed = repairs.index(held.site.restic(Act.READ), held.here(), index.rpartition("/")[2])
    [name] = [each.name for each in listed if not each.has_trees]
    return held.prefix + key_of_pack(name)


def bring_back(held: Vault, say: Callable[[str], None] = lambda _: None) -> undelete.Undeleted:
    row = held.site.row
    return undelete.undelete(held.runtime, row.tenant_id, row.id, since=None, by=ADA, say=say)


def wait(held: Vault, say: Callable[[str], None] = lambda _: None) -> str | None:
    return reproving.wait(held.runtime, held.site.row.tenant_id, held.site.row.id, say=say)


def test_restic_is_called_once_and_what_opens_the_backups_is_back_too(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = backed_up(runtime, acme, tmp_path / "files")
    [record] = [each.key for each in held.store.list(point_records.prefix_of(acme.id))]
    versions = [(each.key, each.version_id) for each in held.store.versions(record)]
    held.store.delete_versions(versions)  # of this one nothing is left beneath
    fill(tmp_path / "files", words="changed")
    back_up(runtime, acme)  # two of each: a cost that grows with points would show
    keys = wipe_all(held)

    with spending(monkeypatch) as spent:
        done = bring_back(held)

    assert done.is_whole, done
    assert spent.restic == {"check": 1}, spent
    # Before and after; released locks; the records beside it.
    assert spent.listings == 4, spent
    assert keys | {record} <= keys_of(held)
    assert done.back + done.records == len(keys) + 1
    for run in point_records.listed(held.site):
        assert point_records.read(held.site, run)["outcome"] == "complete"


def test_it_leaves_one_proof_to_do_and_who_waits_does_it_where_no_worker_does(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """Copies to be brought again, and a healing, would hold the repository for long. The proof is
    done also where a doorbell was lost, and the next try is hours away."""
    held = backed_up(runtime, acme, tmp_path / "files")
    fill(tmp_path / "files", words="changed")
    back_up(runtime, acme)
    wipe(held, "")
    of_acme = (runtime, acme.id, held.site.row.id)
    with leases.leased(*of_acme, damaged=True):
        pass  # whoever comes first sees what is gone
    assert rows_of(runtime, acme, Copy, Copy.state == CopyState.WAITING)
    [healing] = rows_of(runtime, acme, Healing)

    done = bring_back(held)

    assert (done.is_whole, done.proofs) == (True, 1)
    assert not rows_of(runtime, acme, Copy, Copy.state != CopyState.STORED)
    assert [each.state for each in rows_of(runtime, acme, Healing)] == [HealingState.HEALED]
    assert rows_of(runtime, acme, Healing)[0].fence > healing.fence
    [proof] = rows_of(runtime, acme, Proof, Proof.state == ProofState.WAITING)
    assert proof.due_at <= runtime.now()
    assert proof.nudged_at is None  # the dispatcher rings at once
    later = {"due_at": runtime.now() + timedelta(hours=1), "nudged_at": runtime.now()}
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(Proof).where(Proof.id == proof.id).values(**later))

    assert wait(held) is None

    assert all(row.verified_at for row in held.rows())


def test_a_worker_at_the_repository_is_waited_for_and_that_is_said(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    held = backed_up(runtime, acme, tmp_path / "files")
    wipe(held, "")
    heard, let_go = threading.Event(), threading.Event()
    told: list[str] = []

    def hold() -> None:
        with leases.leased(runtime, acme.id, held.site.row.id, damaged=True):
            heard.set()
            let_go.wait(60)

    def say(words: str) -> None:
        told.append(words)
        if "worker" in words:
            let_go.set()

    worker = threading.Thread(target=hold)
    worker.start()
    heard.wait(60)

    done = bring_back(held, say)

    worker.join()
    assert done.is_whole, done
    assert "waiting for a worker that holds the repository" in told


def test_a_proof_that_fails_is_said_and_not_waited_for(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """The bytes of a pack are others, of the same length: the structure is whole, the data is not."""
    held = backed_up(runtime, acme, tmp_path / "files")
    pack = pack_of_files(held)
    size = len(held.store.get(pack))
    for each in list(held.store.versions(pack)):
        held.store.delete_versions([(each.key, each.version_id)])
    held.store.put(pack, b"\0" * size)
    wipe(held, "")

    done = bring_back(held)
    assert done.clean
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(Proof).values(asked_by=str(ADA)))  # reads what was read before too
    said = wait(held)

    assert said is not None
    assert pack.rpartition("/")[2] in said


@pytest.mark.long
def test_a_proof_that_had_begun_before_does_not_count(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """It saw the bucket empty, and says so only now."""
    held = backed_up(runtime, acme, tmp_path / "files")
    wipe(held, "")
    assert bring_back(held).is_whole
    [proof] = rows_of(runtime, acme, Proof, Proof.state == ProofState.WAITING)
    waiting = reproving.begin(runtime, acme.id, held.site.row.id, say=lambda _: None)
    ended = {"state": ProofState.FAILED, "ended_at": runtime.now(), "found": {"errors": ["empty"]}}

    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(Proof).where(Proof.id == proof.id).values(**ended))
        seen = reproving.look(session, waiting)

    assert seen.failed is None
    assert reproving.go_on(waiting, seen) is None
    assert wait(held) is None


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_tenants_are_brought_back_and_proven(
    runtime: Runtime,
    stack: Embedded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    desk = sit_down(stack, runtime, tmp_path)
    wiped = []
    for number in range(20):
        new = NewTenant(f"t{number:02}", f"Tenant {number}", "starter", "Asia/Dubai", "AE", "en")
        held = backed_up(runtime, add_tenant(runtime, new), tmp_path / "sources" / new.slug)
        wiped.append((held, wipe_all(held)))

    began = time.monotonic()
    with spending(monkeypatch) as spent:
        said = desk("region", "undelete", A, "--wait", "--json")
    seconds = time.monotonic() - began

    assert said.code == 0, said
    assert all(each["clean"] and each["proven"] for each in said.document["tenants"])
    for held, keys in wiped:
        assert keys <= keys_of(held)
    assert spent.restic == {"check": 40}, spent  # one of the undelete, one of the proof
    record_property("seconds a tenant", round(seconds / 20, 2))
    print(f"{seconds / 20:.2f} s a tenant; {spent}")
