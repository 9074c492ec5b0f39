"""What the platform stands on is looked at: a region that lies, refuses or is away is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import select, update

from strongroom import looks, reaching
from strongroom.db import Role
from strongroom.keys import KeyUnreachable
from strongroom.looks import KEY, KEYS, PREFIX, Look, Lookout
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime
from strongroom.storage import Act
from tests.backup.vaults import A, B
from tests.faults import Answer503, FaultProxy


def seen(runtime: Runtime) -> Mapping[str, Look]:
    with runtime.database.session(Role.OPERATOR) as session:
        return {row.what: row for row in session.execute(select(Look)).scalars()}


def region(runtime: Runtime, name: str) -> Region:
    with runtime.database.session(Role.OPERATOR) as session:
        return session.execute(select(Region).where(Region.name == name)).scalar_one()


@pytest.fixture
def proxy(runtime: Runtime) -> Iterator[FaultProxy]:
    """In front of region A."""
    with FaultProxy(region(runtime, A).endpoint) as made:
        with runtime.database.session(Role.OPERATOR) as session:
            session.execute(update(Region).where(Region.name == A).values(endpoint=made.endpoint))
        yield made


def test_regions_and_the_key_store_are_good_when_they_are(runtime: Runtime) -> None:
    Lookout(runtime).round()

    found = seen(runtime)
    assert set(found) == {f"region {A}", f"region {B}", KEYS}
    assert all(row.failure is None and row.good_at == row.at for row in found.values())
    assert {row.what for row in found.values() if row.apart is None} == {KEYS}
    assert all(abs(row.apart) < 300 for row in found.values() if row.apart is not None)


def test_a_region_that_is_away_is_bad_since_it_was_first_seen_so_and_good_again(
    runtime: Runtime, proxy: FaultProxy
) -> None:
    lookout = Lookout(runtime)
    lookout.round()
    proxy.fault = Answer503()
    lookout.round()
    first = seen(runtime)[f"region {A}"]
    lookout.round()
    second = seen(runtime)[f"region {A}"]
    proxy.fault = None
    lookout.round()
    mended = seen(runtime)[f"region {A}"]

    assert first.failure is not None
    assert first.failure["code"].startswith("storage-")
    assert first.bad_since is not None
    assert second.at > first.at
    assert second.bad_since == first.bad_since
    assert second.good_at == first.good_at is not None
    assert (mended.failure, mended.bad_since) == (None, None)
    assert seen(runtime)[f"region {B}"].failure is None


def test_a_region_that_gives_back_other_bytes_is_not_good(runtime: Runtime) -> None:
    lookout = Lookout(runtime)
    lookout.round()
    store = reaching.store(runtime.settings, region(runtime, B), prefix=PREFIX, act=Act.RECORD)
    store.put(KEY, b"something else")
    lookout.round()
    found = seen(runtime)[f"region {B}"]
    store.put(KEY, looks.Canary(region(runtime, B), store, 0).text)  # others look at it, too

    assert found.failure is not None
    assert found.failure["code"] == "storage-untrue"


def test_a_key_store_that_is_away_is_seen(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(_: object) -> str:
        raise KeyUnreachable("The key store gives no answer.")

    monkeypatch.setattr(type(runtime.vault.provider), "probe", probe)
    Lookout(runtime).round()

    failure = seen(runtime)[KEYS].failure
    assert failure is not None
    assert failure["code"] == "key-unreachable"


def test_a_region_that_was_closed_is_not_missed(runtime: Runtime) -> None:
    lookout = Lookout(runtime)
    lookout.round()
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(Region).where(Region.name == B).values(state=RegionState.CLOSED))
    lookout.round()

    assert f"region {B}" not in seen(runtime)


def test_of_two_processes_one_looks(runtime: Runtime) -> None:
    with runtime.database.alone(Role.OPERATOR, looks.ADVISORY_LOCK):
        Lookout(runtime).round()

    assert seen(runtime) == {}
