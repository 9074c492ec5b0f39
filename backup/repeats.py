"""Uploads that were sent twice: the answer to the first got lost on the way.

restic names an object by the SHA-256 of what is in it and never writes two different ones under
one name. So a version beneath, whose bytes hash to the object's name, holds what the current one
holds, provided that this hashes to it too: losing it loses nothing, and the upload that made it
noncurrent was ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from backup import acts
from backup.leases import Leased
from backup.states import ActKind
from strongroom.db import Role
from strongroom.storage import Act, StorageError, Store, Version

NAME = re.compile(r"[0-9a-f]{64}")


def record(leased: Leased, strangers: Sequence[Version], split: acts.Split) -> bool:
    """Record those of the strangers that are repeats; True when there were any."""
    store = leased.site.store(Act.READ)
    found = [each for each in strangers if _is_repeat(store, each, split)]
    if not found:
        return False
    site = leased.site
    pairs = [acts.pair_of(each) for each in found]
    keys = sorted({each.key.removeprefix(site.prefix) for each in found})
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        act = acts.begin(session, site.row, (ActKind.REPEAT, keys))
        session.flush()
        acts.end(session, act, pairs, at=act.started_at)
    return True


def _is_repeat(store: Store, version: Version, split: acts.Split) -> bool:
    name = version.key.rpartition("/")[2]
    if version.marker or not NAME.fullmatch(name):
        return False
    try:
        beneath = store.get_version(version.key, version.version_id)
        if hashlib.sha256(beneath).hexdigest() != name:
            return False
        if any(key == version.key for key, _ in split.markers):
            return True  # an act of ours deleted the object: its repeat goes with it
        return hashlib.sha256(store.get(version.key)).hexdigest() == name
    except StorageError:
        return False  # what we cannot read we cannot judge
