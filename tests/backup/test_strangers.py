"""What is none of ours is seen, harms nothing, is told once, and is never touched."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup import keyfile, leases, tasks
from backup.keyfile import MachinePassword, Stamp
from backup.models import Finding, Healing, Proof, Removal, Snapshot
from backup.restic import commands
from backup.restic.flags import FolderBackup
from backup.sealing import SealKey
from backup.states import Decision, ProofState, RemovalState, RepositoryState
from restore.states import Destination
from strongroom.runtime import Runtime
from strongroom.storage import Act
from tenants.models import Tenant
from tests.backup.test_census import wipe
from tests.backup.vaults import A, B, Vault, digest, restored, set_policy, vault, vaults
from tests.cast import FakeClock, add_folder, back_up, fill, rows_of
from tests.restore.asking import give_back, report

HUGE = b"{" + b" " * 5_000_000


def foreign_key() -> tuple[str, bytes]:
    """A key file of another repository, which restic would try first."""
    master = SealKey(encrypt=b"e" * 32, k=b"k" * 16, r=b"r" * 16)
    name, text = keyfile.make(master, MachinePassword.make(), Stamp(datetime.now(UTC)))
    return f"keys/{name}", text


def named(data: bytes) -> tuple[str, bytes]:
    return f"keys/{hashlib.sha256(data).hexdigest()}", data


STRANGE = {
    "garbage": ("key-malformed", lambda: ("keys/" + "0" * 64, b"garbage")),
    "no name": ("key-malformed", lambda: ("keys/readme.txt", b"hello")),
    "huge": ("key-malformed", lambda: named(HUGE)),
    "another's": ("key-foreign", foreign_key),
}


def open_findings(runtime: Runtime, tenant: Tenant) -> list[tuple[str, str]]:
    rows = rows_of(runtime, tenant, Finding, Finding.settled_at.is_(None))
    return sorted((row.code, row.subject) for row in rows)


def hold_once(held: Vault) -> None:
    """A lease and nothing else: what every act begins with."""
    with leases.leased(held.runtime, held.site.row.tenant_id, held.site.row.id):
        pass


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("garbage", marks=pytest.mark.long),
        pytest.param("no name", marks=pytest.mark.long),
        "huge",
        "another's",
    ],
)
def test_a_strange_key_does_no_harm_and_is_reported(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, kind: str
) -> None:
    code, make = STRANGE[kind]
    path, data = make()
    source = add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    for held in vaults(runtime, acme):
        held.store.put(held.prefix + path, data)
    fill(tmp_path / "files", words="second")
    clock.forward(days=8)

    point = back_up(runtime, acme)

    for held in vaults(runtime, acme):
        assert held.is_clean()
        assert restored(held, point, tmp_path / "back") == [digest(tmp_path / "files")]
        assert held.store.get(held.prefix + path) == data
    assert report(give_back(runtime, point, source, Destination.ASIDE))["region"] == A
    assert open_findings(runtime, acme) == [(code, f"{A}/{path}"), (code, f"{B}/{path}")]
    for held in vaults(runtime, acme):
        held.store.delete(held.prefix + path)
        clock.forward(days=8)
        hold_once(held)
    assert open_findings(runtime, acme) == []


def test_an_object_outside_of_the_layout_is_reported(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    held = vault(runtime, acme, A)
    held.store.put(held.prefix + "notes.txt", b"hello")
    held.store.put(held.prefix + "more/notes.txt", b"hello")
    add_folder(runtime, acme, tmp_path / "files")

    back_up(runtime, acme)

    assert open_findings(runtime, acme) == [
        ("object-foreign", f"{A}/more/"),
        ("object-foreign", f"{A}/notes.txt"),
    ]


FOREIGN = {
    "data/notes.txt": "data-foreign",
    "data/ab/notes.txt": "data-foreign",
    "data/ab/" + "c" * 64: "data-foreign",  # a pack's name in a folder where no pack has it
    "index/notes.txt": "object-foreign",
    "index/more/notes.txt": "object-foreign",
}


def test_what_no_pack_and_no_index_is_named_like_is_told_and_stops_nothing(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    for path in FOREIGN:
        held.store.put(held.prefix + path, b"hello")
    fill(tmp_path / "files", words="second")
    set_policy(runtime, acme)
    clock.forward(days=8)

    point = back_up(runtime, acme)

    assert open_findings(runtime, acme) == sorted((c, f"{A}/{p}") for p, c in FOREIGN.items())
    assert not any(row.freezes for row in rows_of(runtime, acme, Finding))
    proofs = rows_of(runtime, acme, Proof)
    assert {row.state for row in proofs} == {ProofState.PASSED}  # no pack is taken for damaged
    assert rows_of(runtime, acme, Healing) == []
    tasks.review(runtime, acme.id)  # what retention lets go does go
    assert {row.state for row in rows_of(runtime, acme, Removal)} == {RemovalState.GONE}
    assert held.row.state is RepositoryState.READY
    assert report(give_back(runtime, point, source, Destination.ASIDE))["region"] == A
    for path in FOREIGN:
        assert held.store.get(held.prefix + path) == b"hello"  # looked at, and never touched
    root = held.store
    root.delete_versions(
        [(v.key, v.version_id) for p in FOREIGN for v in root.versions(held.prefix + p)]
    )
    fill(tmp_path / "files", words="third")
    clock.forward(days=8)
    back_up(runtime, acme)
    assert open_findings(runtime, acme) == []


def test_a_snapshot_that_nobody_recorded_is_reported_and_stays(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    wanted = FolderBackup(tmp_path / "files", host="laptop", tags=("mine",), force=True)
    made = commands.backup_folder(held.site.restic(Act.BACKUP), held.here(), wanted).snapshot
    assert made is not None

    back_up(runtime, acme)

    [finding] = rows_of(runtime, acme, Finding)
    assert (finding.code, finding.subject) == ("snapshot-unrecorded", made)
    assert finding.params["host"] == "laptop"
    assert finding.params["tags"] == ["mine"]
    assert made in held.snapshot_ids()
    held.store.delete(f"{held.prefix}snapshots/{made}")
    hold_once(held)
    [settled] = rows_of(runtime, acme, Finding)
    assert settled.decision is Decision.GONE


def test_a_vanished_snapshot_is_a_finding_until_it_is_back(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    [row] = rows_of(runtime, acme, Snapshot, Snapshot.repository_id == held.site.row.id)
    wipe(held, "snapshots/")

    hold_once(held)

    assert open_findings(runtime, acme) == [("snapshot-vanished", row.restic_id)]
    markers = [each for each in held.store.versions(held.prefix + "snapshots/") if each.marker]
    held.store.delete_versions((each.key, each.version_id) for each in markers)
    hold_once(held)
    assert open_findings(runtime, acme) == []
