"""Tenants that were destroyed: whatever is brought back from a dump, these are not.

A tombstone is a row, and a signed record in every region beside the dumps, because the dump that
comes back may be older than the row. `bury` comes first in a destruction, before anything is
deleted: killed half-way, the tenant is gone rather than back.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from strongroom import reaching, records
from strongroom.buried import Tombstone
from strongroom.control_dumps import PREFIX
from strongroom.db import Role
from strongroom.errors import Incomplete, StrongroomError
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Act, Store

TOMBSTONES = f"{PREFIX}tombstones/"
KIND = "tombstone"

log = structlog.get_logger(__name__)


def bury(runtime: Runtime, tenant: uuid.UUID, *, at: datetime) -> None:
    """Write it down here and in every region. Raises Incomplete that names those that are away.

    Safe to repeat; a destruction goes on only when this has ended well.
    """
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(
            insert(Tombstone).values(id=tenant, destroyed_at=at).on_conflict_do_nothing()
        )
        row = session.get_one(Tombstone, tenant)
        regions = session.execute(select(Region).order_by(Region.rank)).scalars().all()
    signer = records.Signer.from_text(runtime.settings.record_key)
    body = {"kind": KIND, "tenant": str(tenant), "destroyed_at": row.destroyed_at.isoformat()}
    data, away = signer.sign(body), []
    for region in regions:
        try:
            store = reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.RECORD)
            store.put(f"{TOMBSTONES}{tenant}.json", data)
        except StrongroomError as error:
            log.error("a tombstone was not written", region=region.name, error=error.message)
            away.append(region.name)
    if away:
        raise Incomplete(
            f"The tombstone of tenant {tenant} does not lie in {', '.join(away)} yet. "
            "Do it again before anything is destroyed.",
            regions=away,
        )


def found(store: Store, *, trusted: Collection[str]) -> tuple[dict[uuid.UUID, datetime], list[str]]:
    """Those in one region, and what was wrong with others: whoever can write there could otherwise
    keep a living tenant from coming back."""
    there: dict[uuid.UUID, datetime] = {}
    odd: list[str] = []
    for each in store.list(TOMBSTONES):
        try:
            tenant, at = _read(store, each.key, trusted)
        except records.RecordRefused as error:
            odd.append(f"{store.region.name}: {each.key}: {error.message}")
        else:
            there[tenant] = at
    return there, odd


def _read(store: Store, key: str, trusted: Collection[str]) -> tuple[uuid.UUID, datetime]:
    body = records.read(store.get(key), kind=KIND, trusted=trusted)
    try:
        tenant, at = uuid.UUID(body["tenant"]), datetime.fromisoformat(body["destroyed_at"])
    except (KeyError, ValueError, TypeError):
        raise records.Malformed("It names no tenant.") from None
    if key != f"{TOMBSTONES}{tenant}.json":
        raise records.Forged("It is the tombstone of another tenant.")
    return tenant, at
