"""A key is made new without a moment at which nothing opens, wherever the worker dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backup import keyfile, rotation
from backup.founding import Within
from backup.keyfile import MachinePassword, WrongPassword
from backup.models import Finding, Rotation
from backup.rotating import Going
from backup.rotation import Asked
from backup.states import RotationKind, RotationState, RunState
from strongroom import dispatch
from strongroom.db import Role
from strongroom.key_stores.local import LocalKeys
from strongroom.keys import (
    Context,
    KeyDestroyed,
    KeyMissing,
    KeyRetired,
    KeyState,
    KeyUnreachable,
    OtherProvider,
    WrongContext,
)
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Change, Secret, versions
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.backup.vaults import Vault, vault, vaults
from tests.cast import ADA, add_folder, back_up, carry_out, queue, rows_of, run_of
from tests.platform.stack_cast import until

DRIVER = Path(__file__).with_name("dying_rotator.py")
ROOT = Path(__file__).parents[2]
KEK_STAGES = ("begun", "added", "rewrapped", "retired")
PASSWORD_STAGES = ("staged", "added", "opened", "promoted", "removed", "erased")


def cases(stages: tuple[str, ...], telling: str) -> list[Any]:
    """Each stage, before and after it is noted: after one it is nearly as before the next."""
    after = [
        pytest.param(each, True, marks=[] if each == telling else pytest.mark.long)
        for each in stages
    ]
    return [*((each, False) for each in stages), *after]


class Died(BaseException):
    """The worker ends here."""


@pytest.fixture
def held(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Vault:
    """A repository with a point in it."""
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    return vault(runtime, acme)


def ask(runtime: Runtime, tenant: Tenant, kind: RotationKind) -> list[uuid.UUID]:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        found = rotation.ask(session, tenant.id, Asked(kind), by=ADA, now=runtime.now())
        return [row.id for row in found]


def rotated(runtime: Runtime, tenant: Tenant, kind: RotationKind) -> list[Rotation]:
    for row_id in ask(runtime, tenant, kind):
        rotation.rotate(runtime, tenant.id, row_id)
    return [row for row in rows_of(runtime, tenant, Rotation) if row.kind is kind]


def now_of(runtime: Runtime, tenant: Tenant, row_id: uuid.UUID) -> Rotation:
    [row] = [row for row in rows_of(runtime, tenant, Rotation) if row.id == row_id]
    return row


def secrets(runtime: Runtime, tenant: Tenant) -> list[Secret]:
    return rows_of(runtime, tenant, Secret)


def by_version(runtime: Runtime, tenant: Tenant) -> dict[int, int]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return versions(session, tenant.id)


def objects(held: Vault) -> Within:
    return Within(held.store, held.prefix)


def require_open(runtime: Runtime, tenant: Tenant) -> None:
    """Both regions open, by a clean process, with what the database says now."""
    for each in vaults(runtime, tenant):
        assert each.snapshot_ids()


# The KEK


def test_all_secrets_move_to_the_new_version_and_the_old_one_opens_nothing(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    before = secrets(runtime, acme)

    [row] = rotated(runtime, acme, RotationKind.KEK)

    assert row.state is RotationState.DONE, row.failure
    assert row.report is not None
    assert (row.report["from"], row.report["to"], row.report["left"]) == (1, 2, 0)
    assert row.report["done"] == row.report["total"] == len(before)
    assert by_version(runtime, acme) == {2: len(before)}
    assert runtime.vault.provider.status(acme.id).oldest == 2
    require_open(runtime, acme)
    assert back_up(runtime, acme).outcome == "complete"


def test_a_row_from_before_the_rotation_is_refused_and_said(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    [old] = [row for row in secrets(runtime, acme) if row.subject_id == held.row.id]
    rotated(runtime, acme, RotationKind.KEK)
    put_back(runtime, old)

    with pytest.raises(KeyRetired, match="version 1 .* was retired"):
        vault(runtime, acme)


def put_back(runtime: Runtime, old: Secret, **other: Any) -> None:
    """The columns of an old row, over the one that is there now."""
    columns = ("key_id", "key_version", "algorithm", "nonce", "ciphertext")
    values = {name: getattr(old, name) for name in columns} | other
    with runtime.database.session(Role.WORKER, tenant=old.tenant_id) as session:
        found = session.execute(
            update(Secret)
            .where(Secret.subject_id == old.subject_id)
            .values(**values)
            .returning(Secret.id)
        ).all()
        assert len(found) == 1


def test_a_wrap_that_claims_another_version_does_not_open(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    runtime.vault.provider.add_version(acme.id)
    [row] = [row for row in secrets(runtime, acme) if row.subject_id == held.row.id]
    put_back(runtime, row, key_version=2)

    with pytest.raises(WrongContext):
        vault(runtime, acme)


def test_a_secret_that_does_not_open_stops_the_rotation_before_anything_is_retired(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    [row] = [row for row in secrets(runtime, acme) if row.subject_id == held.row.id]
    put_back(runtime, row, ciphertext=row.ciphertext[::-1])

    [ended] = rotated(runtime, acme, RotationKind.KEK)

    assert ended.state is RotationState.FAILED
    assert ended.failure is not None
    assert ended.failure["code"] == "key-wrong-context"
    assert runtime.vault.provider.status(acme.id).oldest == 1
    assert [f.code for f in rows_of(runtime, acme, Finding)] == ["key-rotation-failed"]
    put_back(runtime, row)  # what was wrapped before still opens
    require_open(runtime, acme)


def test_nobody_wraps_with_an_old_version_while_it_is_retired(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    context = Context(acme.id, uuid.uuid4(), "source-password")
    with runtime.database.session(Role.WORKER, tenant=acme.id) as sealing:
        runtime.vault.seal(sealing, b"x", context, now=runtime.now())  # not committed yet
        runtime.vault.provider.add_version(acme.id)
        with (
            pytest.raises(OperationalError, match="lock timeout"),
            runtime.database.session(Role.WORKER, tenant=acme.id) as retiring,
        ):
            retiring.execute(text("set local lock_timeout = '100ms'"))
            runtime.vault.retire(retiring, acme.id, below=2)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        assert runtime.vault.retire(session, acme.id, below=2) > 0
    assert runtime.vault.provider.status(acme.id).oldest == 1


def test_a_guard_holds_back_the_end_of_an_old_version(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    def hold(_session: Session, _tenant: uuid.UUID, _below: int) -> None:
        raise KeyUnreachable("a record in a bucket still rests on it")

    runtime.vault.guards.append(hold)
    [row] = rotated(runtime, acme, RotationKind.KEK)
    assert (row.state, row.stage) == (RotationState.WAITING, "rewrapped")
    assert runtime.vault.provider.status(acme.id).oldest == 1

    runtime.vault.guards.clear()
    [row] = rotated(runtime, acme, RotationKind.KEK)
    assert row.state is RotationState.DONE


# The password


def test_a_new_password_takes_the_place_of_the_old_one_in_every_region(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    olds = {each.prefix: each for each in vaults(runtime, acme)}

    rows = rotated(runtime, acme, RotationKind.PASSWORD)

    assert [row.state for row in rows] == [RotationState.DONE] * 2, [r.failure for r in rows]
    for each in vaults(runtime, acme):
        old = olds[each.prefix]
        assert each.site.password != old.site.password
        assert only_key_file(each) == each.row.key_hint != old.site.row.key_hint
        with pytest.raises(WrongPassword):
            keyfile.open_any(objects(each), old.site.password)
    assert {(row.generation, row.pending) for row in secrets(runtime, acme)} == {(2, False)}
    require_open(runtime, acme)
    assert back_up(runtime, acme).outcome == "complete"


def only_key_file(held: Vault) -> str:
    """Its name; and no version of another, nor a delete marker, lies beneath."""
    [version] = held.store.versions(held.prefix + "keys/")
    assert version.latest
    return version.key.rpartition("/")[2]


def test_of_an_old_password_no_wrap_opens_that_is_put_in_the_place_of_the_new(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    [old] = [row for row in secrets(runtime, acme) if row.subject_id == held.row.id]
    rotated(runtime, acme, RotationKind.PASSWORD)
    put_back(runtime, old)

    with pytest.raises(WrongContext):
        vault(runtime, acme)


def test_a_stranger_in_keys_stays_and_is_in_nobodys_way(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    opened = keyfile.open_repository(objects(held), held.site.password)
    stamp = keyfile.Stamp(created=runtime.now())
    name, body = keyfile.make(opened.master, MachinePassword.make(), stamp)
    held.store.put(f"{held.prefix}keys/{name}", body)
    held.store.put(f"{held.prefix}keys/{'f' * 64}", b"garbage")

    rows = rotated(runtime, acme, RotationKind.PASSWORD)

    assert [row.state for row in rows] == [RotationState.DONE] * 2
    left = {each.key.rpartition("/")[2] for each in held.store.list(held.prefix + "keys/")}
    assert left == {name, "f" * 64, vault(runtime, acme).row.key_hint}


def test_whoever_keeps_further_wraps_hears_of_each_step(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    heard: list[Change] = []
    runtime.vault.watchers.append(lambda _session, change: heard.append(change))

    rotated(runtime, acme, RotationKind.PASSWORD)

    mine = [each for each in heard if each.context.subject == held.row.id]
    assert [(each.what, each.context.generation) for each in mine] == [
        ("staged", 2),
        ("promoted", 2),
        ("erased", 1),
    ]
    assert mine[0].secret == vault(runtime, acme).site.password.secret
    assert repr(mine[0].secret) not in repr(mine[0])
    rotated(runtime, acme, RotationKind.KEK)
    assert [each.what for each in heard[-2:]] == ["rewrapped"] * 2


@pytest.mark.long
def test_a_locked_key_file_is_waited_for_and_its_password_kept_until_it_is_gone(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    row_id = the_one_of(runtime, acme, held)
    [version] = held.store.versions(held.prefix + "keys/")
    locked = datetime.now(UTC) + timedelta(seconds=10)
    held.store.retain_until(version.key, version.version_id, locked)

    rotation.rotate(runtime, acme.id, row_id)

    waiting = now_of(runtime, acme, row_id)
    assert (waiting.state, waiting.stage) == (RotationState.WAITING, "promoted")
    assert waiting.failure is not None
    assert waiting.failure["code"] == "key-file-locked"
    assert waiting.failure["params"]["until"][:16] == str(locked)[:16]
    assert waiting.due_at >= locked - timedelta(seconds=1)
    require_open(runtime, acme)
    mine = [row for row in secrets(runtime, acme) if row.subject_id == held.row.id]
    assert [row.generation for row in mine] == [1, 2]

    assert until_over(locked)
    rotation.rotate(runtime, acme.id, row_id)

    done = now_of(runtime, acme, row_id)
    assert done.state is RotationState.DONE, done.failure
    assert only_key_file(held) == vault(runtime, acme).row.key_hint


def until_over(moment: datetime) -> bool:
    """The lock ends by the region's clock."""
    return until(lambda: datetime.now(UTC) > moment + timedelta(seconds=1), seconds=20)


