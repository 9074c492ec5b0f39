"""The days of a tenant: what was made, what should have been, what proves it, how long it stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup.models import BackupRun, Copy, Hold, Point, Policy, Repository, Schedule, Slot, Snapshot
from backup.schedule import SlotKind
from backup.states import Outcome, RunState, SlotOutcome, Trigger
from restore.browsing import calendar, cards
from restore.browsing.calendar import Day
from restore.models import Drill
from restore.states import DrillState
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.plans import asked
from tests.restore.shelves import LAST, Shelf, shelf

TODAY = LAST.date()


@pytest.fixture
def on(runtime: Runtime, acme: Tenant, clock: FakeClock) -> Shelf:
    """Four points on four days, the last one today."""
    clock.stop_at(LAST + timedelta(hours=1))
    return shelf(runtime, acme, [{"/a": 1}, {"/a": 2}, {"/a": 2}, {"/a": 2}])


@pytest.fixture
def writing(runtime: Runtime, acme: Tenant, on: Shelf) -> Iterator[Session]:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        _rest(session, acme)
        yield session


def _rest(session: Session, tenant: Tenant) -> None:
    """Nothing is due."""
    session.execute(
        update(Schedule)
        .where(Schedule.tenant_id == tenant.id)
        .values(last_at=LAST, next_at=LAST + timedelta(hours=20))
    )


def read(on: Shelf, *, days: int = 5) -> calendar.Calendar:
    with on.runtime.database.session(Role.WEB, tenant=on.tenant.id) as session:
        return calendar.calendar(
            session,
            on.tenant.id,
            (TODAY - timedelta(days=days - 1), TODAY),
            now=on.runtime.now(),
        )


def of_day(found: calendar.Calendar, day: date) -> Day:
    return next(each for each in found.days if each.date == day)


def test_every_day_has_its_points_and_what_proves_them(on: Shelf, writing: Session) -> None:
    writing.execute(
        update(Snapshot)
        .where(Snapshot.taken_at == LAST)  # the newest
        .values(verified_at=None)
    )
    region = writing.execute(
        select(Repository).where(Repository.tenant_id == on.tenant.id).limit(1)
    ).scalar_one()
    writing.add(_drill(on, region))
    writing.commit()

    found = read(on)

    assert found.today == TODAY
    assert [len(day.points) for day in found.days] == [0, 1, 1, 1, 1]
    assert [each.date for each in found.days] == [
        TODAY - timedelta(days=number) for number in (4, 3, 2, 1, 0)
    ]
    third, newest = (of_day(found, TODAY - timedelta(days=n)).points[0] for n in (1, 0))
    assert found.best is not None
    assert (found.best.number, found.newer) == (3, 1)
    assert (third.number, third.outcome, third.kind) == (3, Outcome.COMPLETE, Trigger.SCHEDULE)
    assert third.checked_at == third.verified_at == LAST - timedelta(days=1)
    assert third.drilled is not None
    assert third.drilled.restore_seconds == 12.5
    assert len(third.stored) == 2
    assert (newest.verified_at, newest.checked_at, newest.drilled) == (None, LAST, None)
    assert newest.kept_by is not None
    assert newest.expires is not None
    assert newest.expires > TODAY
    assert not (newest.removed or newest.held or newest.frozen)
    assert newest.sources[0].listed


def _drill(on: Shelf, region: Repository) -> Drill:
    return Drill(
        id=new_id(),
        tenant_id=on.tenant.id,
        point_id=on.points[2],
        repository_id=region.id,
        state=DrillState.PASSED,
        asked_by="rota",
        asked_at=LAST,
        ended_at=LAST,
        due_at=LAST,
        restore_seconds=12.5,
    )


def test_what_is_gone_is_shown_as_gone_and_what_is_held_as_held(
    on: Shelf, writing: Session
) -> None:
    on.remove(1)
    writing.add(
        Hold(
            id=new_id(),
            tenant_id=on.tenant.id,
            reason="a case",
            placed_by="ada",
            placed_at=LAST,
        )
    )
    writing.commit()

    found = read(on)

    gone = of_day(found, TODAY - timedelta(days=3)).points[0]
    kept = of_day(found, TODAY).points[0]
    assert (gone.removed, gone.expires, gone.held) == (True, None, False)
    assert not gone.sources[0].stored
    assert (kept.removed, kept.held, kept.expires, kept.kept_by) == (
        *(False, True),
        *(None, "legal-hold"),
    )


def test_runs_without_a_point_and_missed_slots_have_their_days(on: Shelf, writing: Session) -> None:
    policy = writing.execute(select(Policy).where(Policy.tenant_id == on.tenant.id)).scalar_one()
    for state, failure in ((RunState.FAILED, {"code": "source-away"}), (RunState.QUEUED, None)):
        writing.add(
            BackupRun(
                id=new_id(),
                tenant_id=on.tenant.id,
                state=state,
                trigger=Trigger.SCHEDULE,
                policy_id=policy.id,
                cadences=["daily"],
                local_date=TODAY if failure is None else TODAY - timedelta(days=1),
                full=False,
                asked_by="dispatcher",
                asked_at=LAST,
                due_at=LAST,
                failure=failure,
            )
        )
    daily = writing.execute(
        select(Schedule).where(
            Schedule.tenant_id == on.tenant.id, Schedule.cadence == SlotKind.DAILY
        )
    ).scalar_one()
    writing.add(
        Slot(
            id=new_id(),
            tenant_id=on.tenant.id,
            schedule_id=daily.id,
            at=LAST - timedelta(days=4),
            local_date=TODAY - timedelta(days=4),
            outcome=SlotOutcome.MISSED,
        )
    )
    daily.last_at, daily.next_at = LAST - timedelta(days=1), LAST - timedelta(hours=20)
    writing.commit()

    found = read(on)

    missed = of_day(found, TODAY - timedelta(days=4)).missed
    assert [(each.cadence, each.late) for each in missed] == [(SlotKind.DAILY, False)]
    assert [run.state for run in of_day(found, TODAY).runs] == [RunState.QUEUED]
    failed = of_day(found, TODAY - timedelta(days=1)).runs
    assert [(run.state, run.failure) for run in failed] == [(RunState.FAILED, "source-away")]
    late = [each for day in found.days for each in day.missed if each.late]
    assert [each.cadence for each in late] == [SlotKind.DAILY]


def test_one_point_reads_as_in_the_calendar(on: Shelf, writing: Session) -> None:
    writing.commit()
    whole = of_day(read(on), TODAY).points[0]
    with on.runtime.database.session(Role.WEB, tenant=on.tenant.id) as session:
        assert cards.card(session, on.tenant.id, 4, now=on.runtime.now()) == whole


def test_a_longer_time_takes_no_more_statements(on: Shelf, writing: Session) -> None:
    writing.commit()
    counts = []
    for days in (1, 300):
        with on.runtime.database.session(Role.WEB, tenant=on.tenant.id) as session:
            with asked(session) as found:
                calendar.calendar(
                    session,
                    on.tenant.id,
                    (TODAY - timedelta(days=days), TODAY),
                    now=on.runtime.now(),
                )
            counts.append(len(found.statements))
    assert counts[0] == counts[1]


def test_a_copy_that_is_away_is_no_proof(on: Shelf, writing: Session) -> None:
    writing.execute(
        update(Copy)
        .where(Copy.point_id == on.points[3])
        .values(state="waiting", failure={"code": "region-away"})
    )
    writing.commit()
    card = of_day(read(on), TODAY).points[0]
    assert [each.failure for each in card.regions] == ["region-away"] * 2
    assert (card.verified_at, card.checked_at, card.removed) == (None, None, False)


def test_what_matters_now_is_there_whatever_days_are_asked_for(
    on: Shelf, writing: Session, clock: FakeClock
) -> None:
    policy = writing.execute(select(Policy).where(Policy.tenant_id == on.tenant.id)).scalar_one()
    writing.add(
        BackupRun(
            id=new_id(),
            tenant_id=on.tenant.id,
            state=RunState.MAKING,
            trigger=Trigger.SCHEDULE,
            policy_id=policy.id,
            cadences=["daily"],
            local_date=TODAY,
            full=False,
            asked_by="dispatcher",
            asked_at=LAST,
            due_at=LAST,
            progress={"percent": 7},
        )
    )
    one = select(Copy.id).where(Copy.point_id == on.points[3]).limit(1).scalar_subquery()
    away = {"state": "waiting", "failure": {"code": "storage-unreachable"}}
    writing.execute(update(Copy).where(Copy.id == one).values(**away))
    writing.commit()
    long_ago = (TODAY - timedelta(days=400), TODAY - timedelta(days=390))

    with on.runtime.database.session(Role.WEB, tenant=on.tenant.id) as session:
        found = calendar.calendar(session, on.tenant.id, long_ago, now=on.runtime.now())
    clock.forward(hours=policy.body["rpo_hours"])
    with on.runtime.database.session(Role.WEB, tenant=on.tenant.id) as session:
        later = calendar.calendar(session, on.tenant.id, long_ago, now=on.runtime.now())

    assert not any(day.points or day.runs or day.missed for day in found.days)
    assert found.best is not None
    assert (found.best.number, found.points, found.newest) == (4, 4, LAST)
    assert [run.percent for run in found.running] == [7]
    assert [(each.points, each.failure) for each in found.away] == [(1, "storage-unreachable")]
    assert (found.overdue, later.overdue) == (False, True)


def test_days_that_make_no_sense_are_refused(on: Shelf) -> None:
    with pytest.raises(BadValue):
        read(on, days=0)
    with pytest.raises(BadValue):
        read(on, days=9000)


def test_a_newer_safety_point_is_not_offered_but_counted(on: Shelf) -> None:
    """Its proof may be older than itself: some of its data were there before it."""
    with on.runtime.database.session(Role.WORKER, tenant=on.tenant.id) as session:
        last = session.execute(select(Point).where(Point.number == 4)).scalar_one()
        last.kind = Trigger.SAFETY
        session.execute(update(Snapshot).values(verified_at=last.taken_at - timedelta(hours=1)))

    found = read(on)

    assert found.best is not None
    assert (found.best.number, found.newer, found.safety) == (3, 0, 1)
    card = cards_by_number(found)[4]
    assert (card.is_safety, card.shares_proofs) == (True, True)
    assert not cards_by_number(found)[3].is_safety


def cards_by_number(found: calendar.Calendar) -> dict[int, cards.Card]:
    return {card.number: card for day in found.days for card in day.points}
