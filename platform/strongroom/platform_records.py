"""What a region says about the platform as a whole: which regions there are, and the record key.

control/platform.json     signed: the regions
control/record-key.json   the key that signs records, in an envelope: whoever is to build the
                          platform again signs on with the key that everybody already trusts
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select

from strongroom import envelopes, escrow, reaching, records
from strongroom.control_dumps import PREFIX, delete_wholly
from strongroom.db import Role
from strongroom.envelopes import Opener
from strongroom.errors import StrongroomError
from strongroom.escrow import EscrowKey
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Act, Missing, Store

KIND = "platform"
PURPOSE = "record-key"
PLATFORM = f"{PREFIX}platform.json"
RECORD_KEY = f"{PREFIX}record-key.json"
COLUMNS = (
    *("name", "endpoint", "bucket", "location", "role_arn", "rank"),
    *("latitude", "longitude", "country", "provider", "bandwidth"),
)

log = structlog.get_logger(__name__)


def keep(runtime: Runtime) -> int:
    """Write what is missing or out of date in each region; gives how many objects were written."""
    signer = records.Signer.from_text(runtime.settings.record_key)
    with runtime.database.session(Role.OPERATOR) as session:
        regions = session.execute(select(Region).order_by(Region.rank, Region.name)).scalars().all()
        keys = escrow.in_use(session)
    body = {
        "kind": KIND,
        "regions": [_said(region) for region in regions],
        "escrow_keys": [_key(key) for key in keys],
    }
    wanted = {str(key.id) for key in keys}
    written = 0
    for region in regions:
        try:
            store = reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.RECORD)
            if _read(store, PLATFORM) != signer.sign(body):
                _replace(runtime, region, PLATFORM, signer.sign(body))
                written += 1
            if _who_opens(_read(store, RECORD_KEY), signer.public) != wanted:
                entries = envelopes.close(
                    signer.seed, PURPOSE, escrow=keys, provider=runtime.vault.provider
                )
                document = {"public": signer.public, "recipients": entries}
                _replace(runtime, region, RECORD_KEY, json.dumps(document, indent=1).encode())
                written += 1
        except StrongroomError as error:
            log.error("a region has no platform record", region=region.name, error=error.message)
    return written


def record_key(store: Store, opener: Opener) -> records.Signer:
    """The key that signs records, as this region has it. Raises Missing, Malformed or
    EnvelopeClosed. That it is the right one has to be known from elsewhere, unless the platform's
    own KEK opened it."""
    try:
        entries = json.loads(store.get(RECORD_KEY))["recipients"]
    except (ValueError, KeyError, TypeError):
        raise records.Malformed(f"{RECORD_KEY} cannot be read.") from None
    return records.Signer(envelopes.unseal(entries, PURPOSE, opener))


@dataclass(frozen=True)
class Platform:
    """The platform as one of its regions tells."""

    regions: list[dict[str, Any]]  # COLUMNS of each
    escrow_keys: list[EscrowKey]


def read(store: Store, *, trusted: Collection[str]) -> Platform:
    """Raises Missing or RecordRefused."""
    body = records.read(store.get(PLATFORM), kind=KIND, trusted=trusted)
    try:
        return Platform(
            [{name: each.get(name) for name in COLUMNS} for each in body["regions"]],
            [_key_from(each) for each in body["escrow_keys"]],
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        raise records.Malformed(f"{PLATFORM} lacks what it should say.") from None


def _key(key: EscrowKey) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "public": key.public.hex(),
        "threshold": key.threshold,
        "shares": key.shares,
        "made_at": key.made_at.isoformat(),
    }


def _key_from(said: Mapping[str, Any]) -> EscrowKey:
    return EscrowKey(
        id=UUID(said["id"]),
        public=bytes.fromhex(said["public"]),
        threshold=said["threshold"],
        shares=said["shares"],
        made_at=datetime.fromisoformat(said["made_at"]),
    )


def _said(region: Region) -> dict[str, Any]:
    return {name: getattr(region, name) for name in COLUMNS}


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except Missing:
        return None


def _who_opens(data: bytes | None, public: str) -> set[str] | None:
    """The escrow keys that it was sealed to; None for what is not ours."""
    try:
        document = json.loads(data or b"")
        entries = document["recipients"]
        return {e["escrow"] for e in entries if "escrow" in e} if _same(document, public) else None
    except (ValueError, KeyError, TypeError):
        return None


def _same(document: Mapping[str, Any], public: str) -> bool:
    return document.get("public") == public


def _replace(runtime: Runtime, region: Region, key: str, data: bytes) -> None:
    """With what lay there before gone for good: a retired escrow key is to open nothing new."""
    sweeper = reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.SWEEP)
    delete_wholly(sweeper, [key])
    reaching.store(runtime.settings, region, prefix=PREFIX, act=Act.RECORD).put(key, data)
