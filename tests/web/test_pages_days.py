"""Tenants by days: what was due, and what came of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from backup import planning
from backup.models import BackupRun, Copy, Schedule, Slot
from backup.states import CopyState, Outcome, RunState, Trigger
from strongroom.db import Role
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, B
from tests.cast import FakeClock, add_folder, back_up, carry_out, queue, run_of
from tests.people.cast import People, signed_in
from tests.web.test_pages import LATIN_WORD, visible
from web import days
from web.days import Cell, Strip
from web.pages import heatmap
from web.pages.months import Mark
from web.picture import SPAN


@pytest.fixture
def noon(clock: FakeClock) -> datetime:
    """Stopped at a noon, before any tenant is there; by then a day's slots are over."""
    return clock.stop_at(datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0))


@pytest.fixture
def sourced(noon: datetime, runtime: Runtime, acme: Tenant, tmp_path: Path) -> Tenant:
    add_folder(runtime, acme, tmp_path / "acme")
    return acme


def strip(runtime: Runtime, tenant: Tenant, span: int = 5) -> Strip:
    with runtime.database.session(Role.OPERATOR) as session:
        return days.read(session, [tenant.id], span, now=runtime.now()).strips[tenant.id]


def plan(runtime: Runtime) -> None:
    with runtime.database.session(Role.DISPATCHER) as session:
        planning.enqueue_due(session, runtime.now())


def test_a_day_before_the_tenant_was_there_is_no_missed_day(
    runtime: Runtime, sourced: Tenant
) -> None:
    assert strip(runtime, sourced).cells == [*[Cell.BEFORE] * 4, Cell.NOT_DUE]


def test_where_nobody_plans_any_more_every_day_that_was_due_is_overdue(
    runtime: Runtime, sourced: Tenant, clock: FakeClock
) -> None:
    clock.forward(days=3)

    assert strip(runtime, sourced).cells == [
        *(Cell.BEFORE, Cell.NOT_DUE),
        *(Cell.OVERDUE, Cell.OVERDUE, Cell.OVERDUE),
    ]


def test_what_was_planned_too_late_is_missed_and_the_last_day_is_under_way(
    runtime: Runtime, sourced: Tenant, clock: FakeClock
) -> None:
    clock.forward(days=3)
    plan(runtime)

    found = strip(runtime, sourced)

    assert found.cells[2:] == [Cell.MISSED, Cell.MISSED, Cell.RUNNING]
    assert found.count(Cell.MISSED) == 2


def test_what_was_planned_after_midnight_belongs_to_the_day_it_was_due(
    runtime: Runtime, sourced: Tenant, clock: FakeClock
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=sourced.id) as session:
        due = min(row.next_at for row in session.query(Schedule))
    clock.stop_at(due + timedelta(minutes=1))
    plan(runtime)
    with runtime.database.session(Role.OPERATOR, tenant=sourced.id) as session:
        session.query(Slot).update({"local_date": Slot.local_date - 1})

    assert strip(runtime, sourced).cells[-2:] == [Cell.RUNNING, Cell.NOT_DUE]


def test_an_address_with_words_of_our_own_makers_does_no_harm(
    runtime: Runtime, sourced: Tenant
) -> None:
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client

    answer = browser.get("/days?endpoint=x&_method=POST&_external=1&_anchor=y")

    assert answer.status_code == 200
    assert "//localhost" not in answer.text


def test_a_run_that_failed_is_failed_until_one_of_that_day_succeeds(
    runtime: Runtime, sourced: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "acme").rename(tmp_path / "away")
    carry_out(runtime, sourced, queue(runtime, sourced))
    failed = strip(runtime, sourced).cells[-1]
    (tmp_path / "away").rename(tmp_path / "acme")
    back_up(runtime, sourced)

    assert (failed, strip(runtime, sourced).cells[-1]) == (Cell.FAILED, Cell.COMPLETE)


def test_what_retention_let_go_was_made_all_the_same(runtime: Runtime, sourced: Tenant) -> None:
    back_up(runtime, sourced)
    with runtime.database.session(Role.OPERATOR, tenant=sourced.id) as session:
        session.query(Copy).update({"state": CopyState.REMOVED})

    assert strip(runtime, sourced).cells[-1] is Cell.COMPLETE


def test_a_safety_point_is_no_backup_of_the_day(runtime: Runtime, sourced: Tenant) -> None:
    back_up(runtime, sourced, trigger=Trigger.SAFETY)

    assert strip(runtime, sourced).cells[-1] is Cell.NOT_DUE


def test_a_tenant_is_on_a_day_of_its_own(
    runtime: Runtime, sourced: Tenant, clock: FakeClock, noon: datetime
) -> None:
    """Ten at night in UTC is the next day where acme is."""
    assert sourced.zone == "Asia/Dubai"
    clock.stop_at(noon + timedelta(hours=10))

    with runtime.database.session(Role.OPERATOR) as session:
        sheet = days.read(session, [sourced.id], 3, now=runtime.now())

    assert sheet.dates[-1] == noon.date() + days.DAY


