"""What must never happen to a delivery: left behind, given to others, served damaged, made anyway."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backup.models import Copy, Point, Snapshot, Source
from backup.states import CopyState
from restore import calming
from restore.browsing.errors import NotListedYet
from restore.delivery import asking, contents, ending, making, serving, shipping
from restore.delivery.asking import NotChosen, TooManyAtOnce
from restore.delivery.models import Delivery
from restore.delivery.ranges import Span
from restore.delivery.sealing import ArtefactDamaged
from restore.delivery.serving import NotServed
from restore.delivery.states import DeliveryState, End
from restore.tasks import DUES
from strongroom import dispatch
from strongroom.db import Role
from strongroom.dispatch import Due
from strongroom.errors import NotFound
from strongroom.ids import new_id
from strongroom.lifecycle import LifecycleError
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.storage import Denied, StorageError
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import A, in_front_of
from tests.cast import FakeClock
from tests.faults import Refuse
from tests.restore import killing
from tests.restore.asking import stored
from tests.restore.delivering import Counter, listed, somebody

SECRET = b"the tenant's own words, in the clear " * 2000


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Source:
    folder = tmp_path / "office"
    cast.fill(folder)
    (folder / "letters" / "secret.txt").write_bytes(SECRET)
    (folder / "big.bin").write_bytes(os.urandom(2 * 1024 * 1024 + 5))
    (folder / "link").symlink_to("big.bin")
    return cast.add_folder(runtime, acme, folder)


@pytest.fixture
def point(runtime: Runtime, acme: Tenant, source: Source) -> Point:
    return listed(runtime, acme)


@pytest.fixture
def counter(runtime: Runtime, acme: Tenant) -> Counter:
    return Counter(runtime, acme)


def plaintext(runtime: Runtime) -> list[Path]:
    """Files below the work folder that hold what nobody but the tenant may read."""
    files = [each for each in runtime.settings.work.rglob("*") if each.is_file()]
    return [each for each in files if SECRET[:37] in each.read_bytes()]


@pytest.mark.parametrize(
    "where",
    [
        "while the data lies opened",
        pytest.param("before the upload ends", marks=pytest.mark.long),
        pytest.param("right after the upload", marks=pytest.mark.long),
    ],
)
def test_a_killed_worker_leaves_neither_plaintext_nor_an_artefact(
    runtime: Runtime, stack: Embedded, counter: Counter, point: Point, source: Source, where: str
) -> None:
    row = counter.confirm(counter.choose(point, source, "/letters", "/big.bin"))
    killing.kill(runtime, stack, row, driver="dying_maker.py", where=where)
    assert bool(plaintext(runtime)) is (where == "while the data lies opened")

    made = counter.ready(row)

    assert plaintext(runtime) == []
    assert counter.content(made)[:2] == b"PK"
    counter.take_back(made)
    assert counter.end(made).state is DeliveryState.ENDED
    assert counter.lying() == []
    assert list(counter.store().uploads(shipping.prefix_of(point.tenant_id))) == []


@pytest.mark.long
def test_who_kills_two_workers_is_ended_and_cleared_away(
    runtime: Runtime, stack: Embedded, counter: Counter, point: Point, source: Source
) -> None:
    row = counter.confirm(counter.choose(point, source, "/letters"))
    for _ in range(2):
        killing.kill(
            runtime, stack, row, driver="dying_maker.py", where="while the data lies opened"
        )
    assert counter.current(row).state is DeliveryState.QUARANTINED
    with runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        session.execute(update(Delivery).values(due_at=runtime.now()))

    making.sweep(runtime)
    ended = counter.end(row)

    assert (ended.state, ended.ended_as) == (DeliveryState.ENDED, End.FAILED)
    assert (plaintext(runtime), counter.lying()) == ([], [])


def test_everything_that_has_an_end_is_rung_for_and_removed_then(
    runtime: Runtime, counter: Counter, point: Point, source: Source, clock: FakeClock
) -> None:
    proposed = counter.choose(point, source, "/big.bin")
    ready, fetched = (counter.download(point, source, "/big.bin") for _ in range(2))
    counter.redeem(fetched)
    looked = counter.looked(point, source, "/letters/0.txt")
    assert rung(runtime) == set()

    clock.forward(minutes=11)
    assert rung(runtime) == {looked.id}
    clock.forward(hours=8)
    assert rung(runtime) == {proposed.id, ready.id, fetched.id, looked.id}
    for row in (proposed, ready, fetched, looked):
        ended = counter.end(row)
        assert (ended.state, ended.ended_as) == (DeliveryState.ENDED, End.EXPIRED)
    assert counter.lying() == []
    clock.forward(hours=1)
    assert rung(runtime) == set()


def rung(runtime: Runtime) -> set[Any]:
    """The deliveries that the dispatcher would ring for now, to end or to remove them."""
    [due] = [each for each in DUES if each.task == "restore.end_delivery"]
    assert isinstance(due, Due)
    now = runtime.now()
    with runtime.database.session(Role.DISPATCHER) as session:
        return {subject for _, subject in dispatch.nudge(session, due, now=now, again=now)}


def test_what_a_stopped_worker_writes_late_is_removed_too(
    runtime: Runtime, counter: Counter, point: Point, source: Source, clock: FakeClock
) -> None:
    """Its rights live on for minutes: the row stays until they are over, and is looked at again."""
    row = counter.take_back(counter.download(point, source, "/big.bin"))
    ending.carry_out(runtime, row.tenant_id, row.id)
    assert counter.current(row).state is DeliveryState.ENDING
    counter.store().put(f"{shipping.own_prefix(row)}9.sealed", b"late")

    clock.forward(minutes=16)
    assert counter.end(row).state is DeliveryState.ENDED
    assert counter.lying() == []


def test_an_artefact_of_a_delivery_that_nobody_knows_goes_with_the_next(
    counter: Counter, point: Point, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a recovery of the control database; a living one's stays."""
    living = counter.download(point, source, "/big.bin")
    counter.store().put(f"{shipping.prefix_of(point.tenant_id)}{new_id()}/1.sealed", b"?")
    monkeypatch.setattr(shipping, "ORPHANED", -shipping.ORPHANED)
    row = counter.take_back(counter.download(point, source, "/big.bin"))

    counter.end(row)

    assert [each.key for each in counter.lying()] == [living.object_key]


