"""An artefact on its way into a region, and out of it for good.

It lies at `t/<tenant>/d/<delivery>/<fence>.sealed`, beside the tenant's repositories and in none of
them. Rights to write it are cut to that delivery and last 15 minutes; more are taken while we hold
the row. So whoever was stopped and wakes later can write nothing once these are over, and what lies
there is removed after that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from restore.delivery.going import Going
from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState
from strongroom import reaching, storage
from strongroom.db import Role
from strongroom.lifecycle import Overtaken
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import PART, Act, Credentials, Kept, StorageError, Store, Upload

WRITE_SECONDS = 900  # the least that STS gives
RENEWED_BEFORE = 300  # seconds before the end of the rights
GROWS_EVERY = 2000  # parts; 10,000 are allowed, and how many are needed is not known before
ORPHANED = timedelta(hours=24)  # older than any delivery lives: nobody's


@dataclass(frozen=True)
class Shipped:
    """Where the artefact lies."""

    key: str
    version_id: str | None
    size: int  # bytes, sealed


def prefix_of(tenant: UUID) -> str:
    """Of all deliveries of the tenant, in every region."""
    return f"t/{tenant}/d/"


def own_prefix(row: Delivery) -> str:
    return f"{prefix_of(row.tenant_id)}{row.id}/"


def ship(going: Going, region: Region, sealed: Iterable[bytes]) -> Shipped:
    """Write it, piece by piece, as long as the row is ours. Nothing stays of what fails.

    Raises a StorageError or Overtaken, and what `sealed` raises.
    """
    regions = [*dict.fromkeys([*going.row.regions, region.name])]
    going.note(regions=regions)  # before the first byte, so that it is removed whatever happens
    going.row.regions = regions
    way = _Way(going, region, f"{own_prefix(going.row)}{going.held.fence}.sealed")
    upload, sent, size = way.store().begin_upload(way.key), list[Any](), 0
    try:
        for part in _parts(sealed):
            sent.append(way.store().put_part(way.key, upload, len(sent) + 1, part))
            size += len(part)
        if going.held.is_lost:
            raise Overtaken(f"Delivery {going.row.id} is no longer ours to make.")
        version = way.store().end_upload(way.key, upload, sent, size=size)
    except BaseException:
        with suppress(StorageError):  # the first failure is the one to tell
            way.store().abort_upload(Upload(way.key, upload, datetime.now(UTC)))
        raise
    return Shipped(way.key, version, size)


def _parts(sealed: Iterable[bytes]) -> Iterable[bytes]:
    """Parts of 16 MiB, larger ones later: with the memory of one, up to a terabyte."""
    chunks = iter(sealed)
    number = 0
    held = bytearray()
    for piece in chunks:
        held += piece
        size = PART << (number // GROWS_EVERY)
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
            number += 1
    if held:
        yield bytes(held)


class _Way:
    """The region with rights that are renewed while the row is ours."""

    def __init__(self, going: Going, region: Region, key: str) -> None:
        self.key = key
        self._going, self._region = going, region
        self._until = 0.0
        self._store: Store | None = None

    def store(self) -> Store:
        if self._store is None or time.monotonic() > self._until - RENEWED_BEFORE:
            self._store = reaching.store(
                self._going.runtime.settings,
                self._region,
                prefix=own_prefix(self._going.row),
                act=Act.RECORD,
                seconds=WRITE_SECONDS,
            )
            # Dated after they were got, so never too early; nobody uses them before.
            until = func.clock_timestamp() + timedelta(seconds=WRITE_SECONDS)
            self._going.note(write_until=until)
            self._until = time.monotonic() + WRITE_SECONDS
        return self._store


def reader(runtime: Runtime, region: Region, row: Delivery, *, seconds: int) -> Credentials:
    """Rights to read this delivery's artefact and nothing else."""
    root = reaching.root_of(runtime.settings, region.name)
    return storage.assume(
        region.address(),
        root,
        prefix=own_prefix(row),
        act=Act.READ,
        seconds=max(WRITE_SECONDS, seconds),
    )


def remove(runtime: Runtime, row: Delivery) -> Sequence[Kept]:
    """Remove what lies there of this delivery, and of any that nobody knows; gives what stayed.

    Versions, parts of uploads and all. Raises a StorageError where a region is away.
    """
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        others = select(Delivery.id).where(
            Delivery.state != DeliveryState.ENDED, Delivery.id != row.id
        )
        living = set(session.execute(others).scalars())
        named = select(Region).where(Region.name.in_(row.regions)).order_by(Region.name)
        regions = session.execute(named).scalars().all()
    return [each for region in regions for each in _emptied(runtime, region, row, living)]


def _emptied(runtime: Runtime, region: Region, row: Delivery, living: set[UUID]) -> Sequence[Kept]:
    above = prefix_of(row.tenant_id)
    store = reaching.store(
        runtime.settings, region, prefix=above, act=Act.SWEEP, seconds=WRITE_SECONDS
    )
    now = store.server_date()

    def goes(key: str, since: datetime) -> bool:
        if key.startswith(own_prefix(row)):
            return True
        return now - since > ORPHANED and _delivery_of(key, above) not in living

    for upload in store.uploads(above):
        if goes(upload.key, upload.begun):
            store.abort_upload(upload)
    gone = [each for each in store.versions(above) if goes(each.key, each.modified)]
    return store.delete_versions((each.key, each.version_id) for each in gone)


def _delivery_of(key: str, above: str) -> UUID | None:
    try:
        return UUID(key.removeprefix(above).partition("/")[0])
    except ValueError:
        return None
