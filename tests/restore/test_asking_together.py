"""What is asked for twice in one moment happens once, and limits hold for requests side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from backup.models import Point, Source
from restore import plans, requests
from restore.delivery import asking
from restore.delivery.asking import TooManyAtOnce
from restore.models import Restore
from restore.plans import TooManyPlans
from restore.requests import TooManyRestores
from restore.states import Destination
from restore.undoing import NotUndone
from restore.wishes import Wish
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.cast import ADA, rows_of
from tests.restore.asking import carry_out, give_back, stored
from tests.restore.delivering import Counter, listed
from tests.restore.together import Act, Together


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Source:
    return cast.add_folder(runtime, acme, tmp_path / "srv" / "office")


def confirming(runtime: Runtime, plan: Restore) -> Act:
    def act(session: Session) -> Restore:
        return plans.confirm(session, plan.id, by=ADA, at=runtime.now())

    return act


def undo_plan(runtime: Runtime, done: Restore) -> Restore:
    with runtime.database.session(Role.WEB, tenant=done.tenant_id) as session:
        plan = plans.of_undo(session, done.id, by=ADA, at=runtime.now())
    return carry_out(runtime, plan)


def real(runtime: Runtime, tenant: Tenant) -> list[Restore]:
    return rows_of(runtime, tenant, Restore, Restore.dry_run.is_(False))


def test_of_two_undos_confirmed_at_once_one_is_refused(
    runtime: Runtime, acme: Tenant, source: Source
) -> None:
    done = give_back(runtime, stored(runtime, acme), source)
    first, second = (undo_plan(runtime, done) for _ in range(2))

    seen = Together(runtime, acme, confirming(runtime, first), confirming(runtime, second))

    assert seen.waited
    assert isinstance(seen.second, NotUndone)
    assert seen.second.code == "already-undone"
    assert [row.plan_id for row in real(runtime, acme) if row.undoes_id] == [first.id]


def test_an_undo_is_confirmed_beside_another_look_at_it(
    runtime: Runtime, acme: Tenant, source: Source
) -> None:
    """Both lock what they count and the restore that is undone: in one order, or they would hang."""
    done = give_back(runtime, stored(runtime, acme), source)
    plan = undo_plan(runtime, done)

    def look(session: Session) -> Restore:
        return plans.of_undo(session, done.id, by=ADA, at=runtime.now())

    first = Together(runtime, acme, look, confirming(runtime, plan))

    assert first.waited
    assert first.second.plan_id == plan.id


def test_a_plan_confirmed_twice_at_once_gives_one_restore(
    runtime: Runtime, acme: Tenant, source: Source
) -> None:
    plan = give_back(runtime, stored(runtime, acme), source, Destination.IN_PLACE, dry_run=True)

    seen = Together(runtime, acme, confirming(runtime, plan), confirming(runtime, plan))

    assert seen.first.id == seen.second.id
    assert [row.plan_id for row in real(runtime, acme)] == [plan.id]


def test_the_last_place_for_a_plan_is_given_once(
    runtime: Runtime, acme: Tenant, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = stored(runtime, acme)
    monkeypatch.setattr(plans, "MOST_WAITING", 1)

    def make(session: Session) -> Restore:
        wish = Wish(point.id, source.id, Destination.ASIDE)
        return plans.make(session, acme.id, wish, by=ADA, at=runtime.now())

    seen = Together(runtime, acme, make, make)

    assert isinstance(seen.second, TooManyPlans)
    assert len(rows_of(runtime, acme, Restore)) == 1


def test_the_last_place_for_a_restore_is_given_once(
    runtime: Runtime, acme: Tenant, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = stored(runtime, acme)
    monkeypatch.setattr(requests, "MOST_OPEN", 1)

    def ask(session: Session) -> Restore:
        wish = Wish(point.id, source.id, Destination.ASIDE)
        return requests.ask(session, acme.id, wish, by=ADA, at=runtime.now())

    seen = Together(runtime, acme, ask, ask)

    assert isinstance(seen.second, TooManyRestores)
    assert len(real(runtime, acme)) == 1


def proposing(runtime: Runtime, counter: Counter, point: Point, source: Source) -> Act:
    wish = asking.Wish(point.number, source.id, ["/letters"])
    return lambda session: asking.propose(
        session, counter.tenant.id, wish, counter.asker, at=runtime.now()
    )


def test_the_last_place_for_a_download_is_given_once(
    runtime: Runtime, acme: Tenant, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    point, counter = listed(runtime, acme), Counter(runtime, acme)
    monkeypatch.setattr(asking, "MOST_PROPOSED", 1)
    act = proposing(runtime, counter, point, source)

    assert isinstance(Together(runtime, acme, act, act).second, TooManyAtOnce)


def test_people_of_a_tenant_share_what_the_tenant_may_have(
    runtime: Runtime, acme: Tenant, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = listed(runtime, acme)
    monkeypatch.setattr(asking, "MOST_LOOKS", 1)
    monkeypatch.setattr(asking, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(asking, "OF_TENANT", 2)
    people = [Counter(runtime, acme) for _ in range(3)]
    for each in people[:2]:
        each.look(point, source, "/letters/0.txt")
        each.confirm(each.choose(point, source, "/letters"))

    with pytest.raises(TooManyAtOnce):
        people[2].look(point, source, "/letters/0.txt")
    with pytest.raises(TooManyAtOnce):
        people[2].confirm(people[2].choose(point, source, "/letters"))


def test_a_plan_does_not_count_as_a_restore(
    runtime: Runtime, acme: Tenant, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = stored(runtime, acme)
    monkeypatch.setattr(requests, "MOST_OPEN", 1)
    give_back(runtime, point, source, Destination.ASIDE, dry_run=True)
    give_back(runtime, point, source, Destination.ASIDE)

    give_back(runtime, point, source, Destination.ASIDE)  # those that have ended do not count
