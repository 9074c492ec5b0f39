"""A region that refuses, dawdles, overflows or breaks off, and clients that many share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from strongroom import credentials, storage
from strongroom.stack.seaweed import RegionServer
from strongroom.storage import Act, Credentials, Region, Store, assume
from tests.faults import Answer503, Cut, Delay, Fault, FaultProxy, Refuse
from tests.platform.regions import new_prefix, running_region, store_for


@pytest.fixture(scope="module")
def server() -> Iterator[RegionServer]:
    with running_region() as started:
        yield started


@pytest.fixture
def proxy(server: RegionServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.region.endpoint) as started:
        yield started


@pytest.fixture
def beyond(server: RegionServer, proxy: FaultProxy) -> Store:
    """The region as seen through the proxy."""
    return Store(replace(server.region, endpoint=proxy.endpoint), server.root)


def test_without_a_fault_the_proxy_is_not_noticed(beyond: Store) -> None:
    beyond.put("a", b"x" * 300_000)
    assert beyond.get("a") == b"x" * 300_000


@pytest.mark.parametrize("fault", [Refuse(), Answer503(), Cut(after=200), Cut(after=0)])
def test_a_region_that_fails_is_unreachable_and_may_be_tried_again(
    beyond: Store, proxy: FaultProxy, fault: Fault
) -> None:
    beyond.put("a", b"x" * 300_000)
    proxy.fault = fault
    with pytest.raises(storage.Unreachable) as caught:
        beyond.get("a")
    assert not caught.value.permanent
    assert proxy.requests >= 1
    proxy.fault = None
    assert len(beyond.get("a")) == 300_000


def test_a_region_that_dawdles_is_given_up(
    beyond: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "READ_SECONDS", 0.3)
    proxy.fault = Delay(30)
    with pytest.raises(storage.Unreachable):
        beyond.get("a")


def test_a_region_that_is_gone_is_unreachable_for_every_call(
    server: RegionServer, proxy: FaultProxy, beyond: Store
) -> None:
    proxy.stop()
    with pytest.raises(storage.Unreachable):
        beyond.server_date()
    with pytest.raises(storage.Unreachable):
        list(beyond.list("a"))
    with pytest.raises(storage.Unreachable) as caught:
        assume(beyond.region, server.root, prefix="t/1/", act=Act.READ, seconds=900)
    assert server.root.secret_key not in str(caught.value)


def test_many_threads_with_different_rights_share_one_client(server: RegionServer) -> None:
    prefixes = [new_prefix() for _ in range(8)]
    stores = [store_for(server, prefix, Act.BACKUP) for prefix in prefixes]

    def work(number: int) -> tuple[bytes, bool]:
        own, other = prefixes[number % 8], prefixes[(number + 1) % 8]
        stores[number % 8].put(own + "data/x", own.encode())
        try:
            stores[number % 8].put(other + "data/x", b"foreign")
        except storage.Denied:
            return stores[number % 8].get(own + "data/x"), True
        return b"", False

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(80)))
    assert found == [(prefixes[number % 8].encode(), True) for number in range(80)]


def test_a_forked_child_makes_connections_of_its_own(server: RegionServer) -> None:
    store = Store(server.region, server.root)
    store.put("fork", b"x")
    before = credentials.s3_client(server.region)
    child = os.fork()
    if child == 0:
        same = credentials.s3_client(server.region) is before
        os._exit(0 if store.get("fork") == b"x" and not same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_environment_lends_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ambient profile that does not exist would raise, an ambient key would be used."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    credentials._forget_clients()
    region = Region("gone", "http://127.0.0.1:9", "vault", "us-east-1", "arn:aws:iam::role/x")
    with pytest.raises(storage.Unreachable):
        Store(region, Credentials("own", "own")).get("a")


def test_a_shared_credentials_file_says_all_that_restic_needs() -> None:
    given = Credentials("key", "hidden-secret", "hidden-token")
    assert given.shared_file() == (
        b"[default]\naws_access_key_id = key\naws_secret_access_key = hidden-secret\n"
        b"aws_session_token = hidden-token\n"
    )
    assert "hidden" not in repr(given)