def test_who_takes_it_back_while_it_is_made_ends_the_making(
    runtime: Runtime,
    counter: Counter,
    point: Point,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = counter.confirm(counter.choose(point, source, "/letters", "/big.bin"))
    packed = contents.zips.packed

    def taken_back(*given: Any) -> Any:
        counter.take_back(row)
        return packed(*given)

    monkeypatch.setattr(contents.zips, "packed", taken_back)
    ended = counter.make(row)

    assert (ended.state, ended.ended_as) == (DeliveryState.ENDING, End.CANCELLED)
    assert counter.end(row).state is DeliveryState.ENDED
    assert (counter.lying(), plaintext(runtime)) == ([], [])


def test_damage_in_the_region_is_noticed_before_it_is_given_out(
    counter: Counter, point: Point, source: Source, runtime: Runtime
) -> None:
    row = counter.download(point, source, "/big.bin")
    counter.redeem(row)
    artefact, store = counter.artefact(row), counter.store()
    key = artefact.head.object_key
    whole = store.get(key)
    chunk = 1024 * 1024 + 16
    one, two, rest = whole[:chunk], whole[chunk : 2 * chunk], whole[2 * chunk :]
    for damaged in (
        whole[:50] + bytes([whole[50] ^ 1]) + whole[51:],
        two + one + rest,
        one + one + rest,
        whole[:-20],
        one + rest,
        b"",
    ):
        version = store.put(key, damaged)
        head = replace(artefact.head, version_id=version)
        with pytest.raises((ArtefactDamaged, StorageError)):
            list(replace(artefact, head=head).pieces(Span(0, artefact.head.size - 1)))
    spoilt = store.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    bad = replace(artefact, head=replace(artefact.head, version_id=spoilt))
    sending = replace(counter.serving(row), artefact=bad)
    with pytest.raises(ArtefactDamaged):
        list(sending.send(Span(artefact.head.size - 5, artefact.head.size - 1)))
    assert counter.current(row).ended_as is End.FAILED


def test_the_reader_reads_one_artefact_and_nothing_else(
    counter: Counter, point: Point, source: Source
) -> None:
    """What the pages can open of a region: this object, and not the repository beside it."""
    row, other = (counter.download(point, source, "/big.bin") for _ in range(2))
    artefact = counter.artefact(row)
    store = artefact.store
    assert "/r/" not in artefact.head.object_key
    assert counter.store().retained(artefact.head.object_key, str(row.version_id)) is None

    assert store.get(artefact.head.object_key)
    for key in (str(other.object_key), f"t/{point.tenant_id}/k/x", "x"):
        with pytest.raises(Denied):
            store.get(key)
    for act in (
        lambda: list(store.list(f"t/{point.tenant_id}/r/")),
        lambda: list(store.list(shipping.prefix_of(point.tenant_id))),
        lambda: store.put(artefact.head.object_key, b"x"),
        lambda: store.delete(artefact.head.object_key),
    ):
        with pytest.raises(Denied):
            act()


def test_a_link_opens_for_nobody_else_and_once(
    counter: Counter, point: Point, source: Source, clock: FakeClock, runtime: Runtime
) -> None:
    row = counter.download(point, source, "/big.bin")
    me = counter.asker
    for other in (
        somebody(),
        replace(me, web_session=new_id()),
        replace(me, account=new_id()),
    ):
        with pytest.raises(NotServed):
            counter.redeem(row, other)
    token = counter.redeem(row)
    with pytest.raises(NotServed):
        counter.redeem(row)
    redeemed, now = counter.current(row), runtime.now()
    assert serving.require_open(redeemed, token, me, at=now) is redeemed
    for bad, who in ((token + "x", me), ("", me), (token, somebody())):
        with pytest.raises(NotServed):
            serving.require_open(redeemed, bad, who, at=now)
    with pytest.raises(NotServed):
        serving.require_open(redeemed, token, me, at=clock.forward(hours=8, seconds=1))
    with pytest.raises(NotServed):
        serving.opened(runtime, redeemed)
    with pytest.raises(NotServed):
        serving.require_open(None, token, me, at=now)


def test_two_who_redeem_at_once_get_one_link(
    counter: Counter, point: Point, source: Source
) -> None:
    row = counter.download(point, source, "/letters/0.txt")
    got: list[object] = []
    start = threading.Barrier(2)

    def redeem() -> None:
        start.wait()
        try:
            got.append(counter.redeem(row))
        except NotServed as error:
            got.append(error)

    both = [threading.Thread(target=redeem) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sum(isinstance(each, str) for each in got) == 1


def test_a_point_that_is_gone_or_of_another_source_gives_nothing(
    runtime: Runtime, counter: Counter, point: Point, source: Source, bolt: Tenant
) -> None:
    confirmed = counter.confirm(counter.choose(point, source, "/big.bin"))
    stranger = Counter(runtime, bolt)
    with pytest.raises(NotFound):
        stranger.choose(point, source, "/big.bin")
    for paths in (("/nothing",), ("/../../etc/passwd",), ("/letters/0.txt", "/no")):
        with pytest.raises(NotFound):
            counter.choose(point, source, *paths)
    with pytest.raises(NotFound):
        counter.choose(point, replace_id(source), "/big.bin")
    for wrong in (("/letters",), ("/link",)):
        with pytest.raises(NotChosen):
            counter.look(point, source, *wrong)
    with pytest.raises(NotChosen):
        counter.choose(point, source, tables=["public.x"])
    with runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        session.execute(update(Snapshot).values(forgotten_at=runtime.now()))
        session.execute(update(Copy).values(state=CopyState.REMOVED))

    with pytest.raises(NotFound):
        counter.choose(point, source, "/big.bin")
    ended = counter.make(confirmed)
    assert ended.ended_as is End.FAILED
    assert ended.failure is not None
    assert ended.failure["code"] == "point-gone"


def replace_id(source: Source) -> Source:
    return Source(id=new_id(), kind=source.kind, name="other", options={})


def test_a_region_that_is_away_delays_and_loses_nothing(
    runtime: Runtime, counter: Counter, point: Point, source: Source
) -> None:
    row = counter.confirm(counter.choose(point, source, "/letters/0.txt"))
    with in_front_of(runtime, A) as proxy:
        proxy.fault = Refuse()
        waiting = counter.make(row)
        assert waiting.state is DeliveryState.WAITING
        assert waiting.failure is not None
        assert waiting.failure["code"] == "no-region-reached"
    made = counter.ready(row)
    with in_front_of(runtime, A) as proxy:
        counter.take_back(made)
        proxy.fault = Refuse()
        assert counter.end(made).state is DeliveryState.ENDING
    assert counter.end(made).state is DeliveryState.ENDING  # not due before five minutes are over


def test_nobody_piles_up_downloads_or_takes_what_is_not_listed(
    counter: Counter, point: Point, source: Source
) -> None:
    for _ in range(asking.MOST_AT_ONCE):
        counter.confirm(counter.choose(point, source, "/letters/0.txt"))
    one_more = counter.choose(point, source, "/letters/0.txt")

    with pytest.raises(TooManyAtOnce):
        counter.confirm(one_more)
    counter.take_back(one_more)
    with pytest.raises(LifecycleError):
        counter.take_back(one_more)
    later = stored(counter.runtime, counter.tenant)  # not in the catalogue yet
    with pytest.raises(NotListedYet):
        counter.choose(later, source, "/big.bin")


def test_a_recovered_platform_ends_every_delivery(
    runtime: Runtime, counter: Counter, point: Point, source: Source
) -> None:
    rows = [
        counter.choose(point, source, "/big.bin"),
        counter.confirm(counter.choose(point, source, "/big.bin")),
        counter.download(point, source, "/big.bin"),
    ]
    with runtime.database.session(Role.OPERATOR, tenant=point.tenant_id) as session:
        calming.end_all(session, point.tenant_id, now=runtime.now())

    for row in rows:
        ended = counter.current(row)
        assert ended.ended_as in (End.CANCELLED, End.EXPIRED, End.REVOKED)
        assert ended.sealed is None
