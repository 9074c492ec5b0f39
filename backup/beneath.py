"""Bringing objects back from what still lies in the bucket itself: no other region is needed.

A deleted or overwritten object has its earlier versions beneath it, and an object's name says what
it has to be. So a good version is written on top again; what was wrong stays below, as noncurrent
versions, and is recorded as ours to sweep only once what lies on top was read and found whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from backup import acts, inventory
from backup.inventory import CONFIG, Inventory, Reader, key_of_pack, name_of
from backup.leases import Leased
from backup.restic import creation
from backup.sealing import Unsealable
from backup.states import ActKind
from strongroom.db import Role
from strongroom.storage import Act, Missing, StorageError, Store

log = structlog.get_logger(__name__)


def take_stock(leased: Leased) -> Inventory:
    """Everything below the repository's prefix, in one listing of all versions."""
    site = leased.site
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        recorded = acts.known_versions(session, site.row.id)
    return inventory.of(leased.store.versions(site.prefix), site.prefix, recorded)


def bring_back(leased: Leased, stock: Inventory, reader: Reader, keys: Sequence[str]) -> list[str]:
    """Put a whole version on top of each of these keys that has one; gives those it could."""
    done = []
    for key in sorted(keys, key=_order):  # keys and config first: nothing opens without them
        data = reader.good_version(key, stock.beneath(key))
        if data is None and key == CONFIG:
            data = _config_anew(leased, reader)
        if data is not None:
            _writer(leased, key).put(leased.site.prefix + key, data)
            log.info("an object was brought back from beneath", key=key)
            done.append(key)
    return done


def swap_back(leased: Leased, reader: Reader, keys: Sequence[str]) -> list[str]:
    """Where damaged objects hold each other's bytes, put each under its own name."""
    if len(keys) < 2:
        return []  # it cannot have changed places with another
    wanted = {name_of(key): key for key in keys}
    holders = {reader.fingerprint(key): key for key in keys}
    found = {key: holders[name] for name, key in wanted.items() if name and name in holders}
    prefix = leased.site.prefix
    data = {key: reader.store.get(prefix + holder) for key, holder in found.items()}
    for key, content in data.items():
        _writer(leased, key).put(prefix + key, content)
    return list(data)


def explain(leased: Leased, reader: Reader, keys: Iterable[str]) -> int:
    """Record what lies beneath these keys as ours, where what lies on top is whole or we deleted it.

    Gives how many versions that were. Without this they would be a stranger's, and stop removal.
    """
    site, keys = leased.site, list(keys)
    if not keys:
        return 0
    stock = take_stock(leased)
    pairs = []
    for key in keys:
        versions = stock.versions.get(key, [])
        unknown = [each for each in versions[1:] if not stock.is_known(each)]
        if not unknown:
            continue
        dropped = versions[0].marker and stock.is_known(versions[0])
        if dropped or (not versions[0].marker and reader.is_whole(key)):
            pairs += [acts.pair_of(each) for each in unknown]
    if pairs:
        names = sorted({key.removeprefix(site.prefix) for key, _ in pairs})
        with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
            act = acts.begin(session, site.row, (ActKind.HEAL, names))
            session.flush()
            acts.end(session, act, pairs, at=act.started_at)
    return len(pairs)


def suspects(stock: Inventory, reader: Reader, packs: Iterable[str]) -> list[str]:
    """Of keys, indexes and snapshots, and of these packs, those that are not what they should be."""
    site = reader.site
    looked_at = [CONFIG, f"keys/{site.row.key_hint}", *stock.here("index/")]
    looked_at += [*stock.here("snapshots/"), *map(key_of_pack, sorted(set(packs)))]
    return damaged(reader, looked_at)


def damaged(reader: Reader, keys: Iterable[str]) -> list[str]:
    """Those of these keys that hold something else than they should."""
    # First the key file: without it no config opens.
    return [key for key in sorted(keys, key=_order) if not _is_whole(reader, key)]


def _is_whole(reader: Reader, key: str) -> bool:
    try:
        return reader.is_whole(key)
    except Unsealable:
        return False


def _order(key: str) -> tuple[int, str]:
    return (0 if key.startswith("keys/") else 1 if key == CONFIG else 2, key)


def _writer(leased: Leased, key: str) -> Store:
    """Short rights for what a backup may not write."""
    if key == CONFIG or key.startswith("keys/"):
        return Store(leased.site.region.address(), leased.site.credentials(Act.CREATE))
    return leased.store


def _config_anew(leased: Leased, reader: Reader) -> bytes | None:
    """What config holds is known to us, but for an id that only names restic's cache folder."""
    polynomial = leased.site.row.polynomial
    try:
        master = reader.master()
    except (Missing, Unsealable, StorageError):
        return None
    return None if polynomial is None else creation.sealed_config(master, polynomial)
