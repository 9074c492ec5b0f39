"""Damage made for real, with a region's root credentials.

`gone` kinds leave earlier versions beneath, as somebody else's overwriting or deleting does;
with `rot=True` nothing lies beneath, as when the storage itself loses bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from backup import copies, healing, mending, verify
from backup.models import Copy, Healing, Pack, Proof, Snapshot
from backup.restic import repairs
from backup.states import CopyState, ProofState, RepositoryState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.storage import Act
from tenants.models import Tenant
from tests.backup.vaults import Vault
from tests.cast import rows_of


def flip(data: bytes, at: int = 0) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def overwrite(held: Vault, key: str, data: bytes, *, rot: bool) -> None:
    held.store.put(key, data)
    if rot:
        remove_beneath(held, key)


def remove(held: Vault, key: str, *, rot: bool) -> None:
    held.store.delete(key)
    if rot:
        remove_beneath(held, key)
        markers = [each for each in held.store.versions(key) if each.marker]
        held.store.delete_versions((each.key, each.version_id) for each in markers)


def remove_beneath(held: Vault, key: str) -> None:
    old = [each for each in held.store.versions(key) if not each.latest]
    assert held.store.delete_versions((each.key, each.version_id) for each in old) == []


def first(held: Vault, folder: str) -> str:
    return next(each.key for each in held.store.list(held.prefix + folder))


def packs_by_kind(held: Vault) -> tuple[list[str], list[str]]:
    """Keys of the packs that hold folders, and of those that hold contents."""
    reading, here = held.site.restic(Act.READ), held.here()
    names = [each.key.rpartition("/")[2] for each in held.store.list(held.prefix + "index/")]
    found = {pack.name: pack for name in names for pack in repairs.index(reading, here, name)}
    keys = {name: f"{held.prefix}data/{name[:2]}/{name}" for name in found}
    return (
        [keys[name] for name, pack in found.items() if pack.has_trees],
        [keys[name] for name, pack in found.items() if not pack.has_trees],
    )


def in_data(held: Vault, *, rot: bool) -> None:
    [*_, key] = packs_by_kind(held)[1]
    overwrite(held, key, flip(held.store.get(key)), rot=rot)


def in_tree(held: Vault, *, rot: bool) -> None:
    [*_, key] = packs_by_kind(held)[0]
    overwrite(held, key, flip(held.store.get(key)), rot=rot)


def in_header(held: Vault, *, rot: bool) -> None:
    [*_, key] = packs_by_kind(held)[1]
    overwrite(held, key, flip(held.store.get(key), -6), rot=rot)


def in_index(held: Vault, *, rot: bool) -> None:
    key = first(held, "index/")
    overwrite(held, key, flip(held.store.get(key), 20), rot=rot)


def in_config(held: Vault, *, rot: bool) -> None:
    key = held.prefix + "config"
    overwrite(held, key, flip(held.store.get(key), 20), rot=rot)


def in_snapshot(held: Vault, *, rot: bool) -> None:
    key = first(held, "snapshots/")
    overwrite(held, key, flip(held.store.get(key), 20), rot=rot)


def cut_short(held: Vault, *, rot: bool) -> None:
    [*_, key] = packs_by_kind(held)[1]
    overwrite(held, key, held.store.get(key)[:-1], rot=rot)


def emptied(held: Vault, *, rot: bool) -> None:
    [*_, key] = packs_by_kind(held)[1]
    overwrite(held, key, b"", rot=rot)


def swapped(held: Vault, *, rot: bool) -> None:
    one, other = packs_by_kind(held)[1][:2]
    data = held.store.get(one), held.store.get(other)
    overwrite(held, one, data[1], rot=rot)
    overwrite(held, other, data[0], rot=rot)


def no_pack(held: Vault, *, rot: bool) -> None:
    remove(held, packs_by_kind(held)[1][-1], rot=rot)


def no_index(held: Vault, *, rot: bool) -> None:
    remove(held, first(held, "index/"), rot=rot)


def no_snapshot(held: Vault, *, rot: bool) -> None:
    remove(held, first(held, "snapshots/"), rot=rot)


DAMAGE: Mapping[str, Callable[..., None]] = {
    "a byte in a data pack": in_data,
    "a byte in a tree pack": in_tree,
    "a byte in a header": in_header,
    "a byte in an index": in_index,
    "a byte in the config": in_config,
    "a byte in a snapshot": in_snapshot,
    "a pack cut short": cut_short,
    "a pack emptied": emptied,
    "two packs swapped": swapped,
    "a pack deleted": no_pack,
    "an index deleted": no_index,
    "a snapshot deleted": no_snapshot,
}


def damaged_packs(held: Vault) -> list[str]:
    """As a proof of the data, or a scrub, would name them."""
    listed = held.store.list(held.prefix + "data/")
    packs = {each.key.rpartition("/")[2]: held.store.get(each.key) for each in listed}
    return [name for name, data in packs.items() if hashlib.sha256(data).hexdigest() != name]


def want(held: Vault, **seen: object) -> Healing:
    tenant = held.site.row.tenant_id
    now = held.runtime.now()
    with held.runtime.database.session(Role.WORKER, tenant=tenant) as session:
        return healing.want(session, tenant, held.site.row.id, seen=seen, by=WORKER, now=now)


def heal(held: Vault, **seen: object) -> Healing:
    """A healing that was asked for, carried out."""
    row = want(held, **seen)
    assert mending.heal(held.runtime, row.tenant_id, row.id) is not None, last(held).failure
    return last(held)


def last(held: Vault) -> Healing:
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        rows = session.query(Healing).filter_by(repository_id=held.site.row.id)
        return rows.order_by(Healing.id.desc()).first() or Healing()


def follow_up(runtime: Runtime, tenant: Tenant) -> None:
    """What the dispatcher rings for: copies, then proofs."""
    for copy in rows_of(runtime, tenant, Copy, Copy.state == CopyState.WAITING):
        copies.bring(runtime, tenant.id, copy.id)
    for proof in rows_of(runtime, tenant, Proof, Proof.state == ProofState.WAITING):
        verify.prove(runtime, tenant.id, proof.id)


def is_as_it_was(held: Vault, tenant: Tenant) -> None:
    """Clean to the last byte, and the rows say so."""
    runtime = held.runtime
    assert held.is_clean()
    assert held.row.state is RepositoryState.READY
    follow_up(runtime, tenant)
    here = Copy.repository_id == held.site.row.id
    assert {each.state for each in rows_of(runtime, tenant, Copy, here)} == {CopyState.STORED}
    rows = rows_of(runtime, tenant, Snapshot, Snapshot.repository_id == held.site.row.id)
    standing = [row for row in rows if row.lost_at is None and row.forgotten_at is None]
    assert {row.restic_id for row in standing} == held.snapshot_ids()
    assert None not in [row.verified_at for row in standing]
    packs = rows_of(runtime, tenant, Pack, Pack.repository_id == held.site.row.id)
    assert {pack.name for pack in packs} == {key.rpartition("/")[2] for key in held.packs()}
    assert all(pack.whole for pack in packs)
