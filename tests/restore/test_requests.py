"""What is asked for is checked when it is asked: nothing waits that cannot be done."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from backup.models import Point, Source
from restore import approvals, plans, requests, restoring
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.tasks import DUES
from restore.wishes import Wish
from strongroom.db import Role
from strongroom.dispatch import nudge
from strongroom.errors import BadValue, NotFound, Refused
from strongroom.ids import new_id
from strongroom.lifecycle import Step
from strongroom.runtime import Runtime
from strongroom.worker import Queue
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import set_policy
from tests.cast import ADA, rows_of
from tests.restore.asking import ask, current, give_back, stored


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Source:
    return cast.add_folder(runtime, acme, tmp_path / "srv" / "office")


@pytest.fixture
def point(runtime: Runtime, acme: Tenant, source: Source) -> Point:
    return stored(runtime, acme)


@pytest.mark.parametrize("path", ["letters", "/", "/../etc", "/a/../../b", ""])
def test_a_path_that_makes_no_sense_is_refused(
    runtime: Runtime, point: Point, source: Source, path: str
) -> None:
    with pytest.raises(BadValue, match="is no path within the source"):
        ask(runtime, point, source, paths=(path,))


def test_a_path_is_kept_in_its_plainest_words(
    runtime: Runtime, point: Point, source: Source
) -> None:
    row = ask(runtime, point, source, paths=("//letters/./0.txt/",))

    assert row.paths == ["/letters/0.txt"]


def test_a_folder_that_is_not_absolute_or_not_named_is_refused(
    runtime: Runtime, point: Point, source: Source
) -> None:
    with pytest.raises(BadValue, match="is to be absolute"):
        ask(runtime, point, source, Path("here"))
    with pytest.raises(BadValue, match="exactly when"):
        ask(runtime, point, source, Destination.FOLDER)


def test_points_and_sources_of_another_tenant_are_not_found(
    runtime: Runtime, point: Point, source: Source, bolt: Tenant, tmp_path: Path
) -> None:
    theirs = cast.add_folder(runtime, bolt, tmp_path / "bolt")
    their_point = stored(runtime, bolt)

    def wish(point_id: UUID, source_id: UUID) -> None:
        with runtime.database.session(Role.WORKER, tenant=point.tenant_id) as session:
            wanted = Wish(point_id, source_id, Destination.ASIDE)
            requests.ask(session, point.tenant_id, wanted, by=ADA, at=runtime.now())

    for point_id, source_id in [
        (their_point.id, source.id),
        (point.id, theirs.id),
        (their_point.id, theirs.id),
        (new_id(), source.id),
    ]:
        with pytest.raises(NotFound):
            wish(point_id, source_id)


def test_a_doorbell_for_another_tenants_restore_does_nothing(
    runtime: Runtime, point: Point, source: Source, bolt: Tenant
) -> None:
    row = ask(runtime, point, source)

    restoring.carry_out(runtime, bolt.id, row.id)

    assert current(runtime, row).state is RestoreState.WAITING


def test_nothing_lands_in_a_folder_of_another_tenant(
    runtime: Runtime, point: Point, source: Source, bolt: Tenant, tmp_path: Path
) -> None:
    cast.add_folder(runtime, bolt, tmp_path / "bolt")
    (tmp_path / "way").symlink_to(tmp_path / "bolt")

    for target in (tmp_path / "bolt" / "new", tmp_path / "way" / "new"):
        with pytest.raises(Refused, match="a folder of another tenant"):
            ask(runtime, point, source, target)


def test_who_asked_and_who_cancelled_is_on_record(
    runtime: Runtime, point: Point, source: Source
) -> None:
    row = ask(runtime, point, source)
    with runtime.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        requests.cancel(session, row.id, by=cast.BEN, at=runtime.now())

    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        steps = session.query(Step).filter_by(row_id=row.id).order_by(Step.id).all()
    assert [(step.code, step.by) for step in steps] == [
        ("restore-asked", str(ADA)),
        ("restore-cancelled", str(cast.BEN)),
    ]
    restoring.carry_out(runtime, row.tenant_id, row.id)
    assert current(runtime, row).state is RestoreState.CANCELLED


def test_a_restore_rings_on_a_queue_of_its_own_at_once(
    runtime: Runtime, acme: Tenant, point: Point, source: Source
) -> None:
    for _ in range(3):
        cast.queue(runtime, acme)
    row = ask(runtime, point, source)
    [due] = [each for each in DUES if each.kind is Restore]

    with runtime.database.session(Role.DISPATCHER) as session:
        rung = nudge(session, due, now=runtime.now(), again=runtime.now())

    assert (due.queue, due.kind) == (Queue.RESTORE, Restore)
    assert rung == [(acme.id, row.id)]
    assert len(rows_of(runtime, acme, Restore)) == 1


def test_what_replaced_nothing_cannot_be_undone(
    runtime: Runtime, point: Point, source: Source
) -> None:
    for row in (
        ask(runtime, point, source, Destination.ASIDE),
        ask(runtime, point, source, dry_run=True),
        ask(runtime, point, source),
    ):
        with (
            pytest.raises(Refused),
            runtime.database.session(Role.OPERATOR, tenant=row.tenant_id) as session,
        ):
            requests.undo(session, row.id, by=ADA, at=runtime.now())


def undo(runtime: Runtime, row: Restore) -> Restore:
    with runtime.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        return requests.undo(session, row.id, by=ADA, at=runtime.now())


def test_a_restore_is_undone_within_seven_days_and_not_later(
    runtime: Runtime, point: Point, source: Source, clock: cast.FakeClock
) -> None:
    row = give_back(runtime, point, source)
    clock.forward(days=7, seconds=1)

    with pytest.raises(Refused) as caught:
        undo(runtime, row)

    assert caught.value.code == "undo-over"


def test_a_restore_is_undone_once(runtime: Runtime, point: Point, source: Source) -> None:
    row = give_back(runtime, point, source)
    undo(runtime, row)

    with pytest.raises(Refused) as caught:
        undo(runtime, row)

    assert caught.value.code == "already-undone"


def test_the_way_back_is_open_however_much_waits(
    runtime: Runtime, point: Point, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = give_back(runtime, point, source)
    monkeypatch.setattr(requests, "MOST_OPEN", 0)

    with runtime.database.session(Role.WEB, tenant=done.tenant_id) as session:
        undo = requests.undo(session, done.id, by=ADA, at=runtime.now())
    assert undo.undoes_id == done.id
    with pytest.raises(requests.TooManyRestores):
        ask(runtime, point, source)


def test_an_undo_that_was_cancelled_can_be_asked_for_again(
    runtime: Runtime, point: Point, source: Source
) -> None:
    row = give_back(runtime, point, source)
    undoing = undo(runtime, row)
    with runtime.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        requests.cancel(session, undoing.id, by=ADA, at=runtime.now())

    assert undo(runtime, row).id != undoing.id


def test_what_nobody_allows_within_a_day_lapses(
    runtime: Runtime, acme: Tenant, point: Point, source: Source, clock: cast.FakeClock
) -> None:
    set_policy(runtime, acme, last=5, approve_restore_bytes=0)
    row = ask(runtime, point, source)
    assert row.state is RestoreState.ASKED
    with runtime.database.session(Role.DISPATCHER) as session:
        assert approvals.lapse(session, runtime.now()) == 0

    clock.forward(days=1, seconds=1)
    with (
        pytest.raises(Refused, match="within a day"),
        runtime.database.session(Role.OPERATOR, tenant=acme.id) as session,
    ):
        approvals.approve(session, row.id, by=cast.BEN, at=runtime.now(), asker_may=lambda _: True)
    with runtime.database.session(Role.DISPATCHER) as session:
        assert approvals.lapse(session, runtime.now()) == 1

    assert current(runtime, row).state is RestoreState.CANCELLED


def test_the_database_itself_knows_of_one_restore_for_each_plan(
    runtime: Runtime, point: Point, source: Source
) -> None:
    plan = give_back(runtime, point, source, Destination.ASIDE, dry_run=True)
    ask(runtime, point, source, Destination.ASIDE, plan=plan.id)

    with pytest.raises(IntegrityError, match="uq_restores_tenant_id_plan_id"):
        ask(runtime, point, source, Destination.ASIDE, plan=plan.id)


def test_nobody_piles_up_plans(runtime: Runtime, point: Point, source: Source) -> None:
    wish = Wish(point.id, source.id, Destination.ASIDE)

    def make() -> Restore:
        with runtime.database.session(Role.OPERATOR, tenant=point.tenant_id) as session:
            return plans.make(session, point.tenant_id, wish, by=ADA, at=runtime.now())

    for _ in range(plans.MOST_WAITING):
        make()
    with pytest.raises(Refused) as caught:
        make()
    assert caught.value.code == "too-many-plans"
