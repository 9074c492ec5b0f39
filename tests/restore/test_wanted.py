"""A point that somebody restores from does not go; one that goes is not restored from."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from backup import contents, removal, tasks, wanted
from backup.models import Copy, Point, PointSource, Removal, Source
from backup.states import CopyState, RemovalState
from backup.wanted import PointGoing, PointGone
from restore import requests
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import removals, set_policy
from tests.cast import ADA, FakeClock, add_folder, back_up, fill, rows_of
from tests.restore.asking import ask, carry_out, failure
from tests.restore.delivering import Counter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "srv" / "office"


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, folder: Path) -> Source:
    return add_folder(runtime, acme, folder)


@pytest.fixture
def old(runtime: Runtime, acme: Tenant, source: Source, folder: Path) -> Point:
    """A point that goes with the next pass: there is a newer one, and the plan keeps one."""
    point = back_up(runtime, acme)
    fill(folder, words="later")
    back_up(runtime, acme)
    set_policy(runtime, acme)
    return point


def unwant(runtime: Runtime, point: Point) -> None:
    """As if a day had passed."""
    with runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
        session.execute(update(Point).where(Point.id == point.id).values(wanted_until=None))


def stands(runtime: Runtime, point: Point) -> bool:
    copies = rows_of(runtime, _tenant(point), Copy, Copy.point_id == point.id)
    return all(copy.state is CopyState.STORED for copy in copies)


def _tenant(point: Point) -> Tenant:
    return Tenant(id=point.tenant_id)


@pytest.mark.parametrize("dry_run", [False, True], ids=["a restore", "a plan"])
def test_what_waits_keeps_its_point(
    runtime: Runtime, acme: Tenant, source: Source, old: Point, dry_run: bool
) -> None:
    ask(runtime, old, source, Destination.ASIDE, dry_run=dry_run)

    tasks.review(runtime, acme.id)

    assert removals(runtime, acme) == []
    assert stands(runtime, old)


def test_it_lapses_after_a_day(
    runtime: Runtime, acme: Tenant, source: Source, old: Point, clock: FakeClock
) -> None:
    ask(runtime, old, source, Destination.ASIDE)
    assert removal.review(runtime, acme.id) == 0

    clock.forward(days=1, minutes=1)

    assert removal.review(runtime, acme.id) == 2  # a copy in each region


def test_a_point_that_is_wanted_after_all_is_spared_in_the_last_look(
    runtime: Runtime, acme: Tenant, source: Source, old: Point
) -> None:
    """Nobody can ask for it while it goes; what was asked before counts all the same."""
    assert removal.review(runtime, acme.id) == 2
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        until = runtime.now().replace(year=runtime.now().year + 1)
        session.execute(update(Point).where(Point.id == old.id).values(wanted_until=until))

    for row in rows_of(runtime, acme, Removal):
        removal.apply(runtime, acme.id, row.repository_id)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.SPARED}
    assert stands(runtime, old)


def test_a_point_that_is_being_removed_is_not_restored(
    runtime: Runtime, acme: Tenant, source: Source, old: Point
) -> None:
    removal.review(runtime, acme.id)

    with pytest.raises(PointGoing):
        ask(runtime, old, source, Destination.ASIDE)


def test_asking_and_planning_removals_exclude_each_other(
    runtime: Runtime, acme: Tenant, source: Source, old: Point
) -> None:
    """Else a point could become wanted between the look at it and its removal's row."""
    wish = Wish(old.id, source.id, Destination.ASIDE)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as planning:
        wanted.lock(planning, acme.id, alone=True)
        with (
            pytest.raises(OperationalError, match="lock timeout"),
            runtime.database.session(Role.WEB, tenant=acme.id) as session,
        ):
            session.execute(text("set local lock_timeout = '200ms'"))
            requests.ask(session, acme.id, wish, by=ADA, at=runtime.now())


def test_a_point_that_is_gone_is_not_restored(
    runtime: Runtime, acme: Tenant, source: Source, old: Point
) -> None:
    tasks.review(runtime, acme.id)

    with pytest.raises(PointGone):
        ask(runtime, old, source, Destination.ASIDE)


@pytest.mark.parametrize(
    "carried_out", [True, pytest.param(False, marks=pytest.mark.long)], ids=["gone", "going"]
)
def test_what_went_while_a_restore_waited_is_refused_when_it_is_carried_out(
    runtime: Runtime, acme: Tenant, source: Source, old: Point, carried_out: bool
) -> None:
    row = ask(runtime, old, source)
    unwant(runtime, old)
    (tasks.review if carried_out else removal.review)(runtime, acme.id)

    ended = carry_out(runtime, row)

    assert ended.state is RestoreState.FAILED
    assert failure(ended) == ("point-gone" if carried_out else "point-going")
    assert ended.safety_run_id is None


def test_pages_want_a_point_and_change_nothing_else_of_it(
    runtime: Runtime, acme: Tenant, source: Source, old: Point
) -> None:
    assert len(rows_of(runtime, acme, PointSource)) == 2
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        runtime.database.session(Role.WEB, tenant=acme.id) as session,
    ):
        session.execute(update(Point).where(Point.id == old.id).values(pinned_until=runtime.now()))


def test_a_point_that_is_being_downloaded_from_stays_and_one_that_goes_is_refused(
    runtime: Runtime, acme: Tenant, source: Source, old: Point
) -> None:
    counter = Counter(runtime, acme)
    contents.record(runtime, acme.id)
    first, second = counter.choose(old, source), counter.choose(old, source)

    counter.confirm(first)

    tasks.review(runtime, acme.id)
    assert stands(runtime, old)
    unwant(runtime, old)
    removal.review(runtime, acme.id)
    with pytest.raises(PointGoing):
        counter.confirm(second)
