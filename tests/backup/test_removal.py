"""What retention lets go is gone from every object version, and nothing else ever is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup import findings, mending, removal, runs, tasks
from backup.models import Copy, Finding, Healing, Hold, Point
from backup.restic import commands
from backup.states import CopyState, Decision, RemovalState, RepositoryState
from strongroom.actors import Actor, ActorKind
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from strongroom.storage import Missing, StorageError, Store
from tenants.models import Tenant
from tests.backup import harming
from tests.backup.vaults import (
    A,
    B,
    Vault,
    digest,
    removals,
    restored,
    set_policy,
    snapshots_of,
    vault,
    vaults,
)
from tests.cast import FakeClock, add_folder, back_up, fill, queue, rows_of


def two_points(runtime: Runtime, tenant: Tenant, tmp_path: Path) -> tuple[Point, Point]:
    """Both kept so far; with nothing in common, so that each has packs of its own."""
    folder = tmp_path / "files"
    fill(folder, words="first")
    if not rows_of(runtime, tenant, Point):
        add_folder(runtime, tenant, folder)
    first = back_up(runtime, tenant)
    fill(folder, words="second")
    return first, back_up(runtime, tenant)


def let_go(runtime: Runtime, tenant: Tenant) -> None:
    tasks.review(runtime, tenant.id)


def hold(runtime: Runtime, tenant: Tenant) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = Hold(id=new_id(), tenant_id=tenant.id, reason="court", placed_by="ada")
        row.placed_at = runtime.now()
        session.add(row)


def test_what_goes_is_gone_from_every_object_version_in_both_regions(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    _, second = two_points(runtime, acme, tmp_path)
    before = {
        v.site.region.name: list(v.store.versions(v.prefix + "data/"))
        for v in vaults(runtime, acme)
    }
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}
    for each in vaults(runtime, acme):
        assert each.left_over() == []
        gone = [v for v in before[each.site.region.name] if v.key not in each.packs()]
        assert gone
        for version in gone:
            with pytest.raises(Missing):
                each.store.get_version(version.key, version.version_id)
        assert each.is_clean()
        assert restored(each, second, tmp_path) == [digest(tmp_path / "files")]


@pytest.mark.long
def test_a_second_pass_finds_nothing_to_do(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)
    let_go(runtime, acme)

    assert removal.review(runtime, acme.id) == 0
    assert [removal.apply(runtime, acme.id, v.site.row.id) for v in vaults(runtime, acme)] == [0, 0]


@pytest.mark.long
def test_it_goes_also_where_business_time_is_shifted(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    clock.forward(days=30)
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert all(each.left_over() == [] for each in vaults(runtime, acme))
    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}


def test_points_without_a_good_proof_displace_no_verified_one(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    first, _ = two_points(runtime, acme, tmp_path)
    undate(runtime, acme, but=first)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert removals(runtime, acme) == []


def undate(runtime: Runtime, tenant: Tenant, *, but: Point) -> None:
    """As a failed proof does."""
    for held in vaults(runtime, tenant):
        kept = {row.id for row in snapshots_of(held, but)}
        for point in rows_of(runtime, tenant, Point):
            with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
                for row in snapshots_of(held, point):
                    if row.id not in kept:
                        session.merge(row).verified_at = None


def test_nothing_goes_while_the_clocks_disagree(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_points(runtime, acme, tmp_path)
    before = [held.snapshot_ids() for held in vaults(runtime, acme)]
    ahead = datetime.now(UTC) + timedelta(minutes=6)
    monkeypatch.setattr(Store, "server_date", lambda _: ahead)  # no region lets us set its clock
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert [held.snapshot_ids() for held in vaults(runtime, acme)] == before
    rows = removals(runtime, acme)
    assert {row.state for row in rows} == {RemovalState.PLANNED}
    assert {row.blocked["code"] for row in rows if row.blocked} == {"clocks-disagree"}


def test_a_pass_that_would_take_too_much_takes_nothing(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    for word in ("one", "two", "three", "four", "five"):
        fill(tmp_path / "files", words=word)
        if word == "one":
            add_folder(runtime, acme, tmp_path / "files")
            set_policy(runtime, acme, last=9)
        back_up(runtime, acme)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert removals(runtime, acme) == []
    assert len(vault(runtime, acme).snapshot_ids()) == 5
    [asked] = rows_of(runtime, acme, Finding)
    assert (asked.code, asked.params["losing"]) == ("mass-removal", 4)

    accept(runtime, acme, asked)
    let_go(runtime, acme)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}
    assert len(vault(runtime, acme).snapshot_ids()) == 1


@pytest.mark.long
def test_a_word_for_some_points_is_none_for_others(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=9)
    for word in ("one", "two", "three", "four", "five"):
        fill(tmp_path / "files", words=word)
        back_up(runtime, acme)
    set_policy(runtime, acme)
    let_go(runtime, acme)
    [asked] = rows_of(runtime, acme, Finding)
    accept(runtime, acme, asked)
    set_policy(runtime, acme, last=9)
    fill(tmp_path / "files", words="six")
    back_up(runtime, acme)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert removals(runtime, acme) == []
    assert [row.decision for row in rows_of(runtime, acme, Finding)] == [Decision.ACCEPTED, None]


def accept(runtime: Runtime, tenant: Tenant, finding: Finding) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        findings.settle(
            session,
            (tenant.id, finding.id),
            Decision.ACCEPTED,
            by=Actor(ActorKind.OPERATOR, "ada"),
            note="the plan was made shorter on purpose",
            now=runtime.now(),
        )


def test_a_hold_placed_after_the_plan_spares_the_copy(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)
    assert removal.review(runtime, acme.id) == 2

    hold(runtime, acme)
    for held in vaults(runtime, acme):
        removal.apply(runtime, acme.id, held.site.row.id)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.SPARED}
    assert len(vault(runtime, acme).snapshot_ids()) == 2


@pytest.mark.long
def test_a_spared_copy_goes_once_the_hold_has_ended(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)
    removal.review(runtime, acme.id)
    hold(runtime, acme)
    for held in vaults(runtime, acme):
        removal.apply(runtime, acme.id, held.site.row.id)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.query(Hold).one().released_at = runtime.now()

    let_go(runtime, acme)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}


def test_a_snapshot_that_a_kept_point_shares_stays(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    first, second = back_up(runtime, acme), back_up(runtime, acme)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}
    states = {copy.point_id: copy.state for copy in rows_of(runtime, acme, Copy)}
    assert states == {first.id: CopyState.REMOVED, second.id: CopyState.STORED}
    for held in vaults(runtime, acme):
        assert restored(held, second, tmp_path) == [digest(tmp_path / "files")]


def test_what_an_unfinished_run_has_stored_is_not_forgotten(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)
    fill(tmp_path / "files", words="third")
    third = break_off_before_the_end(runtime, acme, monkeypatch)

    let_go(runtime, acme)
    point = third()

    held = vault(runtime, acme)
    assert restored(held, point, tmp_path) == [digest(tmp_path / "files")]


def break_off_before_the_end(
    runtime: Runtime, tenant: Tenant, patch: pytest.MonkeyPatch
) -> Callable[[], Point]:
    """A run whose source is recorded and whose end failed; gives what finishes it."""
    run_id = queue(runtime, tenant)

    def fail(*_: object, **__: object) -> None:
        raise StorageError("The end of the run was not reached.")

    with patch.context() as inner:
        inner.setattr("backup.runs._finish", fail)
        assert runs.make(runtime, tenant.id, run_id) is None

    def finish() -> Point:
        point = runs.make(runtime, tenant.id, run_id)
        assert point is not None
        return point

    return finish


@pytest.mark.parametrize(
    "harm",
    [
        "delete a snapshot",
        pytest.param("overwrite a pack", marks=pytest.mark.long),
        pytest.param("delete a pack", marks=pytest.mark.long),
    ],
)
def test_a_foreign_change_freezes_the_repository_and_is_never_swept(
    runtime: Runtime, acme: Tenant, tmp_path: Path, harm: str
) -> None:
    _, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme)
    key = harmed(held, second, harm)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    if harm == "delete a snapshot":  # seen before anything else: it is mended first
        assert blocked_by(held, acme) == {"repository-damaged"}
    else:
        assert held.row.state is RepositoryState.FROZEN
    assert key in {each.key for each in held.left_over()}
    assert {row.state for row in removals(runtime, acme) if row.repository_id == held.row.id} == {
        RemovalState.PLANNED
    }
    other = vault(runtime, acme, B)
    assert other.row.state is RepositoryState.READY
    assert other.left_over() == []


def harmed(held: Vault, point: Point, harm: str) -> str:
    """What an intruder with the bucket's root credentials does; gives the object."""
    if harm == "delete a snapshot":
        key = f"{held.prefix}snapshots/{snapshots_of(held, point)[0].restic_id}"
    else:
        key = held.packs()[0]
    if harm == "overwrite a pack":
        held.store.put(key, b"ransom")
    else:
        held.store.delete(key)
    return key


