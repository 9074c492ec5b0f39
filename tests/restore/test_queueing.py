"""Restores of one source follow one another, and wait for a backup that is in the way."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup import leases
from backup.models import Source
from restore import folders, plans, queueing, safety
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import A, vault
from tests.restore.asking import ask, beside, carry_out, current, faces, give_back, stored


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Source:
    return cast.add_folder(runtime, acme, tmp_path / "srv" / "office")


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """While a restore is just about to take its place."""
    real = folders.in_place

    def in_place(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(folders, "in_place", real)
        act()
        return real(*given, **more)

    monkeypatch.setattr(folders, "in_place", in_place)


def code(row: Restore) -> str:
    return str((row.failure or {}).get("code"))


@pytest.mark.parametrize("looked_first", [True, False])
def test_a_second_restore_of_a_source_waits_for_the_first_and_says_so(
    runtime: Runtime,
    acme: Tenant,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    looked_first: bool,
) -> None:
    point = stored(runtime, acme)
    first, second = (ask(runtime, point, source) for _ in range(2))
    seen: list[Restore] = []
    if not looked_first:  # both were taken in one moment
        monkeypatch.setattr(queueing, "put_off", lambda *_: False)
    meanwhile(monkeypatch, lambda: seen.append(carry_out(runtime, second)))

    assert carry_out(runtime, first).state is RestoreState.DONE

    [waited] = seen
    assert (waited.state, code(waited), waited.attempt) == (RestoreState.WAITING, "source-busy", 0)
    assert waited.due_at > second.due_at
    assert current(runtime, second).due_at <= runtime.now()  # the first one's end has woken it
    assert carry_out(runtime, second).state is RestoreState.DONE


def test_what_was_previewed_before_another_one_ended_is_not_done_when_its_turn_comes(
    runtime: Runtime, acme: Tenant, source: Source
) -> None:
    point = stored(runtime, acme)
    first, second = (
        give_back(runtime, point, source, Destination.IN_PLACE, dry_run=True) for _ in range(2)
    )
    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        one, other = (
            plans.confirm(session, plan.id, by=cast.ADA, at=runtime.now())
            for plan in (first, second)
        )

    assert carry_out(runtime, one).state is RestoreState.DONE
    ended = carry_out(runtime, other)

    assert (ended.state, code(ended)) == (RestoreState.FAILED, "approval-overtaken")
    assert ended.safety_run_id is None


def test_a_plan_waits_for_nobody(
    runtime: Runtime, acme: Tenant, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = stored(runtime, acme)
    first, plan = ask(runtime, point, source), ask(runtime, point, source, dry_run=True)
    seen: list[Restore] = []
    meanwhile(monkeypatch, lambda: seen.append(carry_out(runtime, plan)))

    carry_out(runtime, first)

    assert [row.state for row in seen] == [RestoreState.DONE]


def test_a_restore_in_place_waits_for_a_backup_and_replaces_nothing_before(
    runtime: Runtime,
    acme: Tenant,
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "srv" / "office"
    point, intact = stored(runtime, acme), faces(folder)
    (folder / "letters" / "0.txt").unlink()
    damaged = faces(folder)
    row = ask(runtime, point, source)
    monkeypatch.setattr(safety, "PATIENCE", timedelta(seconds=1))

    with leases.leased(runtime, acme.id, vault(runtime, acme, A).site.row.id):
        waiting = carry_out(runtime, row)
        assert (waiting.state, code(waiting)) == (RestoreState.WAITING, "backup-running")
        assert (faces(folder), beside(folder)) == (damaged, set())
        aside = give_back(runtime, point, source, Destination.ASIDE)  # reads, and needs no lease
    monkeypatch.undo()
    ended = carry_out(runtime, row)

    assert ended.state is RestoreState.DONE, ended.failure
    assert faces(folder) == faces(Path((aside.report or {})["where"])) == intact