def test_asking_twice_makes_one_rotation(runtime: Runtime, acme: Tenant, held: Vault) -> None:
    assert ask(runtime, acme, RotationKind.KEK) == ask(runtime, acme, RotationKind.KEK)
    first = ask(runtime, acme, RotationKind.PASSWORD)
    assert first == ask(runtime, acme, RotationKind.PASSWORD)
    assert len(first) == 2


# The worker dies


def dying(monkeypatch: pytest.MonkeyPatch, stage: str, *, after: bool) -> None:
    """At the first word on this stage: before it is written, or when all of it is committed."""
    note, refresh_of = Going.note, Going.session
    armed = [True]

    def noting(self: Going, session: Session, reached: str, **more: Any) -> None:
        if armed and reached == stage and not after:
            armed.clear()
            raise Died
        note(self, session, reached, **more)
        if armed and reached == stage:
            armed.clear()
            session.info["dies"] = True

    @contextmanager
    def session_of(self: Going) -> Any:
        with refresh_of(self) as session:
            yield session
        if session.info.pop("dies", False):
            raise Died

    monkeypatch.setattr(Going, "note", noting)
    monkeypatch.setattr(Going, "session", session_of)


def lost(runtime: Runtime, tenant: Tenant, row_id: uuid.UUID) -> None:
    """What the dispatcher does about a worker that is gone."""
    with runtime.database.session(Role.DISPATCHER) as session:
        row = session.execute(select(Rotation).where(Rotation.id == row_id)).scalar_one()
        assert row.state is RotationState.ROTATING
        dispatch.put_back(session, row, now=runtime.now())


