"""A new epoch: a repository made new by copy, the old one gone, and no moment without a way in."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backup import (
    filling,
    keyfile,
    leases,
    repositories,
    rotating_epoch,
    rotation,
    verify,
)
from backup.keyfile import WrongPassword
from backup.models import (
    Copy,
    Healing,
    Hold,
    ObjectLock,
    Point,
    Proof,
    Removal,
    Repository,
    Rotation,
    Snapshot,
)
from backup.rotation import Asked
from backup.states import (
    CopyState,
    RepositoryState,
    RotationKind,
    RotationState,
)
from strongroom import dispatch
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.backup import harming
from tests.backup.test_rotation import DRIVER, ROOT, Died, dying, lost, now_of, objects, secrets
from tests.backup.vaults import A, B, Vault, digest, restored, set_policy, vault, vaults
from tests.cast import ADA, add_folder, back_up, fill, rows_of
from tests.platform.stack_cast import until

STAGES = ("begun", "founded", "copied", "read", "switched", "settled", "closed", "destroyed")


@pytest.fixture
def points(runtime: Runtime, acme: Tenant, tmp_path: Path) -> list[tuple[Point, str]]:
    """Two points of one folder, each with the digest of what was in it."""
    folder = tmp_path / "files"
    add_folder(runtime, acme, folder)
    found = [(back_up(runtime, acme), digest(folder))]
    fill(folder, files=4, words="another year")
    return [*found, (back_up(runtime, acme), digest(folder))]


def ask(runtime: Runtime, tenant: Tenant, region: str | None = A, **more: Any) -> uuid.UUID:
    asked = Asked(RotationKind.EPOCH, only_in=region, **more)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        rows = rotation.ask(session, tenant.id, asked, by=ADA, now=runtime.now())
        return rows[0].id


def renewed(runtime: Runtime, tenant: Tenant, region: str = A, **more: Any) -> Rotation:
    row_id = ask(runtime, tenant, region, **more)
    rotation.rotate(runtime, tenant.id, row_id)
    return now_of(runtime, tenant, row_id)


def state_of(runtime: Runtime, tenant: Tenant, old: Vault) -> RepositoryState:
    [row] = rows_of(runtime, tenant, Repository, Repository.id == old.site.row.id)
    return RepositoryState(row.state)


def require_restorable(
    runtime: Runtime,
    tenant: Tenant,
    points: list[tuple[Point, str]],
    to: Path,
    *,
    regions: Sequence[str] = (A, B),
) -> None:
    """Each point from each region, with what the rows know at this moment."""
    for each in [vault(runtime, tenant, name) for name in regions]:
        for point, was in points:
            assert restored(each, point, to) == [was], (each.site.region.name, point)


def everything(held: Vault) -> list[str]:
    """All that lies below the prefix, seen or not."""
    return [each.key for each in held.store.versions(held.prefix)]


def test_a_new_epoch_holds_everything_and_the_old_one_is_gone(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]], tmp_path: Path
) -> None:
    old, other = vault(runtime, acme), vault(runtime, acme, B)
    opened = keyfile.open_repository(objects(old), old.site.password)
    before = {row.id: row for row in rows_of(runtime, acme, Point)}
    began = runtime.now()

    row = renewed(runtime, acme)

    assert (row.state, row.stage) == (RotationState.DONE, "destroyed"), row.failure
    new = vault(runtime, acme)
    assert new.row.epoch == old.site.row.epoch + 1
    assert new.row.polynomial == old.site.row.polynomial
    assert new.site.password != old.site.password
    master = keyfile.open_repository(objects(new), new.site.password).master
    assert master != opened.master
    assert everything(old) == []
    assert state_of(runtime, acme, old) is RepositoryState.DESTROYED
    assert old.site.row.id not in {each.subject_id for each in secrets(runtime, acme)}
    with pytest.raises(WrongPassword):
        keyfile.open_any(objects(new), old.site.password)
    require_restorable(runtime, acme, points, tmp_path / "back")
    for snapshot in rows_of(runtime, acme, Snapshot, Snapshot.repository_id == new.row.id):
        assert snapshot.verified_at is not None
        assert snapshot.verified_at >= began  # earned here, not inherited
    after = {row.id: row for row in rows_of(runtime, acme, Point)}
    assert [p.first_seen_at for p in after.values()] == [p.first_seen_at for p in before.values()]
    assert other.row.epoch == 1
    assert back_up(runtime, acme).outcome == "complete"
    assert new.is_clean()
    assert vault(runtime, acme, B).is_clean()


# The worker dies


def test_a_new_epoch_that_dies_at_every_step_is_finished_and_no_point_is_ever_lost(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    for stage in STAGES:
        for after in (False, True):
            with monkeypatch.context() as patch:
                dying(patch, stage, after=after)
                with pytest.raises(Died):
                    rotation.rotate(runtime, acme.id, row_id)
            require_restorable(runtime, acme, points, tmp_path / "back", regions=[A])
            put_back(runtime, acme, row_id)

    rotation.rotate(runtime, acme.id, row_id)

    require_ended_well(runtime, acme, row_id, old)
    require_restorable(runtime, acme, points, tmp_path / "back")


def put_back(runtime: Runtime, tenant: Tenant, row_id: uuid.UUID) -> None:
    """As the dispatcher does; that it took so many workers down is not what is tried here."""
    lost(runtime, tenant, row_id)
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        session.execute(update(Rotation).where(Rotation.id == row_id).values(losses=0))


def require_ended_well(runtime: Runtime, tenant: Tenant, row_id: uuid.UUID, old: Vault) -> None:
    done = now_of(runtime, tenant, row_id)
    assert (done.state, done.stage) == (RotationState.DONE, "destroyed"), done.failure
    assert everything(old) == []
    assert state_of(runtime, tenant, old) is RepositoryState.DESTROYED
    new = vault(runtime, tenant)
    assert new.row.epoch == 2
    assert len(rows_of(runtime, tenant, Repository)) == 3  # one of them destroyed
    assert {each.subject_id for each in secrets(runtime, tenant)} == {
        each.row.id for each in vaults(runtime, tenant)
    }
    assert back_up(runtime, tenant).outcome == "complete"
    assert new.is_clean()


INSIDE = {
    "founding": "backup.founding:make",
    "copying": "backup.restic.commands:copy",
    "reading": "backup.scrub:read",
    "switching": "backup.switching:_retire",
    "moving": "backup.switching:_move_snapshots",
    "telling": "backup.point_records:keep",
    "closing": "backup.key_records:remove",
    "emptying": "strongroom.storage:Store.delete_versions",
}


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.long)])
def test_a_new_epoch_that_breaks_off_within_a_step_is_finished(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    for place in INSIDE.values():
        with monkeypatch.context() as patch:
            met = break_off(patch, place, when)
            with pytest.raises(Died):
                rotation.rotate(runtime, acme.id, row_id)
        assert met, place
        require_restorable(runtime, acme, points, tmp_path / "back", regions=[A])
        put_back(runtime, acme, row_id)

    rotation.rotate(runtime, acme.id, row_id)

    require_ended_well(runtime, acme, row_id, old)


def break_off(patch: pytest.MonkeyPatch, place: str, when: str) -> list[str]:
    """The worker ends at the first call of the function."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *kinds, name = path.split(".")
    for kind in kinds:
        owner = getattr(owner, kind)
    function = getattr(owner, name)
    met: list[str] = []

    def broken(*arguments: Any, **options: Any) -> Any:
        if met:
            return function(*arguments, **options)
        met.append(place)
        if when == "after":
            function(*arguments, **options)
        raise Died

    patch.setattr(owner, name, broken)
    return met