def test_the_better_of_two_things_is_said() -> None:
    assert days.better(Cell.COMPLETE, Cell.MISSED) is Cell.COMPLETE
    assert days.better(Cell.MISSED, Cell.FAILED) is Cell.FAILED
    assert set(days.OUTCOMES) == set(Outcome)


def test_a_day_is_ranked_as_on_the_tenants_own_calendar() -> None:
    shared = [cell.value for cell in Cell if cell.value in set(Mark)]
    assert shared == [mark.value for mark in Mark if mark.value in set(Cell)]


def test_many_tenants_cost_no_more_questions_than_one(
    runtime: Runtime, sourced: Tenant, bolt: Tenant, clock: FakeClock
) -> None:
    clock.forward(days=3)
    asked: list[str] = []
    with runtime.database.session(Role.OPERATOR) as session:
        event.listen(
            session.connection().engine, "before_cursor_execute", lambda *a: asked.append(a[2])
        )
        days.read(session, [sourced.id], 30, now=runtime.now())
        one = len(asked)
        days.read(session, [sourced.id, bolt.id], 30, now=runtime.now())

    assert len(asked) - one == one


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", True),
        ("?days=90", True),
        ("?days=7&plan=", True),
        ("?plan=nobody-has-it", False),
        ("?region=nowhere", False),
        ("?cause=overdue", True),
        ("?cause=no-sources", False),
        ("?cause=nonsense", True),
    ],
)
def test_the_page_shows_who_was_chosen(
    runtime: Runtime, sourced: Tenant, clock: FakeClock, query: str, shown: bool
) -> None:
    clock.forward(days=3)
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client

    page = browser.get(f"/days{query}").text

    assert (f"/tenants/{sourced.slug}" in page) is shown
    assert ("No tenant is like that." in page) is not shown


def test_it_chooses_by_region_and_says_the_sum_in_words(runtime: Runtime, sourced: Tenant) -> None:
    back_up(runtime, sourced)
    with runtime.database.session(Role.OPERATOR) as session:
        region = days.regions(session)[0]
    browser = signed_in(runtime, People(runtime).staff(StaffRole.AUDITOR)).client

    page = browser.get(f"/days?region={region}").text

    assert f"/tenants/{sourced.slug}" in page
    assert "complete" in page[page.index('class="sum"') :]


def test_it_is_arabic_in_arabic(runtime: Runtime, sourced: Tenant, clock: FakeClock) -> None:
    clock.forward(days=3)
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client

    page = browser.get("/days?lang=ar").text

    assert 'dir="rtl"' in page
    page = re.sub(r'<select name="region".*?</select>', "", page, flags=re.DOTALL)
    assert set(LATIN_WORD.findall(visible(page))) <= {"English", "Acme", "Trading", "Person"}


def test_a_state_of_a_run_has_a_cell(runtime: Runtime, sourced: Tenant) -> None:
    run_id = queue(runtime, sourced)
    seen = {}
    for state in RunState:
        with runtime.database.session(Role.OPERATOR, tenant=sourced.id) as session:
            session.query(BackupRun).filter_by(id=run_id).update({"state": state})
        seen[run_of(runtime, sourced, run_id).state] = strip(runtime, sourced).cells[-1]

    assert seen[RunState.QUEUED] is seen[RunState.MAKING] is Cell.RUNNING
    assert seen[RunState.QUARANTINED] is seen[RunState.FAILED] is Cell.FAILED


# Groups

C, F, O = (days.LETTERS[each] for each in (Cell.COMPLETE, Cell.FAILED, Cell.OVERDUE))


def test_a_groups_day_is_called_by_its_worst_and_says_how_many_are_short() -> None:
    before = days.LETTERS[Cell.BEFORE] * (SPAN - 3)
    strips = f"{before}{C}{C}{O}" + f"{before}{C}{F}{F}" + f"{before}{C}{C}{C}"

    first, second, third = heatmap.by_days(strips, 3)

    assert (first.cell, first.short) == (Cell.COMPLETE, 0)
    assert (second.cell, second.short) == (Cell.FAILED, 1)
    assert (third.cell, third.short) == (Cell.OVERDUE, 2)
    assert next(heatmap.by_days(strips, 4)).cell is Cell.NOT_DUE


def test_every_letter_is_a_cell_of_its_own() -> None:
    assert set(days.CELLS.values()) == set(Cell)
    assert len(days.CELLS) == len(Cell)
    short = {Cell.OVERDUE, Cell.FAILED, Cell.MISSED, Cell.PARTIAL}
    assert set(heatmap.WORST) - short == {Cell.RUNNING, Cell.COMPLETE}
    assert set(heatmap.WORST[:4]) == short


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("plan", ["Starter"]),
        ("region", [A, B]),
        ("cause", ["overdue", "nothing to back up"]),
        ("nonsense", ["Acme Trading"]),
    ],
)
def test_tenants_are_put_together(
    by: str,
    groups: list[str],
    runtime: Runtime,
    sourced: Tenant,
    bolt: Tenant,
    clock: FakeClock,
) -> None:
    clock.forward(days=3)
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client

    page = browser.get(f"/days?by={by}").text
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>', page, re.DOTALL)

    assert all(any(group in row for row in rows) for group in groups)
    assert ("2 tenants" in page) == (by != "nonsense")