@pytest.mark.parametrize(("stage", "after"), cases(KEK_STAGES, "rewrapped"))
def test_a_kek_rotation_that_dies_leaves_everything_readable_and_is_finished(
    runtime: Runtime,
    acme: Tenant,
    held: Vault,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    after: bool,
) -> None:
    [row_id] = ask(runtime, acme, RotationKind.KEK)
    dying(monkeypatch, stage, after=after)
    with pytest.raises(Died):
        rotation.rotate(runtime, acme.id, row_id)
    require_open(runtime, acme)
    lost(runtime, acme, row_id)

    rotation.rotate(runtime, acme.id, row_id)

    assert now_of(runtime, acme, row_id).state is RotationState.DONE
    status = runtime.vault.provider.status(acme.id)
    assert status.version == status.oldest
    assert set(by_version(runtime, acme)) == {status.version}
    require_open(runtime, acme)


@pytest.mark.parametrize(("stage", "after"), cases(PASSWORD_STAGES, "promoted"))
def test_a_password_rotation_that_dies_leaves_a_way_in_and_is_finished(
    runtime: Runtime,
    acme: Tenant,
    held: Vault,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    after: bool,
) -> None:
    row_id = the_one_of(runtime, acme, held)
    old = held.site.password
    dying(monkeypatch, stage, after=after)
    with pytest.raises(Died):
        rotation.rotate(runtime, acme.id, row_id)
    require_open(runtime, acme)
    lost(runtime, acme, row_id)

    rotation.rotate(runtime, acme.id, row_id)

    done = now_of(runtime, acme, row_id)
    assert done.state is RotationState.DONE, done.failure
    fresh = vault(runtime, acme)
    assert fresh.site.password != old
    assert only_key_file(fresh) == fresh.row.key_hint
    assert fresh.left_over_of("keys/") == []
    mine = [row for row in secrets(runtime, acme) if row.subject_id == held.row.id]
    assert [(row.generation, row.pending) for row in mine] == [(2, False)]
    require_open(runtime, acme)


