"""The picture of all tenants says what is so, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from backup.models import BackupRun
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A
from tests.cast import FakeClock, add_folder, alive, back_up
from tests.people.cast import People, signed_in
from web import picture
from web.health import Attention
from web.picture import Chosen, Photographer, Picture
from web.standings import Standing

ALL = Chosen()


@pytest.fixture
def noon(clock: FakeClock) -> datetime:
    """Stopped at a noon, before any tenant is there."""
    return clock.stop_at(datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0))


@pytest.fixture
def two(noon: datetime, runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path) -> Tenant:
    """Acme is backed up, bolt has nothing to back up."""
    add_folder(runtime, acme, tmp_path / "acme")
    back_up(runtime, acme)
    return acme


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tenants are many."""
    monkeypatch.setattr(picture, "FEW", 1)


def take(runtime: Runtime) -> None:
    assert Photographer(runtime).round()


def asked(runtime: Runtime, question: Callable[[Picture], object]) -> object:
    with runtime.database.session(Role.OPERATOR) as session:
        return question(picture.of(session, now=runtime.now(), with_days=True))


QUESTIONS: list[Callable[[Picture], object]] = [
    lambda it: it.until,
    lambda it: it.causes(),
    *(
        lambda it, chosen=chosen: (it.totals(chosen), it.sheet(chosen, first=0, count=100))
        for chosen in (
            ALL,
            Chosen(attention=True),
            Chosen(plan="starter"),
            Chosen(plan="none"),
            Chosen(region=A),
            Chosen(region="nowhere"),
            Chosen(cause=Attention.NO_SOURCES),
            Chosen(cause=Attention.OVERDUE),
        )
    ),
    *(lambda it, by=by: it.strips(ALL, by) for by in ("plan", "region", "cause")),
]


def test_of_many_the_same_is_said_as_of_few(
    runtime: Runtime, two: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = [asked(runtime, each) for each in QUESTIONS]
    monkeypatch.setattr(picture, "FEW", 1)
    take(runtime)
    taken = [asked(runtime, each) for each in QUESTIONS]

    assert taken == live
    assert asked(runtime, lambda it: it.live) is False


def test_what_is_counted(runtime: Runtime, two: Tenant) -> None:
    totals = asked(runtime, lambda it: it.totals(ALL))
    causes = asked(runtime, lambda it: it.causes())

    assert totals == picture.Totals(tenants=2, attention=1, severe=False, waiting=0, working=0)
    assert causes == {Attention.NO_SOURCES: 1}


def test_the_worst_is_first_and_pages_follow(runtime: Runtime, two: Tenant) -> None:
    def slugs(it: Picture, first: int) -> list[str]:
        return [tenant.slug for tenant, _ in it.sheet(ALL, first=first, count=1)]

    assert asked(runtime, lambda it: [slugs(it, 0), slugs(it, 1), slugs(it, 2)]) == [
        *(["bolt"], ["acme"], []),
    ]


def test_of_many_of_which_none_was_taken_nothing_is_known(
    runtime: Runtime, two: Tenant, many: None
) -> None:
    alive(runtime)
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client

    page, days = browser.get("/tenants").text, browser.get("/days").text

    assert "How the tenants stand is not known." in page
    assert "How the tenants stand is not known." in days
    assert "protected" not in page


def test_an_old_picture_is_never_called_well(
    runtime: Runtime, two: Tenant, many: None, clock: FakeClock
) -> None:
    take(runtime)
    browser = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client
    new = browser.get("/tenants").text
    clock.forward(minutes=6)
    old = browser.get("/tenants").text

    assert "How the tenants stand is not known." not in new
    assert "How the tenants stand is not known." in old


def test_the_days_move_on_and_what_is_new_is_seen(
    runtime: Runtime, two: Tenant, many: None, clock: FakeClock
) -> None:
    def cells() -> str:
        with runtime.database.session(Role.OPERATOR) as session:
            row = session.execute(select(Standing).where(Standing.slug == "acme")).scalar_one()
            return row.cells

    take(runtime)
    first = cells()
    clock.forward(days=2)
    take(runtime)
    second = cells()
    with runtime.database.session(Role.OPERATOR, tenant=two.id) as session:
        session.execute(update(BackupRun).values(local_date=BackupRun.local_date - 80))
    for _ in range(picture.ROUNDS):  # each tenant has its minute
        clock.forward(minutes=1)
        take(runtime)
    third = cells()

    assert (len(first), first[-1]) == (picture.SPAN, "c")
    assert (len(second), second[-3], second[-1]) == (picture.SPAN, "c", "o")
    assert second[: picture.SPAN - picture.RECENT] == first[2 : picture.SPAN - picture.RECENT + 2]
    assert "c" in third[: picture.SPAN - picture.RECENT]


def test_a_tenant_that_is_gone_goes_from_the_picture(
    runtime: Runtime, two: Tenant, many: None
) -> None:
    take(runtime)
    with runtime.database.session(Role.OPERATOR) as session:
        session.add(
            Standing(
                tenant=new_id(),
                slug="gone",
                plan="starter",
                place=0,
                troubles=[],
                regions=[],
                body={},
                cells="",
            )
        )
    take(runtime)
    with runtime.database.session(Role.OPERATOR) as session:
        assert set(session.execute(select(Standing.slug)).scalars()) == {"acme", "bolt"}


def test_what_has_not_changed_is_not_written_again(
    runtime: Runtime, two: Tenant, many: None
) -> None:
    def versions() -> set[str]:
        with runtime.database.session(Role.OPERATOR) as session:
            return set(session.execute(text("select xmin::text from standings")).scalars())

    take(runtime)
    first = versions()
    take(runtime)

    assert versions() == first


def test_of_two_processes_one_takes_it(runtime: Runtime, two: Tenant, many: None) -> None:
    with runtime.database.alone(Role.OPERATOR, picture.ADVISORY_LOCK):
        assert not Photographer(runtime).round()


@pytest.mark.parametrize(("took", "rests"), [(0.01, 5.0), (1.0, 20.0), (60.0, 150.0)])
def test_the_rest_between_two_is_never_so_long_that_one_grows_old(
    took: float, rests: float
) -> None:
    assert picture.rest(took) == rests


def test_of_a_few_none_is_needed(runtime: Runtime, two: Tenant) -> None:
    assert not Photographer(runtime).round()
