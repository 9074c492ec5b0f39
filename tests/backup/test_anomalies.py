"""What looks wrong is marked and freezes removal; what is only new, small or planned is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from backup import anomalies, findings, ledger, removal, retention, tasks
from backup.anomalies import State, judge
from backup.models import Copy, Finding, Point
from backup.states import CopyState, Decision, Outcome, Trigger
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, set_policy, vault
from tests.cast import (
    ADA,
    SourceDatabase,
    add_database,
    add_folder,
    back_up,
    fill,
    rows_of,
)

HERE, ELSEWHERE = new_id(), new_id()
MB = 1_000_000


def folder(size: int, *, files: int = 100, added: int = 0, at: Any = HERE) -> State:
    return State(bytes=size, files=files, added=added, repository=at)


def database(**rows: int) -> State:
    return State(bytes=MB, files=1, added=10_000, repository=HERE, tables=rows)


def code(now: State, *earlier: State) -> str | None:
    found = judge(now, earlier)
    return None if found is None else found.code


def test_a_first_point_is_never_odd() -> None:
    for state in (folder(0), folder(MB, added=MB), database(orders=0)):
        assert judge(state, []) is None


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (database(orders=24, customers=20), database(orders=500, customers=20), "rows-down"),
        (database(orders=26, customers=20), database(orders=500, customers=20), None),
        (database(orders=0, customers=20), database(orders=500, customers=20), "table-empty"),
        (database(orders=0, customers=20), database(orders=99, customers=20), None),
        (database(orders=0), database(orders=500), "source-empty"),
        (database(renamed=500), database(orders=500), None),
        (database(other=3), database(orders=500), "rows-down"),
        (database(), database(orders=500), "source-empty"),
        (folder(0, files=0), folder(MB), "source-empty"),
        (folder(MB, files=4), folder(MB), "files-down"),
        (folder(MB, files=0), folder(MB, files=19), None),
    ],
)
def test_one_earlier_point_is_enough_to_see_that_something_is_gone(
    now: State, before: State, expected: str | None
) -> None:
    assert code(now, before) == (expected and f"anomaly-{expected}")


def test_a_table_that_is_emptied_again_and_again_is_no_news() -> None:
    earlier = [database(queue=rows) for rows in (4000, 9000, 2, 7000, 5000)]
    assert judge(database(queue=0), earlier) is None
    assert code(database(queue=0), *[database(queue=4000)] * 5) == "anomaly-source-empty"


def test_a_new_table_is_judged_by_the_points_that_have_it() -> None:
    earlier = [database(old=500, new=400), database(old=500), database(old=500)]
    assert code(database(old=500, new=0), *earlier) == "anomaly-table-empty"


@pytest.mark.parametrize(
    ("size", "expected"),
    [(10 * MB, None), (6 * MB, None), (35 * MB, None), (4 * MB, "size"), (50 * MB, "size")],
)
def test_a_size_is_far_by_factor_from_five_points_on(size: int, expected: str | None) -> None:
    earlier = [folder(10 * MB + step) for step in (0, 1000, -2000, 3000, 500)]
    assert code(folder(size), *earlier) == (expected and f"anomaly-{expected}")
    assert code(folder(size), *earlier[:4]) is None


def test_a_size_that_always_leaps_is_far_only_beyond_its_own_spread() -> None:
    earlier = [folder(size * MB) for size in (10, 30, 2, 25, 5, 40)]
    assert code(folder(2 * MB), *earlier) is None
    assert code(folder(90 * MB), *earlier) is None
    assert code(folder(900 * MB), *earlier) == "anomaly-size"


def test_everything_new_at_once_is_odd_where_little_was() -> None:
    calm = [folder(10 * MB, added=MB // 5)] * 4
    assert code(folder(10 * MB, added=9 * MB), *calm) == "anomaly-all-changed"
    assert code(folder(10 * MB, added=6 * MB), *calm) is None


def test_growth_and_first_copies_and_what_always_changes_are_not_odd() -> None:
    calm = [folder(10 * MB, added=MB // 5)] * 4
    assert code(folder(35 * MB, added=25 * MB), *calm) is None  # it grew by what is new
    assert code(folder(10 * MB, added=10 * MB, at=ELSEWHERE), *calm) is None  # a new repository
    assert code(folder(10 * MB, added=10 * MB), *calm[:2]) is None  # too little is known
    wild = [folder(10 * MB, added=8 * MB)] * 4
    assert code(folder(10 * MB, added=9 * MB), *wild) is None
    assert code(folder(1000, added=1000), *[folder(1000)] * 4) is None  # noise


@given(
    some.integers(MB, 100 * MB),
    some.lists(some.floats(0.95, 1.08), min_size=1, max_size=30),
    some.floats(0.0, 0.2),
)
def test_a_source_that_lives_an_ordinary_life_is_never_odd(
    size: int, steps: list[float], new: float
) -> None:
    states: list[State] = []
    for step in steps:
        size = int(size * step)
        state = folder(size, files=size // 10_000, added=int(size * new))
        assert judge(state, states[: anomalies.HISTORY]) is None
        states.insert(0, state)


def lose_rows(source: SourceDatabase) -> None:
    source.run("DELETE FROM orders WHERE id > 10")


def open_findings(runtime: Runtime, tenant: Tenant) -> list[Finding]:
    return rows_of(runtime, tenant, Finding, Finding.settled_at.is_(None))


def settle(runtime: Runtime, tenant: Tenant, decision: Decision) -> None:
    [row] = open_findings(runtime, tenant)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        which = (tenant.id, row.id)
        findings.settle(session, which, decision, by=ADA, note="looked", now=runtime.now())


def standing(runtime: Runtime, tenant: Tenant) -> set[Any]:
    copies = rows_of(runtime, tenant, Copy, Copy.state != CopyState.REMOVED)
    return {copy.point_id for copy in copies}


def then_rows_are_lost(runtime: Runtime, tenant: Tenant, source: SourceDatabase) -> Point:
    """A point, of which retention would keep only the newest; then most rows go."""
    add_database(runtime, tenant, source)
    set_policy(runtime, tenant, last=1, floor=1)
    point = back_up(runtime, tenant)
    lose_rows(source)
    return point


def test_lost_rows_mark_the_point_and_freeze_removal_until_they_are_accepted(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    source = new_database()
    first = then_rows_are_lost(runtime, acme, source)

    second = back_up(runtime, acme)

    [seen] = open_findings(runtime, acme)
    assert (seen.code, seen.freezes, seen.point_id) == ("anomaly-rows-down", True, second.id)
    assert {name: seen.params[name] for name in ("source", "table", "then", "now")} == {
        "source": "orders",
        "table": "public.orders",
        "then": 500,
        "now": 10,
    }
    assert removal.review(runtime, acme.id) == 0
    assert standing(runtime, acme) == {first.id, second.id}

    settle(runtime, acme, Decision.ACCEPTED)
    tasks.review(runtime, acme.id)
    assert standing(runtime, acme) == {second.id}

    source.run("INSERT INTO customers VALUES (99, 'new')")
    back_up(runtime, acme)
    assert open_findings(runtime, acme) == []  # what was accepted is how it should be


def test_a_rejected_point_displaces_no_good_one_and_is_no_floor(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    first = then_rows_are_lost(runtime, acme, new_database())
    second = back_up(runtime, acme)

    settle(runtime, acme, Decision.REJECTED)
    tasks.review(runtime, acme.id)

    assert first.id in standing(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        known = ledger.read(session, acme.id, now=runtime.now())
    facts = {point.id: point for point in known.points}
    assert facts[second.id].outcome is Outcome.PARTIAL
    assert not retention.is_verified(facts[second.id])
    assert retention.is_verified(facts[first.id])


def test_points_that_are_marked_are_no_yardstick_and_the_same_state_is_one_finding(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    source = new_database()
    add_database(runtime, acme, source)
    back_up(runtime, acme)
    lose_rows(source)
    second = back_up(runtime, acme)
    third = back_up(runtime, acme)  # nothing changed since

    source.run("INSERT INTO customers VALUES (99, 'new')")
    fourth = back_up(runtime, acme)

    points = [each.point_id for each in open_findings(runtime, acme)]
    assert points == [second.id, fourth.id] or points == [second.id, third.id, fourth.id]
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        assert len(anomalies.marked(session, acme.id)) == len(points)


def test_what_follows_a_restore_in_place_is_not_odd(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    source = new_database()
    add_database(runtime, acme, source)
    back_up(runtime, acme)
    back_up(runtime, acme, trigger=Trigger.SAFETY)
    lose_rows(source)  # the restore brought an early state back

    back_up(runtime, acme)

    assert open_findings(runtime, acme) == []


def test_a_safety_point_is_not_judged(
    runtime: Runtime, acme: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    source = new_database()
    add_database(runtime, acme, source)
    back_up(runtime, acme)
    lose_rows(source)
    back_up(runtime, acme, trigger=Trigger.SAFETY)
    assert open_findings(runtime, acme) == []


@pytest.mark.long
def test_files_that_were_all_encrypted_are_seen_and_new_files_are_not(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """An archive in which nothing happens: its points share one snapshot."""
    place = tmp_path / "files"
    add_folder(runtime, acme, place)
    for number in range(30):
        (place / f"{number}.bin").write_bytes(os.urandom(20_000))
    for _ in range(3):
        back_up(runtime, acme)
    (place / "import.bin").write_bytes(os.urandom(1_000_000))
    back_up(runtime, acme)
    assert open_findings(runtime, acme) == []

    for path in place.rglob("*.*"):
        if path.is_file():
            path.write_bytes(os.urandom(path.stat().st_size))
    point = back_up(runtime, acme)

    [seen] = open_findings(runtime, acme)
    assert (seen.code, seen.point_id) == ("anomaly-all-changed", point.id)


@pytest.mark.long
def test_another_region_taking_its_first_copy_of_everything_is_not_odd(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """The preferred region was wiped: the next backup stores all of it there anew."""
    place = tmp_path / "files"
    add_folder(runtime, acme, place)
    (place / "big.bin").write_bytes(os.urandom(400_000))
    back_up(runtime, acme)
    for day in range(3):
        fill(place, words=f"day {day}")
        back_up(runtime, acme)
    held = vault(runtime, acme, A)
    for part in ("data/", "index/", "snapshots/"):
        for found in list(held.store.list(held.prefix + part)):
            held.store.delete(found.key)
    fill(place, words="after")

    point = back_up(runtime, acme)

    assert point.added_bytes > 400_000
    assert {each.code for each in open_findings(runtime, acme)} == {"snapshot-vanished"}


def test_another_tenants_history_is_nobodys_yardstick(
    runtime: Runtime, acme: Tenant, bolt: Tenant, new_database: Callable[..., SourceDatabase]
) -> None:
    add_database(runtime, acme, new_database())
    back_up(runtime, acme)
    small = new_database()
    lose_rows(small)
    add_database(runtime, bolt, small)
    back_up(runtime, bolt)
    assert open_findings(runtime, acme) == open_findings(runtime, bolt) == []


def test_a_judgement_that_breaks_fails_no_point(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    add_folder(runtime, acme, tmp_path / "files")
    monkeypatch.setattr(anomalies, "judge", broken)
    assert isinstance(back_up(runtime, acme), Point)