def the_one_of(runtime: Runtime, tenant: Tenant, held: Vault) -> uuid.UUID:
    ask(runtime, tenant, RotationKind.PASSWORD)
    rows = rows_of(runtime, tenant, Rotation)
    [row_id] = [row.id for row in rows if row.repository_id == held.row.id]
    return row_id


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("added", marks=pytest.mark.long),
        "promoted",
        pytest.param("removed", marks=pytest.mark.long),
    ],
)
def test_kill_nine_in_a_password_rotation_loses_no_key(
    runtime: Runtime, acme: Tenant, held: Vault, stack: Embedded, tmp_path: Path, stage: str
) -> None:
    row_id = the_one_of(runtime, acme, held)
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
    require_open(runtime, acme)
    with runtime.database.session(Role.DISPATCHER) as session:
        [row] = dispatch.find_lost(session, Rotation)
        dispatch.put_back(session, row, now=runtime.now())

    rotation.rotate(runtime, acme.id, row_id)

    done = now_of(runtime, acme, row_id)
    assert done.state is RotationState.DONE, done.failure
    fresh = vault(runtime, acme)
    assert only_key_file(fresh) == fresh.row.key_hint
    assert back_up(runtime, acme).outcome == "complete"
    assert fresh.is_clean()


# The key store


