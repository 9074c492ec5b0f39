"""What one person, tenant or hostile source can take of everybody's: asked for, counted, refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text, update

from backup import contents as listing
from backup import removal
from backup.models import Point, Source
from backup.wanted import PointGoing
from restore.delivery import asking, contents, serving
from restore.delivery.asking import TooManyAtOnce, Wish
from restore.delivery.models import Delivery
from restore.delivery.serving import Streams
from restore.delivery.states import DeliveryState
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.lifecycle import WrongTurn
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import removals, set_policy
from tests.people.cast import Statements
from tests.restore.delivering import Counter, listed, somebody
from tests.restore.shelves import shelf
from tests.restore.test_wanted import unwant


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "office"
    cast.fill(made)
    return made


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, folder: Path) -> Source:
    return cast.add_folder(runtime, acme, folder)


@pytest.fixture
def old(runtime: Runtime, acme: Tenant, source: Source, folder: Path) -> Point:
    """A point that goes with the next pass: there is a newer one, and the plan keeps one."""
    point = listed(runtime, acme)
    cast.fill(folder, words="later")
    cast.back_up(runtime, acme)
    listing.record(runtime, acme.id)
    set_policy(runtime, acme)
    return point


@pytest.fixture
def counter(runtime: Runtime, acme: Tenant) -> Counter:
    return Counter(runtime, acme)


def test_what_is_chosen_keeps_its_point(
    runtime: Runtime, acme: Tenant, counter: Counter, source: Source, old: Point
) -> None:
    row = counter.choose(old, source, "/letters")
    assert removal.review(runtime, acme.id) == 0
    unwant(runtime, old)

    counter.confirm(row)

    assert removal.review(runtime, acme.id) == 0
    assert removals(runtime, acme) == []


def test_a_point_that_is_being_removed_is_not_given_out(
    runtime: Runtime, acme: Tenant, counter: Counter, source: Source, old: Point
) -> None:
    proposed = counter.choose(old, source, "/letters")
    waiting = counter.confirm(counter.choose(old, source, "/letters"))
    unwant(runtime, old)
    assert removal.review(runtime, acme.id) == 2

    with pytest.raises(PointGoing):
        counter.choose(old, source, "/letters")
    with pytest.raises(PointGoing):
        counter.look(old, source, "/letters/0.txt")
    with pytest.raises(PointGoing):
        counter.confirm(proposed)
    made = counter.make(waiting)
    assert made.failure is not None
    assert made.failure["code"] == "point-going"


def test_what_is_being_made_is_not_confirmed_again(
    runtime: Runtime, acme: Tenant, counter: Counter, source: Source
) -> None:
    row = counter.confirm(counter.choose(listed(runtime, acme), source, "/letters"))
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(
            update(Delivery).where(Delivery.id == row.id).values(state=DeliveryState.RUNNING)
        )

    with pytest.raises(WrongTurn):
        counter.confirm(row)

    assert counter.current(row).state is DeliveryState.RUNNING


def test_nobody_chooses_without_end(
    runtime: Runtime,
    acme: Tenant,
    counter: Counter,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = listed(runtime, acme)
    monkeypatch.setattr(asking, "MOST_PROPOSED", 3)
    rows = [counter.choose(point, source, "/letters") for _ in range(3)]

    with pytest.raises(TooManyAtOnce):
        counter.choose(point, source, "/letters")

    counter.take_back(rows[0])
    counter.choose(point, source, "/letters")
    Counter(runtime, acme).choose(point, source, "/letters")  # somebody else's are not counted


@pytest.mark.parametrize("count", [1, 60])
def test_many_folders_cost_no_more_statements_than_one(
    runtime: Runtime, acme: Tenant, count: int
) -> None:
    files = {f"/all/{number}/deep_/{each}": 3 for number in range(60) for each in "ab"}
    made = shelf(runtime, acme, [files | {"/all/0x/deep_/c": 1000}])
    paths = [f"/all/{number}" for number in range(count)] + ["/all/0/deep_"]
    wish = Wish(1, made.source, paths)

    with (
        Statements(runtime) as seen,
        runtime.database.session(Role.WEB, tenant=acme.id) as session,
    ):
        row = asking.propose(session, acme.id, wish, somebody(), at=runtime.now())

    assert row.expected_bytes == count * 6  # each file once
    assert sum("sum(" in each and "catalogue" in each for each in seen.sent) == 1


def test_sizes_of_a_great_many_are_not_added_up(
    runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shelf(runtime, acme, [{f"/all/{number}": 3 for number in range(30)}])
    monkeypatch.setattr(asking, "MOST_SUMMED", 20)

    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        wish = Wish(1, made.source, ["/all"])
        row = asking.propose(session, acme.id, wish, somebody(), at=runtime.now())
        whole = session.execute(text("select bytes from snapshots limit 1")).scalar_one()

    assert row.expected_bytes == whole


def test_a_wide_table_shows_as_many_rows_as_a_page_has_room_for() -> None:
    wide = [str(number) for number in range(1600)]
    names = ", ".join(f"c{each}" for each in wide)
    rows = "\n".join("\t".join("x" * 500 for _ in wide) for _ in range(50))
    dump = f"COPY public.t ({names}) FROM stdin;\n{rows}\n\\.\n".encode()

    document = contents._rows(io.BytesIO(dump), ("public", "t"))

    assert document is not None
    assert len(document["rows"]) == 1
    assert len(json.dumps(document)) < 1_000_000


@pytest.fixture
def streams() -> Iterator[Streams]:
    yield Streams()


def test_one_tenant_leaves_a_stream_for_others(streams: Streams) -> None:
    tenant, people = new_id(), [new_id() for _ in range(serving.STREAMS)]

    begun = [streams.begin(each, tenant) for each in people]

    assert begun == [True] * serving.OF_TENANT + [False]
    assert streams.begin(new_id(), new_id())
    streams.end(people[0], tenant)
    assert streams.begin(people[0], tenant)


def test_previews_do_not_push_downloads_out_of_the_list(
    runtime: Runtime, acme: Tenant, counter: Counter, source: Source
) -> None:
    point = listed(runtime, acme)
    row = counter.choose(point, source, "/letters")
    counter.look(point, source, "/letters/0.txt")

    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        found = serving.of_person(session, counter.asker.account, most=1)

    assert [each.id for each in found] == [row.id]


def test_a_link_does_not_serve_the_same_bytes_for_ever(
    runtime: Runtime, acme: Tenant, source: Source, counter: Counter
) -> None:
    row = counter.download(listed(runtime, acme), source)
    token, at = counter.redeem(row), runtime.now()
    serving.require_open(counter.current(row), token, counter.asker, at=at)
    counter.fetch(row, 0, 0)  # and never the last byte
    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        session.execute(update(Delivery).values(served_bytes=3_000_000))

    with pytest.raises(serving.NotServed):
        serving.require_open(counter.current(row), token, counter.asker, at=at)
