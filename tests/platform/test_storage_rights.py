"""Credentials cut to one act below one prefix, on the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom import storage
from strongroom.credentials import s3_client, signed_by, sts_client
from strongroom.errors import BadValue
from strongroom.stack.seaweed import RegionServer
from strongroom.storage import Act, Store, assume
from tests.platform.regions import new_prefix, running_region, store_for

PARTS = ["data/ab/x", "index/x", "snapshots/x", "keys/x", "config", "locks/x"]
TENANT = "t/01890000-0000-7000-8000-00000000000"  # ids that begin alike
OWN, NEIGHBOUR = TENANT + "1/r/1/", TENANT + "12/r/1/"


@pytest.fixture(scope="module")
def server() -> Iterator[RegionServer]:
    with running_region() as started:
        yield started


@pytest.fixture
def root(server: RegionServer) -> Store:
    return Store(server.region, server.root)


@pytest.fixture
def prefix(root: Store) -> str:
    """A prefix with one object in every part of a repository."""
    made = new_prefix()
    for part in PARTS:
        root.put(made + part, b"old")
    return made


def code_of(store: Store, call: Callable[[Any], Any]) -> str:
    """What the server says to a request that Store would not make."""
    try:
        with signed_by(store._credentials):
            call(s3_client(store.region))
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"


def test_credentials_live_as_long_as_asked(server: RegionServer) -> None:
    given = assume(server.region, server.root, prefix=OWN, act=Act.READ, seconds=900)
    assert given.expires is not None
    assert abs(given.expires - datetime.now(UTC) - timedelta(seconds=900)) < timedelta(minutes=2)
    assert given.session_token is not None
    assert given.secret_key not in repr(given)
    assert given.session_token not in repr(given)


@pytest.mark.parametrize("seconds", [899, 43_201])
def test_a_life_that_sts_does_not_grant_is_refused(server: RegionServer, seconds: int) -> None:
    with pytest.raises(BadValue):
        assume(server.region, server.root, prefix=OWN, act=Act.READ, seconds=seconds)


def test_wrong_root_keys_get_no_credentials(server: RegionServer) -> None:
    wrong = replace(server.root, secret_key="something-else")
    with pytest.raises(storage.Denied) as caught:
        assume(server.region, wrong, prefix=OWN, act=Act.READ, seconds=900)
    assert "something-else" not in caught.value.message


@pytest.mark.parametrize("act", Act)
def test_a_neighbour_is_neither_read_nor_listed(
    server: RegionServer, root: Store, act: Act
) -> None:
    root.put(NEIGHBOUR + "config", b"secret")
    store = store_for(server, OWN, act)
    with pytest.raises(storage.Denied):
        store.get(NEIGHBOUR + "config")
    for prefix in (NEIGHBOUR, OWN.rstrip("/"), TENANT, TENANT + "1", "t/", ""):
        with pytest.raises(storage.Denied):
            list(store.list(prefix))
        with pytest.raises(storage.Denied):
            list(store.versions(prefix))


@pytest.mark.parametrize("act", Act)
def test_a_neighbour_is_neither_written_nor_deleted(
    server: RegionServer, root: Store, act: Act
) -> None:
    version = str(root.put(NEIGHBOUR + "locks/x", b"theirs"))
    store = store_for(server, OWN, act)
    with pytest.raises(storage.Denied):
        store.put(NEIGHBOUR + "locks/x", b"mine")
    with pytest.raises(storage.Denied):
        store.delete(NEIGHBOUR + "locks/x")
    kept = store.delete_versions([(NEIGHBOUR + "locks/x", version)])
    assert [k.code for k in kept] == ["denied"]
    assert root.get(NEIGHBOUR + "locks/x") == b"theirs"


def test_a_backup_reads_and_adds(server: RegionServer, prefix: str) -> None:
    store = store_for(server, prefix, Act.BACKUP)
    for part in ("data/ab/y", "index/y", "snapshots/y", "locks/y"):
        store.put(prefix + part, b"new")
        assert store.get(prefix + part) == b"new"
    assert len(list(store.list(prefix))) == 10


@pytest.mark.parametrize("part", ["keys/x", "config", "other/x"])
def test_a_backup_writes_nothing_else(server: RegionServer, prefix: str, part: str) -> None:
    with pytest.raises(storage.Denied):
        store_for(server, prefix, Act.BACKUP).put(prefix + part, b"new")


@pytest.mark.parametrize("part", PARTS[:-1])
def test_a_backup_deletes_neither_object_nor_version(
    server: RegionServer, root: Store, prefix: str, part: str
) -> None:
    store = store_for(server, prefix, Act.BACKUP)
    (version,) = root.versions(prefix + part)
    with pytest.raises(storage.Denied):
        store.delete(prefix + part)
    assert [k.code for k in store.delete_versions([(version.key, version.version_id)])] == [
        "denied"
    ]
    assert list(root.versions(prefix + part)) == [version]


def test_a_backup_removes_its_lock_in_every_version(
    server: RegionServer, root: Store, prefix: str
) -> None:
    store = store_for(server, prefix, Act.BACKUP)
    store.delete(prefix + "locks/x")
    versions = [(version.key, version.version_id) for version in store.versions(prefix + "locks/")]
    assert len(versions) == 2
    assert list(store.delete_versions(versions)) == []
    assert list(root.versions(prefix + "locks/")) == []


def test_what_a_backup_overwrites_is_still_there(
    server: RegionServer, root: Store, prefix: str
) -> None:
    (old,) = root.versions(prefix + "data/ab/x")
    store_for(server, prefix, Act.BACKUP).put(prefix + "data/ab/x", b"overwritten")
    assert root.get_version(old.key, old.version_id) == b"old"


def test_a_mixed_batch_deletes_only_what_is_allowed(
    server: RegionServer, root: Store, prefix: str
) -> None:
    root.put(NEIGHBOUR + "locks/x", b"theirs")
    keys = [prefix + "locks/x", prefix + "data/ab/x", NEIGHBOUR + "locks/x"]
    store = store_for(server, prefix, Act.BACKUP)
    with signed_by(store._credentials):
        answer = s3_client(server.region).delete_objects(
            Bucket=server.region.bucket, Delete={"Objects": [{"Key": key} for key in keys]}
        )
    assert [found["Key"] for found in answer["Errors"]] == keys[1:]
    assert [root.head(key) is None for key in keys] == [True, False, False]


@pytest.mark.parametrize("act", Act)
def test_no_way_around_the_prefix(server: RegionServer, root: Store, act: Act) -> None:
    root.put(NEIGHBOUR + "config", b"secret")
    store = store_for(server, OWN, act)
    vault, up = server.region.bucket, OWN + "locks/../../../12/r/1/config"
    theirs = {"Bucket": vault, "Key": NEIGHBOUR + "config"}
    mine = {"Bucket": vault, "Key": OWN + "data/x"}
    answers = {
        "copy": code_of(store, lambda c: c.copy_object(**mine, CopySource=theirs)),
        "multipart": code_of(store, lambda c: c.create_multipart_upload(**theirs)),
        "acl": code_of(store, lambda c: c.put_object_acl(**mine, ACL="public-read")),
        "policy": code_of(store, lambda c: c.put_bucket_policy(Bucket=vault, Policy="{}")),
        "versions": code_of(
            store,
            lambda c: c.put_bucket_versioning(
                Bucket=vault, VersioningConfiguration={"Status": "Suspended"}
            ),
        ),
        "bucket": code_of(store, lambda c: c.delete_bucket(Bucket=vault)),
        "other bucket": code_of(store, lambda c: c.get_object(Bucket="other", Key=OWN + "config")),
        "new bucket": code_of(store, lambda c: c.create_bucket(Bucket="other")),
        "up": code_of(store, lambda c: c.get_object(Bucket=vault, Key=up)),
    }
    assert "allowed" not in answers.values(), answers
    assert root.get(NEIGHBOUR + "config") == b"secret"


def test_a_session_without_its_token_is_nobody(server: RegionServer, prefix: str) -> None:
    given = assume(server.region, server.root, prefix=prefix, act=Act.READ, seconds=900)
    with pytest.raises(storage.Denied):
        Store(server.region, replace(given, session_token=None)).get(prefix + "config")


def test_a_session_gets_no_further_session(server: RegionServer, prefix: str) -> None:
    given = assume(server.region, server.root, prefix=prefix, act=Act.READ, seconds=900)
    with pytest.raises(storage.Denied):
        assume(server.region, given, prefix=NEIGHBOUR, act=Act.SWEEP, seconds=900)
    with signed_by(given), pytest.raises(ClientError):
        sts_client(server.region).get_federation_token(Name="another")


def test_a_sweep_aborts_uploads_below_its_prefix_only(
    server: RegionServer, root: Store, prefix: str
) -> None:
    with signed_by(server.root):
        for key in (prefix + "data/ab/x", NEIGHBOUR + "data/ab/x"):
            s3_client(server.region).create_multipart_upload(Bucket=server.region.bucket, Key=key)
    store = store_for(server, prefix, Act.SWEEP)
    for other in (NEIGHBOUR, TENANT, "t/", ""):
        with pytest.raises(storage.Denied):
            list(store.uploads(other))
    for upload in store.uploads(prefix):
        store.abort_upload(upload)
    (theirs,) = root.uploads(NEIGHBOUR)
    with pytest.raises(storage.Denied):
        store.abort_upload(theirs)
    assert list(root.uploads(prefix)) == []


def test_a_sweep_removes_versions_and_can_do_nothing_else(
    server: RegionServer, root: Store, prefix: str
) -> None:
    store = store_for(server, prefix, Act.SWEEP)
    with pytest.raises(storage.Denied):
        store.get(prefix + "config")
    with pytest.raises(storage.Denied):
        store.put(prefix + "config", b"new")
    with pytest.raises(storage.Denied):
        store.delete(prefix + "config")
    versions = [(version.key, version.version_id) for version in store.versions(prefix)]
    assert list(store.delete_versions(versions)) == []
    assert list(root.versions(prefix)) == []


def test_a_sweep_is_told_until_when_a_version_is_locked(server: RegionServer, prefix: str) -> None:
    (version,) = store_for(server, prefix, Act.LOCK).versions(prefix + "data/")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    store_for(server, prefix, Act.LOCK).retain_until(version.key, version.version_id, until)
    (kept,) = store_for(server, prefix, Act.SWEEP).delete_versions(
        [(version.key, version.version_id)]
    )
    assert (kept.code, kept.until) == ("locked", until)


def test_restic_may_not_lock_what_it_writes(server: RegionServer, prefix: str) -> None:
    """Uploads with a retention in their headers would go round Act.LOCK."""
    store = store_for(server, prefix, Act.BACKUP)
    answer = code_of(
        store,
        lambda c: c.put_object(
            Bucket=server.region.bucket,
            Key=prefix + "data/ab/z",
            Body=b"x",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=1),
        ),
    )
    assert answer == "AccessDenied"
