"""Find the moment: the calendar, a point, and who sees what of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup.models import (
    BackupRun,
    Copy,
    Point,
    Policy,
    Schedule,
    Slot,
    Snapshot,
)
from backup.states import Outcome, RunState, SlotOutcome, Trigger
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.people.rules import TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.people.cast import Browser, People, Statements, signed_in
from tests.restore.shelves import LAST, Shelf, shelf
from tests.web.four_points import four_points
from tests.web.test_pages import LATIN_WORD, visible

TODAY = LAST.date()


@pytest.fixture
def on(runtime: Runtime, acme: Tenant, clock: FakeClock) -> Shelf:
    return four_points(runtime, acme, clock)


@pytest.fixture
def admin(runtime: Runtime, acme: Tenant, on: Shelf) -> Browser:
    return signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))


@pytest.fixture
def viewer(runtime: Runtime, acme: Tenant, on: Shelf) -> Browser:
    return signed_in(runtime, People(runtime).member(acme, TenantRole.VIEWER))


def pages(on: Shelf) -> Sequence[str]:
    """Each page once."""
    source = f"/t/acme/sources/{on.source}"
    return (
        "/t/acme/",
        "/t/acme/?month=2026-02",
        f"/t/acme/?day={TODAY}",
        "/t/acme/years/2026",
        "/t/acme/points/4",
        f"/t/acme/points/4/sources/{on.source}/",
        f"/t/acme/points/4/sources/{on.source}/?folder=/letters&sort=size&order=down",
        "/t/acme/search",
        "/t/acme/search?q=gone&kind=file&first=2026-01-01",
        "/t/acme/search?q=nowhere",
        f"{source}/history?path=/letters/0.txt",
        f"{source}/difference?from=1&to=4",
        f"{source}/difference?from=1&to=4&change=removed",
        f"{source}/difference?to=1",
        "/t/acme/points/77",
        f"/t/acme/points/4/sources/{on.source}/?folder=/none",
        f"/t/acme/points/4/sources/{on.source}/?after=x",
    )


def test_a_year_offers_no_days_to_come(admin: Browser, on: Shelf) -> None:
    page = admin.get(f"/t/acme/years/{TODAY.year}").text

    assert f"years/{TODAY.year - 1}" in page
    assert f"years/{TODAY.year + 1}" not in page
    assert f"month={TODAY:%Y-%m}" in page
    assert f"month={TODAY.year}-12" not in page


def test_every_page_speaks_both_languages(admin: Browser, on: Shelf) -> None:
    for address in pages(on):
        mark = "&" if "?" in address else "?"
        english = admin.get(f"{address}{mark}lang=en&dates=gregorian")
        assert english.status_code in (200, 400, 404), (address, english.text)
        assert "Restore points" in english.text, address
        arabic = admin.get(f"{address}{mark}lang=ar&dates=hijri").text
        assert '<html lang="ar" dir="rtl">' in arabic
        said = set(LATIN_WORD.findall(visible(arabic)))
        assert not said - {"English", "Acme", "Trading", "Person", "files"}, (address, said)
        assert not re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=|hx-on", arabic)


def test_the_newest_verified_point_is_offered_first(
    admin: Browser, on: Shelf, runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        newest = update(Snapshot).where(Snapshot.taken_at == LAST)
        session.execute(newest.values(verified_at=None))

    page = admin.get("/t/acme/").text

    assert "Your data can be restored as it was 1 day ago." in page
    assert "1 newer point is complete but not verified yet." in page
    assert '<a class="act" href="/t/acme/points/3">' in page


def test_each_day_says_what_it_has_by_sign_and_word(
    admin: Browser, on: Shelf, runtime: Runtime, acme: Tenant
) -> None:
    on.remove(1)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        run(session, acme, RunState.FAILED, TODAY - timedelta(days=5), {"code": "source-empty"})
        run(session, acme, RunState.MAKING, TODAY - timedelta(days=6), None)
        point = update(Point).where(Point.id == on.points[1])
        session.execute(point.values(outcome=Outcome.PARTIAL))
        daily = session.execute(select(Schedule).where(Schedule.cadence == "daily")).scalar_one()
        daily.last_at, daily.next_at = LAST - timedelta(days=1), LAST - timedelta(hours=20)
        session.add(missed(acme, daily, TODAY - timedelta(days=7)))

    page = admin.get("/t/acme/?month=2026-03").text

    wanted = {7: "removed", 8: "partial", 9: "complete", 5: "failed", 4: "under way", 3: "missed"}
    assert {day: words_of(page, day) for day in wanted} == wanted
    assert words_of(page, 11) == ""
    assert "The folder is empty; see whether it is mounted." in page
    assert re.search(r'aria-current="date">\s*<a', page)
    assert "overdue" in page


def run(session: Session, tenant: Tenant, state: RunState, day: date, failure: Any) -> None:
    policy = select(Policy.id).where(Policy.tenant_id == tenant.id)
    session.add(
        BackupRun(
            id=new_id(),
            tenant_id=tenant.id,
            state=state,
            trigger=Trigger.SCHEDULE,
            policy_id=session.execute(policy).scalars().first(),
            cadences=["daily"],
            local_date=day,
            full=False,
            asked_by="dispatcher",
            asked_at=LAST,
            due_at=LAST,
            failure=failure,
            progress={"percent": 42} if state is RunState.MAKING else None,
        )
    )


def missed(tenant: Tenant, schedule: Schedule, day: date) -> Slot:
    at = LAST - timedelta(days=7)
    given = {"schedule_id": schedule.id, "at": at, "local_date": day, "tenant_id": tenant.id}
    return Slot(id=new_id(), outcome=SlotOutcome.MISSED, **given)


def words_of(page: str, day: int) -> str:
    """The first word of a day's cell; of the month itself."""
    inside = page[page.index('<table class="month">') : page.index("</table>")]
    cells = re.findall(r"<td(?! class=\"\w* outside).*?</td>", inside, re.DOTALL)
    found = re.search(r'class="word">([^<]*)<', cells[day - 1])
    return "" if found is None else found[1]


