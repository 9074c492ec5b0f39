"""What a Store promises, on SeaweedFS and on moto alike.

moto falls short of it in two points: it keeps no rights (test_storage_rights runs on SeaweedFS
alone), and its compliance locks can be shortened and cannot be read back (see `locking`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from strongroom import storage
from strongroom.credentials import s3_client, signed_by
from strongroom.errors import BadValue
from strongroom.storage import Credentials, Region, Store
from tests.platform.regions import moto_region, new_prefix, running_region

PART = 5 * 1024 * 1024  # the least that S3 takes, of all but the last


@pytest.fixture(scope="module", params=["seaweed", "moto"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Region, Credentials]]:
    if request.param == "moto":
        with moto_region() as found:
            yield found
    else:
        with running_region() as server:
            yield server.region, server.root


@pytest.fixture
def store(place: tuple[Region, Credentials]) -> Store:
    return Store(*place, page=3)


@pytest.fixture
def locking(store: Store) -> Store:
    """A store whose region has locks that can be relied on."""
    if store.region.name == "moto":
        pytest.skip("moto answers GetObjectRetention with 500 and shortens compliance locks")
    return store


@pytest.fixture
def prefix() -> str:
    return new_prefix()


def soon(**delta: float) -> datetime:
    return (datetime.now(UTC) + timedelta(**delta)).replace(microsecond=0)


def test_what_was_put_is_got_back(store: Store, prefix: str) -> None:
    store.put(prefix + "config", b"\x00data")
    info = store.head(prefix + "config")
    assert store.get(prefix + "config") == b"\x00data"
    assert info is not None
    assert (info.key, info.size) == (prefix + "config", 5)
    assert info.modified.tzinfo is UTC


def test_what_is_not_there_is_missing(store: Store, prefix: str) -> None:
    assert store.head(prefix + "config") is None
    with pytest.raises(storage.Missing) as caught:
        store.get(prefix + "config")
    assert prefix + "config" in caught.value.message
    assert store.region.name in caught.value.message


def test_listing_goes_over_pages_and_stays_below_the_prefix(store: Store, prefix: str) -> None:
    keys = [f"{prefix}data/{number}" for number in range(8)]
    for key in [*keys, prefix.rstrip("/") + "0/config"]:
        store.put(key, b"x")
    assert [info.key for info in store.list(prefix)] == keys


def test_overwriting_and_deleting_keep_every_version(store: Store, prefix: str) -> None:
    key = prefix + "data/ab"
    first, second = store.put(key, b"one"), store.put(key, b"two!")
    store.delete(key)
    versions = {version.version_id: version for version in store.versions(prefix)}
    assert first is not None
    assert store.head(key) is None
    assert store.get_version(key, first) == b"one"
    assert (versions[str(first)].size, versions[str(second)].size) == (3, 4)
    assert [version.marker for version in versions.values() if version.latest] == [True]
    assert len(versions) == 3


def test_versions_are_listed_over_pages(store: Store, prefix: str) -> None:
    for number in range(4):
        for _ in range(2):
            store.put(f"{prefix}{number}", b"x")
    found = [(version.key, version.version_id) for version in store.versions(prefix)]
    assert len(found) == len(set(found)) == 8


def test_deleted_versions_are_gone_and_may_be_deleted_again(store: Store, prefix: str) -> None:
    key = prefix + "data/ab"
    old, new = str(store.put(key, b"one")), str(store.put(key, b"two"))
    assert list(store.delete_versions([(key, old)])) == []
    assert list(store.delete_versions([(key, old)])) == []
    assert [version.version_id for version in store.versions(prefix)] == [new]


def test_removing_the_marker_brings_the_object_back(store: Store, prefix: str) -> None:
    store.put(prefix + "config", b"one")
    store.delete(prefix + "config")
    marker = next(version for version in store.versions(prefix) if version.marker)
    store.delete_versions([(marker.key, marker.version_id)])
    assert store.get(prefix + "config") == b"one"


def test_a_locked_version_stays_and_says_until_when(locking: Store, prefix: str) -> None:
    locked, free = str(locking.put(prefix + "a", b"x")), str(locking.put(prefix + "b", b"x"))
    until = soon(days=2)
    locking.retain_until(prefix + "a", locked, until)
    kept = locking.delete_versions([(prefix + "a", locked), (prefix + "b", free)])
    assert [(k.key, k.version_id, k.code, k.until) for k in kept] == [
        (prefix + "a", locked, "locked", until)
    ]
    assert locking.get_version(prefix + "a", locked) == b"x"
    assert locking.head(prefix + "b") is None


def test_a_version_that_was_never_locked_says_so(locking: Store, prefix: str) -> None:
    assert locking.retained(prefix + "a", str(locking.put(prefix + "a", b"x"))) is None


def test_a_lock_is_made_longer_and_never_shorter(locking: Store, prefix: str) -> None:
    version = str(locking.put(prefix + "a", b"x"))
    locking.retain_until(prefix + "a", version, soon(days=2))
    longer = soon(days=4)
    locking.retain_until(prefix + "a", version, longer)
    with pytest.raises(storage.Locked):
        locking.retain_until(prefix + "a", version, soon(days=1))
    assert locking.retained(prefix + "a", version) == longer


def test_a_lock_without_a_time_zone_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(BadValue):
        store.retain_until(prefix + "a", "v", datetime(2030, 1, 1))  # noqa: DTZ001


def test_the_region_tells_its_time(store: Store) -> None:
    assert abs(store.server_date() - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_bucket_is_found_or_not(store: Store, place: tuple[Region, Credentials]) -> None:
    region, root = place
    other = Region(region.name, region.endpoint, "nowhere", region.location, region.role_arn)
    assert store.exists_bucket()
    assert not Store(other, root).exists_bucket()
    with pytest.raises(storage.Missing):
        Store(other, root).get("x")


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART, 2 * PART + 7])
def test_a_file_of_any_size_lies_there_whole(store: Store, prefix: str, size: int) -> None:
    data = os.urandom(size)
    file = io.BytesIO(data)
    file.seek(size // 2)  # wherever the last reader left it

    version = store.put_file(prefix + "dump.sealed", file, part=PART)

    assert store.get(prefix + "dump.sealed") == data
    assert [each.version_id for each in store.versions(prefix)] == [version]
    assert list(store.uploads(prefix)) == []


def test_a_file_never_has_more_parts_than_s3_takes(
    store: Store, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_PARTS", 2)
    data = os.urandom(3 * PART)

    store.put_file(prefix + "dump.sealed", io.BytesIO(data), part=PART)  # a third would be refused

    info = store.head(prefix + "dump.sealed")
    assert info is not None
    assert info.etag.strip('"').endswith("-2")
    assert store.get(prefix + "dump.sealed") == data


def test_of_an_upload_that_breaks_off_nothing_stays(store: Store, prefix: str) -> None:
    store.put(prefix + "dump.sealed", b"before")

    with pytest.raises(OSError, match="torn"):
        store.put_file(prefix + "dump.sealed", Torn(os.urandom(3 * PART)), part=PART)

    assert store.get(prefix + "dump.sealed") == b"before"
    assert list(store.uploads(prefix)) == []


class Torn(io.BytesIO):
    """A file whose disk fails at the second part."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= PART:
            raise OSError("torn")
        return super().read(size)


def test_an_upload_nobody_ended_is_found_and_aborted(store: Store, prefix: str) -> None:
    with signed_by(store._credentials):
        client = s3_client(store.region)
        client.create_multipart_upload(Bucket=store.region.bucket, Key=prefix + "data/ab")
    (upload,) = store.uploads(prefix)
    store.abort_upload(upload)
    store.abort_upload(upload)
    assert upload.key == prefix + "data/ab"
    assert list(store.uploads(prefix)) == []


def test_more_versions_than_one_request_takes_are_deleted(store: Store, prefix: str) -> None:
    gone = [(f"{prefix}{number}", "0" * 32) for number in range(1001)]
    key = prefix + "last"
    version = str(store.put(key, b"x"))
    store.delete_versions([*gone, (key, version)])
    assert list(store.versions(key)) == []