@pytest.mark.long
def test_a_frozen_repository_stays_as_it_is_whatever_is_asked(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    _, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme)
    harmed(held, second, "overwrite a pack")
    set_policy(runtime, acme)
    let_go(runtime, acme)
    before = set(held.store.versions(held.prefix))

    removal.apply(runtime, acme.id, held.row.id)
    removal.apply(runtime, acme.id, held.row.id)

    assert {each for each in before if "/locks/" not in each.key} == {
        each for each in held.store.versions(held.prefix) if "/locks/" not in each.key
    }


def test_a_foreign_delete_after_the_forget_stops_the_prune_that_resumes(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme)
    set_policy(runtime, acme)
    stop_before_the_prune(runtime, acme, monkeypatch)
    harmed(held, second, "delete a snapshot")
    packs = held.packs()

    removal.apply(runtime, acme.id, held.row.id)

    assert blocked_by(held, acme) == {"repository-damaged"}
    assert held.packs() == packs


def blocked_by(held: Vault, tenant: Tenant) -> set[str]:
    mine = [row for row in removals(held.runtime, tenant) if row.repository_id == held.row.id]
    return {row.blocked["code"] for row in mine if row.blocked}


def stop_before_the_prune(runtime: Runtime, tenant: Tenant, patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("The prune was not reached.")

    with patch.context() as inner:
        inner.setattr("backup.removal._prune", fail)
        let_go(runtime, tenant)
    assert {row.state for row in removals(runtime, tenant)} == {RemovalState.FORGOTTEN}


def test_a_pass_that_stopped_between_forget_and_prune_is_resumed(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)
    stop_before_the_prune(runtime, acme, monkeypatch)

    for held in vaults(runtime, acme):
        removal.apply(runtime, acme.id, held.site.row.id)

    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}
    assert all(held.left_over() == [] and held.is_clean() for held in vaults(runtime, acme))


