"""A region that is away delays nothing else, and gets its copies once it is back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backup import copies, runs, tasks
from backup.models import Act, Copy, Point
from backup.states import CopyState, Outcome, RunState
from strongroom import dispatch
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.storage import StorageError
from tenants.models import Tenant
from tests.backup.vaults import A, B, digest, in_front_of, restored, vault, vaults
from tests.cast import FakeClock, add_folder, back_up, fill, queue, rows_of, run_of
from tests.faults import Answer503, Delay, Refuse


def ring(runtime: Runtime) -> list[Copy]:
    """The copies that a dispatcher would ring for now; each is carried out."""
    [due] = [each for each in tasks.DUES if each.kind is Copy]
    now = runtime.now()
    with runtime.database.session(Role.DISPATCHER) as session:
        found = dispatch.nudge(session, due, now=now, again=now - dispatch.RING_AGAIN)
    made = [copies.bring(runtime, tenant, subject) for tenant, subject in found]
    return [copy for copy in made if copy is not None]


@pytest.mark.parametrize("fault", [Refuse(), Answer503()], ids=["refused", "overloaded"])
def test_with_the_first_region_away_the_point_is_stored_in_the_second(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, fault: Refuse | Answer503
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    with in_front_of(runtime, A) as proxy:
        proxy.fault = fault
        point = back_up(runtime, acme)
    states = {copy.repository_id: copy.state for copy in rows_of(runtime, acme, Copy)}
    assert states[vault(runtime, acme, A).site.row.id] is CopyState.WAITING
    assert states[vault(runtime, acme, B).site.row.id] is CopyState.STORED

    clock.forward(minutes=10)
    assert len(ring(runtime)) == 1

    for held in vaults(runtime, acme):
        assert restored(held, point, tmp_path / "back") == [digest(tmp_path / "files")]
        assert held.is_clean()


def test_a_region_that_hangs_is_left_for_the_other_within_two_minutes(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    monkeypatch.setattr("strongroom.credentials.READ_SECONDS", 3)
    began = time.monotonic()

    with in_front_of(runtime, A) as proxy:
        proxy.fault = Delay(3600)
        point = runs.make(runtime, acme.id, queue(runtime, acme))

    assert point is not None
    assert time.monotonic() - began < 120  # two tries of three seconds, and the rest as usual
    assert len(vault(runtime, acme, B).snapshot_ids()) == 1


def test_retries_of_copies_wait_longer_each_time_and_leave_nothing_behind(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    pauses = []
    with in_front_of(runtime, B) as proxy:
        proxy.fault = Refuse()
        back_up(runtime, acme)
        acts = len(rows_of(runtime, acme, Act))
        for _ in range(6):
            [copy] = rows_of(runtime, acme, Copy, Copy.state == CopyState.WAITING)
            pauses.append((copy.due_at - clock()).total_seconds())
            assert ring(runtime) == []  # not due yet: nothing is tried
            clock.forward(seconds=pauses[-1] + 1)
            assert ring(runtime) == []

    assert pauses == sorted(pauses)
    assert pauses[-1] <= copies.PAUSE_MOST.total_seconds()
    assert len(rows_of(runtime, acme, Act)) == acts
    clock.forward(minutes=10)
    assert len(ring(runtime)) == 1


def test_what_an_attempt_brought_to_another_region_is_made_anew_in_this_one(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first region goes away between two sources."""
    add_folder(runtime, acme, tmp_path / "files")
    add_folder(runtime, acme, tmp_path / "more", name="more")
    fill(tmp_path / "more", words="more")
    run_id = queue(runtime, acme)

    def goes_away(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise StorageError("The region is gone.")

    monkeypatch.setattr("backup.runs._finish", goes_away)
    point = runs.make(runtime, acme.id, run_id)

    assert point is not None
    assert point.outcome is Outcome.COMPLETE
    wanted = sorted([digest(tmp_path / "files"), digest(tmp_path / "more")])
    assert restored(vault(runtime, acme, B), point, tmp_path / "back") == wanted
    [waiting] = rows_of(runtime, acme, Copy, Copy.state == CopyState.WAITING)
    assert copies.bring(runtime, acme.id, waiting.id) is not None
    assert restored(vault(runtime, acme, A), point, tmp_path / "back") == wanted


def test_with_both_regions_away_the_run_is_tried_again_and_then_says_why_it_failed(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)
    with in_front_of(runtime, A) as first, in_front_of(runtime, B) as second:
        first.fault = second.fault = Refuse()
        made = [runs.make(runtime, acme.id, run_id) for _ in range(runs.ATTEMPTS)]

    run = run_of(runtime, acme, run_id)
    assert made == [None] * runs.ATTEMPTS
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure["code"] == "storage-unreachable"
    assert rows_of(runtime, acme, Point) == []