@pytest.mark.parametrize(
    "stage",
    [
        "switched",
        pytest.param("copied", marks=pytest.mark.long),
        pytest.param("closed", marks=pytest.mark.long),
        pytest.param("destroyed", marks=pytest.mark.long),
    ],
)
def test_kill_nine_in_a_new_epoch_loses_nothing(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    stack: Embedded,
    tmp_path: Path,
    stage: str,
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    published = json.loads(stack.home.stack.read_text())
    published |= {"home": str(tmp_path), "databases": dict(runtime.settings.databases)}
    (tmp_path / "published.json").write_text(json.dumps(published))
    words = [str(tmp_path / "published.json"), str(acme.id), str(row_id), stage]
    died = subprocess.run(
        [sys.executable, str(DRIVER), *words],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    require_restorable(runtime, acme, points, tmp_path / "back")
    with runtime.database.session(Role.DISPATCHER) as session:
        [row] = dispatch.find_lost(session, Rotation)
        dispatch.put_back(session, row, now=runtime.now())

    rotation.rotate(runtime, acme.id, row_id)

    require_ended_well(runtime, acme, row_id, old)
    require_restorable(runtime, acme, points, tmp_path / "back")


# What goes on meanwhile


def between(patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do it once when the bulk was copied and read, and nothing is held yet."""
    filled, done = rotating_epoch._filled, []

    def filled_and_then(doing: filling.Filling) -> Any:
        found = filled(doing)
        if not done:
            done.append(True)
            act()
        return found

    patch.setattr(rotating_epoch, "_filled", filled_and_then)


def test_what_is_backed_up_and_let_go_meanwhile_counts_in_the_new_epoch(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = vault(runtime, acme)
    news: list[tuple[Point, str]] = []

    def meanwhile() -> None:
        set_policy(runtime, acme, last=2)
        fill(tmp_path / "files", files=5, words="a third year")
        news.append((back_up(runtime, acme), digest(tmp_path / "files")))

    between(monkeypatch, meanwhile)
    row = renewed(runtime, acme)

    assert row.state is RotationState.DONE, row.failure
    new = vault(runtime, acme)
    gone = {str(each.state) for each in rows_of(runtime, acme, Removal)}
    assert gone == {"gone"}  # of the first point, while both were there
    require_restorable(runtime, acme, [points[1], *news], tmp_path / "back")
    [first, *_] = rows_of(runtime, acme, Point)
    assert len(new.snapshot_ids()) == 2
    assert restored(new, first, tmp_path / "back") == []
    assert everything(old) == []
    assert new.is_clean()
    assert not [each for each in new.left_over() if "/locks/" not in each.key]


def test_a_backup_that_holds_the_old_epoch_is_waited_for(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]]
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    with leases.leased(runtime, acme.id, old.site.row.id):
        rotation.rotate(runtime, acme.id, row_id)
    row = now_of(runtime, acme, row_id)
    assert (row.state, row.stage) == (RotationState.WAITING, "read")
    assert row.failure["code"] == "repository-busy"
    assert vault(runtime, acme).site.row.id == old.site.row.id

    rotation.rotate(runtime, acme.id, row_id)

    assert now_of(runtime, acme, row_id).state is RotationState.DONE


def test_nobody_takes_an_epoch_that_was_left(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]]
) -> None:
    old = vault(runtime, acme)
    renewed(runtime, acme)

    with pytest.raises(repositories.Retired), leases.leased(runtime, acme.id, old.site.row.id):
        pass
    with pytest.raises(repositories.Retired):
        repositories.lend(runtime, acme.id, old.site.row.id)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        assert repositories.successor(session, old.site.row.id) == vault(runtime, acme).row.id


def test_a_proof_that_looked_at_the_old_epoch_says_nothing_about_the_new_one(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = vault(runtime, acme)
    proof_id = ask_for_proof(runtime, acme, old)
    read = verify.read_packs

    def and_then_switch(*given: Any) -> Any:
        found = read(*given)
        monkeypatch.setattr(verify, "read_packs", read)
        assert renewed(runtime, acme).state is RotationState.DONE
        return found

    monkeypatch.setattr(verify, "read_packs", and_then_switch)
    assert verify.prove(runtime, acme.id, proof_id) is None

    [proof] = rows_of(runtime, acme, Proof, Proof.id == proof_id)
    assert (proof.state, proof.failure["code"]) == ("waiting", "repository-retired")
    assert rows_of(runtime, acme, Healing) == []
    done = verify.prove(runtime, acme.id, proof_id)
    assert done is not None
    [proof] = rows_of(runtime, acme, Proof, Proof.id == proof_id)
    assert proof.state == "passed"


def ask_for_proof(runtime: Runtime, tenant: Tenant, held: Vault) -> uuid.UUID:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        copy = session.execute(
            select(Copy).where(Copy.repository_id == held.site.row.id).limit(1)
        ).scalar_one()
        proof = Proof(
            id=new_id(),
            tenant_id=tenant.id,
            copy_id=copy.id,
            level="data",
            asked_by=str(ADA),
            due_at=runtime.now(),
        )
        session.add(proof)
        return proof.id


def test_two_regions_are_never_switched_at_once(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = ask(runtime, acme, B)
    seen = []

    def meanwhile() -> None:
        rotation.rotate(runtime, acme.id, second)
        seen.append(now_of(runtime, acme, second))

    between(monkeypatch, meanwhile)
    assert renewed(runtime, acme, A).state is RotationState.DONE

    assert (seen[0].state, seen[0].stage) == (RotationState.WAITING, None)
    assert seen[0].failure["code"] == "repository-busy"
    rotation.rotate(runtime, acme.id, second)
    assert now_of(runtime, acme, second).state is RotationState.DONE
    assert [each.row.epoch for each in vaults(runtime, acme)] == [2, 2]
    assert all(each.is_clean() for each in vaults(runtime, acme))
    assert back_up(runtime, acme).outcome == "complete"


# What is not sound does not count


def test_a_copy_that_does_not_read_back_never_counts(
    runtime: Runtime,
    acme: Tenant,
    points: list[tuple[Point, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    bring, spoiled = filling.bring, []

    def and_spoil(doing: filling.Filling) -> Any:
        found = bring(doing)
        held = Vault(runtime, doing.target.site)
        if not spoiled:  # contents, and the same size: only reading tells
            pack = harming.packs_by_kind(held)[1][0]
            held.store.put(pack, harming.flip(held.store.get(pack)))
            spoiled.append(held)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(filling, "bring", and_spoil)
        rotation.rotate(runtime, acme.id, row_id)

    row = now_of(runtime, acme, row_id)
    assert row.state is RotationState.WAITING
    assert row.failure["code"] == "epoch-unsound"
    assert vault(runtime, acme).row.id == old.site.row.id
    require_restorable(runtime, acme, points, tmp_path / "back")

    rotation.rotate(runtime, acme.id, row_id)

    assert now_of(runtime, acme, row_id).state is RotationState.DONE
    new = vault(runtime, acme)
    assert new.row.epoch == 3
    assert new.is_clean()
    assert everything(spoiled[0]) == everything(old) == []


def test_damage_comes_first(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]]
) -> None:
    old = vault(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(
            update(Repository)
            .where(Repository.id == old.site.row.id)
            .values(state=RepositoryState.FROZEN)
        )

    row = renewed(runtime, acme)

    assert row.state is RotationState.WAITING
    assert row.failure["code"] == "repository-unsettled"
    assert len(rows_of(runtime, acme, Repository, Repository.key_hint.is_not(None))) == 2


# The old one stays


def test_a_hold_a_reader_and_a_lock_keep_the_old_epoch_and_it_goes_when_they_end(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]], tmp_path: Path
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    hold(runtime, acme, released=False)
    repositories.lend(runtime, acme.id, old.site.row.id)

    def waits_for() -> str:
        rotation.rotate(runtime, acme.id, row_id)
        row = now_of(runtime, acme, row_id)
        assert row.state is RotationState.WAITING
        return str(row.failure["code"])

    assert waits_for() == "old-epoch-held"
    assert old.is_clean()  # it opens, and has everything
    hold(runtime, acme, released=True)
    assert waits_for() == "old-epoch-read"
    assert restored(vault(runtime, acme), points[0][0], tmp_path / "back") == [points[0][1]]
    assert old.is_clean()
    assert now_of(runtime, acme, row_id).due_at > runtime.now() + timedelta(hours=23)
    no_reader(runtime, acme, old)
    [pack, *_] = old.store.versions(old.prefix + "data/")
    locked = datetime.now(UTC) + timedelta(seconds=15)
    old.store.retain_until(pack.key, pack.version_id, locked)
    assert waits_for() == "old-epoch-locked"
    row = now_of(runtime, acme, row_id)
    assert (row.stage, row.report["left"]) == ("closed", 1)
    assert datetime.fromisoformat(row.report["locked_until"]) >= locked - timedelta(seconds=1)
    assert row.due_at >= locked
    assert old.site.row.id not in {each.subject_id for each in secrets(runtime, acme)}
    assert until(lambda: datetime.now(UTC) > locked + timedelta(seconds=1), seconds=40)

    rotation.rotate(runtime, acme.id, row_id)

    require_ended_well(runtime, acme, row_id, old)


def hold(runtime: Runtime, tenant: Tenant, *, released: bool) -> None:
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        if released:
            session.execute(update(Hold).values(released_by=str(ADA), released_at=now))
            return
        row = Hold(id=new_id(), tenant_id=tenant.id, reason="a claim", placed_by=str(ADA))
        row.placed_at = now
        session.add(row)


def no_reader(runtime: Runtime, tenant: Tenant, held: Vault) -> None:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        session.execute(
            update(Repository).where(Repository.id == held.site.row.id).values(read_until=None)
        )


def test_the_old_epoch_stays_while_something_is_not_verified_in_the_new_one(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]]
) -> None:
    old, row_id = vault(runtime, acme), ask(runtime, acme)
    repositories.lend(runtime, acme.id, old.site.row.id)
    rotation.rotate(runtime, acme.id, row_id)
    no_reader(runtime, acme, old)
    new = vault(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(  # as a proof does that found damage there
            update(Snapshot).where(Snapshot.repository_id == new.row.id).values(verified_at=None)
        )

    rotation.rotate(runtime, acme.id, row_id)

    row = now_of(runtime, acme, row_id)
    assert (row.state, row.failure["code"]) == (RotationState.WAITING, "new-epoch-unproven")
    assert old.is_clean()


def test_locks_of_the_plan_are_set_in_the_new_epoch_before_the_old_one_goes(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]], monkeypatch: Any
) -> None:
    set_policy(runtime, acme, last=5, lock_days=1)
    close, seen = rotating_epoch._destroy_old, []

    def look_first(going: Any) -> None:
        new = vault(runtime, acme)
        rows = rows_of(runtime, acme, ObjectLock, ObjectLock.repository_id == new.row.id)
        seen.append({row.key for row in rows})
        close(going)

    monkeypatch.setattr(rotating_epoch, "_destroy_old", look_first)
    assert renewed(runtime, acme).state is RotationState.DONE
    new = vault(runtime, acme)
    assert {key.removeprefix(new.prefix) for key in new.packs()} <= seen[0]
    assert {f"snapshots/{name}" for name in new.snapshot_ids()} <= seen[0]


# A repository that does not open


def lose_key_file(held: Vault) -> None:
    """With every version of it, as a compromised root account can."""
    there = list(held.store.versions(held.prefix + "keys/"))
    held.store.delete_versions([(each.key, each.version_id) for each in there])


def test_a_repository_that_does_not_open_is_made_anew_from_another_region_and_kept(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]], tmp_path: Path
) -> None:
    old = vault(runtime, acme)
    lose_key_file(old)
    packs = old.packs()

    row = renewed(runtime, acme)

    assert (row.state, row.stage) == (RotationState.DONE, "kept"), row.failure
    assert row.report["not_brought"] == 0
    assert "No key file" in row.report["unreadable"] or row.report["unreadable"]
    assert old.packs() == packs
    assert state_of(runtime, acme, old) is RepositoryState.RETIRED
    require_restorable(runtime, acme, points, tmp_path / "back")
    assert back_up(runtime, acme).outcome == "complete"
    assert vault(runtime, acme).is_clean()


def test_the_old_one_that_does_not_open_goes_only_if_a_person_says_so(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]]
) -> None:
    old = vault(runtime, acme)
    lose_key_file(old)

    row = renewed(runtime, acme, destroy_unreadable=True)

    assert (row.state, row.stage) == (RotationState.DONE, "destroyed"), row.failure
    assert everything(old) == []


def test_what_was_kept_goes_once_a_person_says_so_and_nothing_is_copied_again(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]], tmp_path: Path
) -> None:
    old = vault(runtime, acme)
    lose_key_file(old)
    kept = renewed(runtime, acme)
    counts = vault(runtime, acme).row.id

    row = renewed(runtime, acme, destroy_unreadable=True)

    assert row.id != kept.id
    assert (row.state, row.stage) == (RotationState.DONE, "destroyed"), row.failure
    assert everything(old) == []
    assert state_of(runtime, acme, old) is RepositoryState.DESTROYED
    assert vault(runtime, acme).row.id == counts
    require_restorable(runtime, acme, points, tmp_path / "back")


def test_what_no_other_region_has_is_said_and_waits(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]], tmp_path: Path
) -> None:
    old, other = vault(runtime, acme), vault(runtime, acme, B)
    fill(tmp_path / "files", files=6, words="only here")
    with leases.leased(runtime, acme.id, other.site.row.id):  # the other region misses it
        back_up(runtime, acme)
    [last] = [each for each in rows_of(runtime, acme, Point) if each.number == 3]
    lose_key_file(old)

    row = renewed(runtime, acme)

    assert row.stage == "kept", row.failure
    assert row.report["not_brought"] == 1
    require_restorable(runtime, acme, points, tmp_path / "back")
    [here] = rows_of(
        runtime,
        acme,
        Copy,
        Copy.point_id == last.id,
        Copy.repository_id == vault(runtime, acme).row.id,
    )
    assert (here.state, here.failure["code"]) == (CopyState.WAITING, "not-in-new-epoch")
    assert back_up(runtime, acme).outcome == "complete"
    assert vault(runtime, acme).is_clean()


def test_nothing_is_made_anew_when_no_region_opens(
    runtime: Runtime, acme: Tenant, points: list[tuple[Point, str]]
) -> None:
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        other = vault(runtime, acme, B).site.row.id
        session.execute(update(Repository).where(Repository.id == other).values(key_hint=None))
    lose_key_file(vault(runtime, acme))

    row = renewed(runtime, acme)

    assert (row.state, row.failure["code"]) == (RotationState.WAITING, "no-copy-source")
    assert vault(runtime, acme).row.epoch == 1