class Away:
    """The key store does not answer while `gone`."""

    def __init__(self, inner: LocalKeys) -> None:
        self.inner, self.gone = inner, False
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def answer(*given: Any, **named: Any) -> Any:
            self.asked.append(name)
            if self.gone:
                raise KeyUnreachable("The key store gave no usable answer.")
            return found(*given, **named)

        return answer


@pytest.fixture
def store(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Away:
    inner = runtime.vault.provider
    assert isinstance(inner, LocalKeys)
    away = Away(inner)
    object.__setattr__(runtime.vault, "provider", away)
    return away


def test_work_waits_for_the_key_store_with_its_cause_and_goes_on_after(
    runtime: Runtime, acme: Tenant, store: Away, held: Vault
) -> None:
    keys = {path.name for path in runtime.settings.keys.iterdir()}
    before = [(row.id, row.ciphertext) for row in secrets(runtime, acme)]
    store.gone, store.asked = True, []
    run_id = queue(runtime, acme)
    rotations = ask(runtime, acme, RotationKind.KEK)

    for _ in range(5):  # more often than a run may fail
        assert carry_out(runtime, acme, run_id) is None
        rotation.rotate(runtime, acme.id, rotations[0])

    waiting = run_of(runtime, acme, run_id)
    assert waiting.state is RunState.QUEUED
    assert waiting.failure is not None
    assert waiting.failure["code"] == "key-unreachable"
    [row] = rows_of(runtime, acme, Rotation)
    assert row.state is RotationState.WAITING
    assert row.failure["code"] == "key-unreachable"
    assert {path.name for path in runtime.settings.keys.iterdir()} == keys
    assert [(each.id, each.ciphertext) for each in secrets(runtime, acme)] == before
    assert "create" not in store.asked  # no other key was thought of

    store.gone = False
    assert carry_out(runtime, acme, run_id) is not None
    rotation.rotate(runtime, acme.id, rotations[0])
    assert [each.state for each in rows_of(runtime, acme, Rotation)] == [RotationState.DONE]


def test_lost_destroyed_and_unreachable_end_differently(
    runtime: Runtime, acme: Tenant, bolt: Tenant, held: Vault, store: Away
) -> None:
    def code() -> str:
        run_id = queue(runtime, acme)
        carry_out(runtime, acme, run_id)
        run = run_of(runtime, acme, run_id)
        assert run.failure is not None
        with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
            session.execute(
                text("update backup_runs set state = 'failed' where id = :id"), {"id": run_id}
            )
        return str(run.failure["code"])

    store.gone = True
    unreachable = code()
    store.gone = False
    path = runtime.settings.keys / f"{acme.id}.kek"
    body = path.read_bytes()
    path.unlink()
    missing = code()
    path.write_bytes(body)
    store.inner.schedule_destruction(acme.id, 7)
    closed = code()
    store.inner.cancel_destruction(acme.id)
    store.inner.enable(acme.id)
    store.inner.schedule_destruction(acme.id, 0)

    assert (unreachable, missing, closed, code()) == (
        "key-unreachable",
        "key-missing",
        "key-disabled",
        "key-destroyed",
    )
    assert store.inner.status(bolt.id).state is KeyState.ENABLED


def test_a_key_that_the_store_forgot_counts_as_destroyed_when_a_tombstone_says_so(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    (runtime.settings.keys / f"{acme.id}.kek").unlink()
    with pytest.raises(KeyMissing):
        vault(runtime, acme)
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(
            text("insert into tombstones (id, destroyed_at) values (:id, now())"),
            {"id": acme.id},
        )

    with pytest.raises(KeyDestroyed, match="on purpose"):
        vault(runtime, acme)


def test_what_another_provider_wrapped_is_refused(
    runtime: Runtime, acme: Tenant, held: Vault
) -> None:
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(update(Secret).values(provider="aws-kms"))

    with pytest.raises(OtherProvider, match="STRONGROOM_KEYS_PROVIDER"):
        vault(runtime, acme)