def test_damage_that_the_check_after_a_prune_sees_is_mended_and_then_all_goes(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme, A)
    lose_a_pack_before_the_check(held, monkeypatch)
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert held.row.state is RepositoryState.FROZEN
    (asked,) = rows_of(runtime, acme, Healing)
    assert removals(runtime, acme)[0].state is RemovalState.FORGOTTEN
    mending.heal(runtime, acme.id, asked.id)
    assert held.row.state is RepositoryState.READY
    for each in vaults(runtime, acme):
        removal.apply(runtime, acme.id, each.site.row.id)
    assert {row.state for row in removals(runtime, acme)} == {RemovalState.GONE}
    assert all(held.left_over() == [] for held in vaults(runtime, acme))


def lose_a_pack_before_the_check(held: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a storage that fails in that very moment."""
    really = commands.check

    def after_a_loss(*call: Any) -> Any:
        monkeypatch.setattr(commands, "check", really)
        harming.remove(held, harming.first(held, "data/"), rot=True)
        return really(*call)

    monkeypatch.setattr(commands, "check", after_a_loss)


def test_locked_versions_stay_until_the_lock_ends_and_the_removal_says_until_when(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    first, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    locked = held.lock_all(until)
    gone = {row.restic_id for row in snapshots_of(held, first)}
    set_policy(runtime, acme)

    let_go(runtime, acme)

    [waiting] = removals(runtime, acme, RemovalState.FORGOTTEN)
    assert waiting.blocked == {"code": "object-lock", "params": {"until": until.isoformat()}}
    assert waiting.due_at > datetime.now(UTC)
    assert not gone & held.snapshot_ids()
    held.unlock(locked)
    assert removal.apply(runtime, acme.id, held.row.id) == 1
    assert held.left_over() == []
    assert held.is_clean()
    assert restored(held, second, tmp_path) == [digest(tmp_path / "files")]


def test_two_sources_of_one_point_go_by_their_age_ceilings_and_the_third_stays(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    names = ("letters", "calls", "ledgers")
    for name in names:
        fill(tmp_path / name, words=name)
    rows = [add_folder(runtime, acme, tmp_path / name, name=name) for name in names]
    point = back_up(runtime, acme)
    ceilings = {str(row.id): 1 for row in rows[:2]}
    set_policy(runtime, acme, source_max_age_days=ceilings)
    clock.forward(days=2)

    let_go(runtime, acme)

    assert {(row.source_id, row.state) for row in removals(runtime, acme)} == {
        (row.id, RemovalState.GONE) for row in rows[:2]
    }
    for held in vaults(runtime, acme):
        assert restored(held, point, tmp_path / "back") == [digest(tmp_path / "ledgers")]
        assert held.left_over() == []


@pytest.mark.long
def test_two_reviews_at_once_plan_each_removal_once(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    two_points(runtime, acme, tmp_path)
    set_policy(runtime, acme)
    planned: list[int] = []
    start = threading.Barrier(4)

    def review() -> None:
        start.wait()
        planned.append(removal.review(runtime, acme.id))

    threads = [threading.Thread(target=review) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(planned) == [0, 0, 0, 2]


def test_an_upload_that_was_sent_twice_freezes_nothing_and_its_repeat_goes(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """As restic does when the answer to the first is lost: the same bytes under the same name."""
    _, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme)
    for key in held.packs():  # of the point that goes, and of the one that stays
        held.store.put(key, held.store.get(key))
    set_policy(runtime, acme)

    let_go(runtime, acme)

    assert held.row.state is RepositoryState.READY
    assert held.left_over() == []
    assert held.is_clean()
    assert restored(held, second, tmp_path / "back") == [digest(tmp_path / "files")]