def test_a_running_backup_renews_the_page_and_shows_percent(
    admin: Browser, runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        run(session, acme, RunState.MAKING, TODAY, None)
    asked = {"HX-Request": "true"}

    page = admin.get("/t/acme/?month=2025-01").text  # whatever is looked at
    part = admin.get("/t/acme/", headers=asked)
    version = re.search(r'data-version="(\w+)"', part.text)
    assert version is not None
    again = admin.get("/t/acme/", headers={**asked, "If-None-Match": f'"{version[1]}"'})

    assert 'value="42"' in page
    assert 'data-seconds="5"' in page
    assert "Your data can be restored as it was" in page  # the point is of another year
    assert "<html" not in part.text
    assert (again.status_code, again.data) == (304, b"")


def test_an_empty_tenant_hears_when_its_first_backup_is_due(
    runtime: Runtime, bolt: Tenant, clock: FakeClock
) -> None:
    browser = signed_in(runtime, People(runtime).member(bolt, TenantRole.VIEWER))

    page = browser.get("/t/bolt/").text
    with runtime.database.session(Role.OPERATOR, tenant=bolt.id) as session:
        run(session, bolt, RunState.MAKING, clock().date(), None)
    later = browser.get("/t/bolt/").text

    assert "There is no restore point yet." in page
    assert "The first backup is due at" in page
    assert "The first backup is under way." in later


def test_a_region_that_is_down_is_named_with_what_it_means(
    admin: Browser, on: Shelf, runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        one = select(Copy.id).where(Copy.point_id == on.points[3]).limit(1).scalar_subquery()
        away = {"state": "waiting", "failure": {"code": "storage-unreachable"}}
        session.execute(update(Copy).where(Copy.id == one).values(**away))

    for address in ("/t/acme/", "/t/acme/points/4"):
        page = admin.get(address).text
        assert "The region cannot be reached." in page
        assert "Restores read from the other regions" in page


def test_a_proof_that_aged_says_so(admin: Browser, on: Shelf, clock: FakeClock) -> None:
    assert "<b>old</b>" not in admin.get("/t/acme/points/4").text
    clock.forward(days=66)
    fresh = signed_in(on.runtime, People(on.runtime).member(on.tenant, TenantRole.ADMIN))

    for address in ("/t/acme/points/4", "/t/acme/"):
        assert "2 months ago – <b>old</b>" in fresh.get(address).text, address
    assert "No complete restore point came for more than 30 hours." in fresh.get("/t/acme/").text


def test_a_viewer_sees_states_and_no_name(viewer: Browser, admin: Browser, on: Shelf) -> None:
    for address in pages(on):
        answer = viewer.get(address)
        names = any(each in answer.text for each in ("0.txt", "gone.txt", "letters", "فاتورة"))
        assert not names or answer.status_code == 403, address
        if "/sources/" in address or "search" in address:
            assert answer.status_code == 403, address
    point = viewer.get("/t/acme/points/4").text
    assert "Restore all of it" not in point
    assert "Browse" not in point
    assert "/search" not in point
    assert "Restore all of it" in admin.get("/t/acme/points/4").text


def test_what_is_anothers_is_not_there_and_costs_the_same(
    admin: Browser, on: Shelf, runtime: Runtime, bolt: Tenant
) -> None:
    theirs = shelf(runtime, bolt, [{f"/secret-{n}": 1} for n in range(9)])
    asked = (
        "/t/acme/points/{number}",
        "/t/acme/points/{number}/sources/{source}/",
        "/t/acme/points/1/sources/{source}/",
        "/t/acme/search?q=secret&source={source}",
        "/t/acme/sources/{source}/history?path=/secret-1",
        "/t/acme/sources/{source}/difference?from=1&to=2",
        "/t/acme/sources/{source}/difference",
    )
    for address in asked:
        answers = set()
        for source, number in ((theirs.source, 9), (new_id(), 900)):
            with Statements(runtime) as statements:
                answer = admin.get(address.format(source=source, number=number))
            text = answer.text.replace(str(source), "…").replace(f"/points/{number}", "/points/…")
            answers.add((answer.status_code, text, len(statements.sent)))
        assert len(answers) == 1, address
        assert answers.pop()[0] == 404
    assert "Nothing has such a name" in admin.get("/t/acme/search?q=secret").text


@pytest.mark.parametrize("number", [0, 2**31 - 1, 2**31, 10**30])
def test_no_number_breaks_a_page(admin: Browser, on: Shelf, number: int) -> None:
    source = f"/t/acme/sources/{on.source}"
    for address in (
        f"/t/acme/points/{number}",
        f"/t/acme/points/{number}/sources/{on.source}/",
        f"{source}/go?point={number}",
        f"{source}/difference?from={number}&to=4",
        f"{source}/difference?from=x&to={number}",
    ):
        assert admin.get(address).status_code in (200, 303, 404), address
    for month in ("0001-01", "9999-12", "2026-13", "x", "2200-12", "2000-01"):
        assert admin.get(f"/t/acme/?month={month}").status_code == 200
    for day in ("0001-01-01", "9999-12-31", "2026-02-30"):
        assert admin.get(f"/t/acme/?day={day}").status_code == 200


def test_the_hijri_date_stands_beside_the_other_for_who_wants_it(admin: Browser, on: Shelf) -> None:
    assert "1447" not in admin.get("/t/acme/points/4").text
    admin.get("/t/acme/?dates=hijri")

    assert "21 Ramadan 1447 AH" in admin.get("/t/acme/points/4").text
    assert "21 رمضان 1447 هـ" in admin.get("/t/acme/points/4?lang=ar").text
    admin.get("/t/acme/?dates=gregorian")
    assert "1447" not in admin.get("/t/acme/points/4").text


def test_every_day_of_a_month_with_a_clock_change_is_there_once(
    runtime: Runtime, bolt: Tenant, clock: FakeClock
) -> None:
    """Cairo: clocks go forward at midnight of Friday 24 April 2026, back on 29 October."""
    clock.stop_at(datetime(2026, 4, 23, 21, 30, tzinfo=UTC))  # 23:30, a minute's walk before
    shelf(runtime, bolt, [{"/a": 1}])
    who = People(runtime).member(bolt, TenantRole.VIEWER)

    for at, today in (
        (datetime(2026, 4, 23, 21, 30, tzinfo=UTC), 23),
        (datetime(2026, 4, 23, 22, 5, tzinfo=UTC), 24),  # 01:05: there was no midnight
        (datetime(2026, 10, 29, 20, 30, tzinfo=UTC), 29),  # 23:30 for the first time
        (datetime(2026, 10, 29, 21, 30, tzinfo=UTC), 29),  # 23:30 again
    ):
        clock.stop_at(at)
        browser = signed_in(runtime, who)
        page = browser.get("/t/bolt/").text
        inside = page[page.index('<table class="month">') : page.index("</table>")]
        numbers = re.findall(r'<td class="\w* ?"[^>]*>.*?class="num">(\d+)<', inside, re.DOTALL)
        length = 30 if at.month == 4 else 31
        assert [int(each) for each in numbers] == list(range(1, length + 1)), at
        current = re.search(r'aria-current="date">.*?class="num">(\d+)<', inside, re.DOTALL)
        assert current is not None
        assert int(current[1]) == today, at
        first = re.findall(r'visually-hidden">(\w+)</span></th>', inside)
        assert first[0] == "Saturday"  # Egypt's week


def test_a_safety_point_is_called_what_it_is(on: Shelf, admin: Browser) -> None:
    with on.runtime.database.session(Role.WORKER, tenant=on.tenant.id) as session:
        last = session.execute(select(Point).where(Point.number == 4)).scalar_one()
        last.kind, last.cadences = Trigger.SAFETY, []
        session.execute(update(Snapshot).values(verified_at=last.taken_at - timedelta(hours=1)))

    page, overview = admin.get("/t/acme/points/4").text, admin.get("/t/acme/").text

    assert "A safety point: what was live right before a restore replaced it" in page
    assert "1 newer safety point holds what a restore replaced" in overview
    for shown in (page, overview):
        assert "safety point before a restore" in shown
        assert "Some of its data are those of earlier points and were read back with them" in shown
    assert "A safety point:" not in admin.get("/t/acme/points/3").text
