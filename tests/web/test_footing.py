"""What is wrong with the platform itself: silence, what it stands on, and queues that stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.models import BackupRun
from strongroom import heartbeats
from strongroom.db import Role
from strongroom.heartbeats import SILENT, Heartbeat
from strongroom.looks import KEYS, Look
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock, add_folder, alive, queue
from tests.people.cast import People, signed_in
from web import footing
from web.footing import LEAST_FREE, PARTS, RANK, Fault, FaultCode, Part, Seen, Waiting
from web.pages import fault_words

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OLD = SILENT + timedelta(seconds=1)


def sign(name: str, *, ago: timedelta = timedelta(0), **facts: object) -> Heartbeat:
    return Heartbeat(part=name, process="one", at=NOW - ago, facts=facts)


ALIVE = [sign(name) for names in PARTS.values() for name in names]
WELL = Seen(NOW, NOW, ALIVE, [], {})


def look(
    what: str, *, ago: timedelta = timedelta(0), bad: timedelta | None = None, apart: float = 0.0
) -> Look:
    failure = None if bad is None else {"code": "storage-unreachable", "message": "away"}
    since = None if bad is None else NOW - bad
    return Look(
        what=what,
        at=NOW - ago,
        good_at=NOW,
        bad_since=since,
        failure=failure,
        seconds=0.1,
        apart=apart,
    )


def found(seen: Seen) -> list[tuple[FaultCode, str]]:
    return [(each.code, each.what) for each in footing.faults(seen, business=NOW)]


def test_nothing_is_wrong_where_all_is_well() -> None:
    good = replace(WELL, looks=[look("region a"), look(KEYS)])
    assert found(good) == []


@pytest.mark.parametrize("part", list(Part))
def test_a_part_that_is_silent_or_was_never_there_is_missed(part: Part) -> None:
    others = [each for each in ALIVE if each.part not in PARTS[part]]
    old = [sign(name, ago=OLD) for name in PARTS[part]]
    one = [*others, *(sign(name) for name in PARTS[part][:-1])]

    assert found(replace(WELL, signs=others)) == [(FaultCode.PART_SILENT, part)]
    assert found(replace(WELL, signs=[*others, *old])) == [(FaultCode.PART_SILENT, part)]
    assert found(replace(WELL, signs=one)) == [(FaultCode.PART_SILENT, part)]


def test_one_process_that_is_there_is_enough() -> None:
    gone = [sign(each.part, ago=OLD, failing=["x"], free_bytes=1) for each in ALIVE]
    assert found(replace(WELL, signs=[*gone, *ALIVE])) == []


def test_what_a_process_says_of_itself() -> None:
    said = [
        sign("worker:copy", free_bytes=LEAST_FREE - 1),
        sign("dispatcher", failing=["rota.plan"]),
    ]

    assert found(replace(WELL, signs=[*ALIVE, *said])) == [
        (FaultCode.ROUND_FAILS, "rota.plan"),
        (FaultCode.DISK_LOW, Part.WORKER),
    ]


def test_a_region_or_the_keys_that_are_away_and_what_nobody_looks_at() -> None:
    looks = [look("region a", bad=MINUTE), look(KEYS, bad=MINUTE), look("region b", ago=4 * MINUTE)]

    assert found(replace(WELL, looks=looks)) == [
        (FaultCode.REGION_AWAY, "a"),
        (FaultCode.KEYS_AWAY, KEYS),
        (FaultCode.UNSEEN, "b"),
    ]


@pytest.mark.parametrize(("apart", "off"), [(-301.0, True), (301.0, True), (299.0, False)])
def test_a_regions_clock_that_is_off(apart: float, off: bool) -> None:
    seen = replace(WELL, looks=[look("region a", apart=apart)])
    assert found(seen) == ([(FaultCode.REGION_CLOCK, "a")] if off else [])


def test_what_nobody_ever_looked_at_is_said_once_there_was_time() -> None:
    seen = replace(
        WELL, looks=[look("region a")], expected=frozenset({"region a", "region b", KEYS})
    )

    assert found(seen) == [(FaultCode.UNSEEN, KEYS), (FaultCode.UNSEEN, "b")]
    assert found(replace(seen, settled=False)) == []


def test_clocks_that_disagree() -> None:
    assert found(replace(WELL, host=NOW + 6 * MINUTE)) == [(FaultCode.CLOCKS_APART, "")]


@pytest.mark.parametrize(
    ("oldest", "busy", "stuck"),
    [
        (NOW - 16 * MINUTE, False, True),
        (NOW - 16 * MINUTE, True, False),  # a long queue, and it moves
        (NOW - 14 * MINUTE, False, False),
        (None, False, False),
    ],
)
def test_a_queue_is_stuck_when_what_is_due_waits_and_nothing_is_at_work(
    oldest: datetime | None, busy: bool, stuck: bool
) -> None:
    seen = replace(WELL, queues={"copies": Waiting(3, oldest, busy)})
    assert found(seen) == ([(FaultCode.QUEUE_STUCK, "copies")] if stuck else [])


def test_what_waits_is_counted_by_kind(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    queue(runtime, acme)
    with runtime.database.session(Role.OPERATOR) as session:
        now = footing.queues(session, runtime.now())["backup_runs"]
        before = footing.queues(session, runtime.now() - timedelta(hours=1))["backup_runs"]

    assert (now.count, now.busy) == (1, False)
    assert now.oldest is not None
    assert before == Waiting(0, None, busy=False)


def test_a_worker_at_work_on_it_shows(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    queue(runtime, acme)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.query(BackupRun).update({"state": BackupRun.BUSY})
    with runtime.database.session(Role.OPERATOR) as session:
        assert footing.queues(session, runtime.now())["backup_runs"].busy


def test_every_fault_has_words_and_the_page_shows_it(runtime: Runtime, clock: FakeClock) -> None:
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client
    clock.forward(hours=1)  # there was time to look at everything
    silent = browser.get("/tenants").text
    with runtime.database.session(Role.OPERATOR) as session:
        heartbeats.beat(session, "dispatcher")
    unseen = browser.get("/tenants").text
    alive(runtime)
    after = browser.get("/tenants").text

    assert set(fault_words.FAULTS) == set(RANK)
    assert "There is no sign of the dispatcher." in silent
    assert "Nobody has looked at" not in silent  # where nothing runs, that is what is said
    assert "Nobody has looked at" in unseen
    assert "There is no sign of" not in after
    assert "Nobody has looked at" not in after


def test_what_a_fault_names_is_escaped() -> None:
    means, todo, command = fault_words.plain(Fault(FaultCode.REGION_AWAY, what="<b>"))
    assert means.startswith("Region <b> does not")
    assert (todo != "", command) == (True, "strongroom region check")
