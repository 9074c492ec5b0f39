"""What the regions still have of a platform whose machines are gone: looked at, changing nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from uuid import UUID

from strongroom import (
    control_restores,
    platform_records,
    shares,
    tombstones,
)
from strongroom.control_restores import Candidate
from strongroom.envelopes import EnvelopeClosed, Opener
from strongroom.errors import BadValue, Refused, StrongroomError
from strongroom.key_stores.local import LocalKeys
from strongroom.keys import KeyProvider
from strongroom.platform_records import Platform
from strongroom.records import RecordRefused, Signer
from strongroom.storage import Credentials, Missing, Region, StorageError, Store
from web.ceremony import read_share

LOCATION = "us-east-1"
ROLE = "arn:aws:iam::role/strongroom-act"


@dataclass(frozen=True)
class Wanted:
    """What is at hand after the loss."""

    regions: Mapping[str, str]  # name: http://host:port/bucket
    credentials: Mapping[str, Mapping[str, str]]  # name: access_key, secret_key, location, role_arn
    shares: Sequence[Path] = ()
    key_store: Path | None = None  # a backup of it
    trust: str | None = None  # public half of the record key, where no share says it
    home: Path | None = None  # of an embedded stack; None: production settings
    record_key_to: Path | None = None  # without a home: where the key that signs records is put
    dry_run: bool = False


@dataclass
class Finds:
    """What was found."""

    stores: Mapping[str, Store]
    opener: Opener
    signer: Signer | None  # None: no region has the record key, so a new one is made
    trusted: tuple[str, ...]
    platform: Platform | None = None
    candidates: list[Candidate] = field(default_factory=list)
    dump: Candidate | None = None  # the newest that is whole; its bytes are in the file
    tombstones: dict[UUID, datetime] = field(default_factory=dict)
    tenants: set[UUID] = field(default_factory=set)  # that have a prefix in some region
    odd: list[str] = field(default_factory=list)  # refused, damaged: in words
    away: list[str] = field(default_factory=list)  # regions that did not answer


def look(wanted: Wanted, file: IO[bytes], there_already: KeyProvider | None = None) -> Finds:
    """Read the regions; the newest whole dump is in the file afterwards.

    `there_already` is a key store that outlived the loss.

    Raises BadValue or BadShare for what was given, Refused when nothing says whom to believe.
    """
    stores = {name: store_of(wanted, name) for name in wanted.regions}
    opener, told = _keys_at_hand(wanted, there_already)
    away = [name for name, store in stores.items() if not _answers(store)]
    there = {name: store for name, store in stores.items() if name not in away}
    if not there:
        raise StrongroomError(
            f"None of the regions {', '.join(stores)} can be read. See whether the addresses and "
            "the credentials are right.",
            code="no-region",
        )
    signer = _signer(there, opener, told)
    trusted = tuple(told | ({signer.public} if signer else set[str]()))
    finds = Finds(stores, opener, signer, trusted, away=away)
    _read(finds, there, file)
    return finds


def store_of(wanted: Wanted, name: str) -> Store:
    """With the root credentials of the region. Raises BadValue."""
    address, keys = urlsplit(wanted.regions[name]), wanted.credentials.get(name)
    bucket = address.path.strip("/")
    if address.scheme not in ("http", "https") or not address.netloc or not bucket:
        raise BadValue(
            f"{name} is to be given like {name}=https://s3.example.net/bucket, found "
            f"{wanted.regions[name]!r}."
        )
    if address.username or address.password:
        raise BadValue("An address holds no credentials: put them into the file of --region-keys.")
    try:
        assert keys is not None
        root = Credentials(keys["access_key"], keys["secret_key"])
    except (KeyError, AssertionError):
        raise BadValue(
            f"There are no credentials for region {name}. Name a file with --region-keys: "
            '{"NAME": {"access_key": "…", "secret_key": "…"}}, or set STRONGROOM_REGIONS_FILE.'
        ) from None
    region = Region(
        name,
        f"{address.scheme}://{address.netloc}",
        bucket,
        keys.get("location") or LOCATION,
        keys.get("role_arn") or ROLE,
    )
    return Store(region, root)


def credentials_in(text: str) -> dict[str, dict[str, str]]:
    """From JSON as in STRONGROOM_REGIONS. Raises BadValue."""
    try:
        found: dict[str, dict[str, str]] = json.loads(text or "{}")
        if all(isinstance(each, dict) for each in found.values()):
            return found
    except (ValueError, AttributeError):
        pass
    raise BadValue('Wanted JSON like {"NAME": {"access_key": "…", "secret_key": "…"}}.')


def records_of(store: Store, tenant: UUID) -> list[UUID]:
    """The repositories that have a record there."""
    prefix = f"t/{tenant}/k/"
    found = []
    for each in store.list(prefix):
        name = each.key.removeprefix(prefix).removesuffix(".json")
        if (repository := _uuid(name)) is not None:
            found.append(repository)
    return found


def _keys_at_hand(wanted: Wanted, there_already: KeyProvider | None) -> tuple[Opener, set[str]]:
    """What opens, and the record keys that the shares name."""
    told = {wanted.trust} if wanted.trust else set()
    private = None
    if wanted.shares:
        given = [read_share(file) for file in wanted.shares]
        private = shares.combine(given)
        told |= {share.records for share in given if share.records}
    if wanted.key_store is not None and not wanted.key_store.is_dir():
        raise BadValue(f"{wanted.key_store} is no folder with a key store.")
    provider = LocalKeys(wanted.key_store) if wanted.key_store is not None else there_already
    if private is None and provider is None:
        raise BadValue(
            "Nothing was given that opens the backups. Name the shares with --share, the key "
            "store's backup with --key-store, or both; without --home, STRONGROOM_KEYS_* may name "
            "a key store that is still there."
        )
    if len(told) > 1:
        raise shares.BadShare("The shares name different record keys. Take all from one ceremony.")
    return Opener(private, provider), told


def _signer(there: Mapping[str, Store], opener: Opener, told: set[str]) -> Signer | None:
    """The record key, as a region has it; it must be the one that the shares name.

    What the platform's own KEK opens was sealed by us; a box of the escrow key anybody can make.
    """
    found, refused = None, None
    for store in there.values():
        try:
            found = platform_records.record_key(store, opener)
        except (Missing, EnvelopeClosed, RecordRefused, StorageError) as error:
            refused = error
            continue
        if told and found.public in told:
            return found
        if not told and opener.provider is not None and _by_key_store(store, opener):
            return found
        refused = None
    if found is None and told:
        return None  # the records can be read; a new key signs from now on
    if found is not None and told:
        raise Refused(
            "The record key in the regions is not the one that the shares name: somebody put "
            "another one there. Nothing is believed; look at the buckets.",
            code="record-key-foreign",
        )
    raise Refused(
        "Nothing says whom to believe: the shares were given without their `Records key`, and the "
        f"regions cannot tell by themselves. Give it with --trust.{f' {refused}' if refused else ''}",
        code="no-trust",
    )


def _by_key_store(store: Store, opener: Opener) -> bool:
    try:
        platform_records.record_key(store, Opener(provider=opener.provider))
    except StrongroomError:
        return False
    return True


def _read(finds: Finds, there: Mapping[str, Store], file: IO[bytes]) -> None:
    for store in there.values():
        try:
            if finds.platform is None:
                finds.platform = platform_records.read(store, trusted=finds.trusted)
        except Missing:
            pass
        except RecordRefused as error:
            finds.odd.append(f"{store.region.name}: {error.message}")
        buried, odd = tombstones.found(store, trusted=finds.trusted)
        finds.tombstones |= buried
        finds.odd += odd
        finds.tenants |= {
            tenant for name in store.folders("t/") if (tenant := _uuid(name)) is not None
        }
    finds.candidates, odd = control_restores.candidates(there.values(), trusted=finds.trusted)
    finds.odd += odd
    finds.dump, odd = control_restores.newest_whole(finds.candidates, finds.opener, file)
    finds.odd += odd


def _answers(store: Store) -> bool:
    try:
        return store.exists_bucket()
    except StorageError:
        return False


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def region_values(finds: Finds) -> list[dict[str, Any]]:
    """The rows of the regions: what the platform's record says, reached where we were told."""
    said = {each["name"]: each for each in (finds.platform.regions if finds.platform else [])}
    rows = []
    for rank, (name, store) in enumerate(finds.stores.items()):
        known = {k: v for k, v in said.get(name, {}).items() if v is not None}
        address = {"name": name, "endpoint": store.region.endpoint, "bucket": store.region.bucket}
        base = {"location": store.region.location, "role_arn": store.region.role_arn, "rank": rank}
        rows.append({**base, **known, **address})
    return rows + [each for name, each in said.items() if name not in finds.stores]
