"""Object locks: nobody removes what a plan with locks has stored, and nothing is locked too long."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup import findings, locking, removal, tasks
from backup.locking import Bounds, Stored, Use
from backup.models import Finding, ObjectLock, Point
from backup.retention import decide
from backup.states import RemovalState
from strongroom import dispatch
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.storage import StorageError, Version
from tenants.models import Tenant
from tests.backup.vaults import A, Vault, in_front_of, removals, set_policy, vault, vaults
from tests.cast import FakeClock, add_folder, back_up, fill, rows_of
from tests.faults import Refuse, WrongClock

NOW = datetime(2030, 5, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PACK = "data/ab/" + "ab" * 32


def use(name: str, *, stored: datetime, until: datetime | None) -> Use:
    return Use(name, stored=stored, taken=stored, until=until)


def bounds(*uses: Use, days: int = 30, ceiling: int | None = None, **more: datetime) -> Bounds:
    limit = None if ceiling is None else timedelta(days=ceiling)
    return Bounds(NOW, timedelta(days=days), uses, limit, more.get("pruned_at"))


OLD = use("old", stored=NOW - 9 * DAY, until=NOW + 2 * DAY)
NEW = use("new", stored=NOW - DAY, until=NOW + 14 * DAY)
HELD = use("held", stored=NOW - 9 * DAY, until=None)


@pytest.mark.parametrize(
    ("key", "age", "limits", "days"),
    [
        ("snapshots/old", 9, bounds(OLD, NEW), 2),
        ("snapshots/new", 1, bounds(OLD, NEW), 14),
        ("snapshots/held", 9, bounds(HELD, NEW), 30),
        ("snapshots/unknown", 1, bounds(OLD, NEW), None),
        (PACK, 9, bounds(OLD, NEW), 14),  # the newer one may use it too
        (PACK, 9, bounds(OLD), 2),
        (PACK, 1, bounds(OLD, NEW), 14),
        (PACK, 0, bounds(OLD), None),  # of nothing that is recorded yet
        (PACK, 0, bounds(OLD, NEW, pruned_at=NOW), 14),  # written anew by a prune
        ("config", 100, bounds(OLD, NEW), 14),
        ("index/x", 1, bounds(OLD, NEW), 14),
        ("locks/x", 1, bounds(OLD, NEW), None),
        (PACK, 9, bounds(OLD, NEW, days=5), 5),
        (PACK, 9, bounds(HELD, ceiling=10), 1),
        (PACK, 9, bounds(HELD, ceiling=9), None),
        (PACK, 1, bounds(HELD, NEW, ceiling=10, pruned_at=NOW), 1),  # may hold what is older
        ("config", 100, bounds(HELD, ceiling=10), 30),  # holds no data of any source
    ],
)
def test_a_lock_ends_with_the_first_of_its_limits(
    key: str, age: int, limits: Bounds, days: int | None
) -> None:
    found = locking.horizon(Stored(key, "v", NOW - age * DAY), limits)

    assert found == (None if days is None else NOW + days * DAY)


def test_only_what_is_new_or_ends_soon_is_touched() -> None:
    limits = bounds(HELD)
    new = [Stored(f"index/{number}", f"v{number}", NOW) for number in range(5)]
    locks = {
        "index/1": ("v1", NOW + 20 * DAY),  # long enough
        "index/2": ("v2", NOW + 6 * DAY),  # within the margin
        "index/3": ("before", NOW + 20 * DAY),  # of another version
        "index/4": ("v4", NOW - DAY),  # it ran out
    }

    found = locking.due(new, locks, limits)

    assert [each.key for each, _ in found] == ["index/0", "index/2", "index/3", "index/4"]
    assert {until for _, until in found} == {NOW + 30 * DAY}


def test_what_cannot_be_locked_for_longer_is_not_asked_for_again() -> None:
    each = Stored("snapshots/old", "v", NOW)

    assert locking.due([each], {each.key: ("v", NOW + 2 * DAY)}, bounds(OLD)) == []


def current(held: Vault) -> list[Version]:
    """All there is, but restic's own locks, which go with each command."""
    listed = held.store.versions(held.prefix)
    return [each for each in listed if each.latest and not each.marker and "locks" not in each.key]


def retained(held: Vault) -> dict[str, datetime | None]:
    return {
        each.key.removeprefix(held.prefix): held.store.retained(each.key, each.version_id)
        for each in current(held)
    }


def test_a_plan_without_locks_sets_none(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)

    for held in vaults(runtime, acme):
        assert set(retained(held).values()) == {None}
        assert held.row.due_at is None
    assert rows_of(runtime, acme, ObjectLock) == []


def test_everything_that_is_stored_is_locked_in_every_region_even_against_its_owner(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=30)

    back_up(runtime, acme)

    for held in vaults(runtime, acme):
        found = retained(held)
        assert {key.partition("/")[0] for key in found} == {
            *("config", "data", "index", "keys", "snapshots")
        }
        soon, late = clock() + timedelta(days=29), clock() + timedelta(days=30, minutes=1)
        assert all(until is not None and soon < until < late for until in found.values())
        pairs = [(each.key, each.version_id) for each in current(held)]
        kept = held.store.delete_versions(pairs)  # with root's rights
        assert {(each.key, each.version_id, each.code) for each in kept} == {
            (*pair, "locked") for pair in pairs
        }
        assert held.is_clean()
        assert held.row.due_at is not None
    written = rows_of(runtime, acme, ObjectLock)
    assert len(written) == sum(len(retained(held)) for held in vaults(runtime, acme))


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of a lock lasts four minutes: clocks may differ by five."""
    monkeypatch.setattr("backup.locking.DAY", timedelta(minutes=4))


def ring(runtime: Runtime) -> int:
    """The passes that a dispatcher would ring for now, carried out; gives how many."""
    [due] = [each for each in tasks.DUES if each.task == "backup.lock"]
    now = runtime.now()
    with runtime.database.session(Role.DISPATCHER) as session:
        found = dispatch.nudge(session, due, now=now, again=now - dispatch.RING_AGAIN)
    for tenant, repository in found:
        locking.renew(runtime, tenant, repository)
    return len(found)


@pytest.mark.usefixtures("minutes")
def test_locks_of_what_is_kept_are_made_longer_though_nothing_is_backed_up(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=1)
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    before = retained(held)
    assert ring(runtime) == 0  # not due yet

    clock.forward(minutes=3)
    assert ring(runtime) == 2

    after = retained(held)
    assert after.keys() == before.keys()
    for key, until in after.items():
        earlier = before[key]
        assert until is not None
        assert earlier is not None
        assert until - earlier > timedelta(minutes=2)
    assert ring(runtime) == 0


@pytest.mark.usefixtures("minutes")
def test_a_look_in_between_touches_nothing(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=1)
    back_up(runtime, acme)
    touched: list[str] = []
    monkeypatch.setattr(
        "strongroom.storage.Store.retain_until", lambda _self, key, *_: touched.append(key)
    )

    locking.renew(runtime, acme.id, vault(runtime, acme, A).site.row.id)

    assert touched == []


def test_a_crash_before_the_rows_were_written_does_no_harm(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=30)
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    locked = retained(held)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.query(ObjectLock).delete()

    locking.renew(runtime, acme.id, held.site.row.id)

    rows = rows_of(runtime, acme, ObjectLock)
    assert {row.key for row in rows} == set(locked)
    assert all(row.until >= (locked[row.key] or NOW) for row in rows)


def test_with_a_clock_that_is_wrong_no_lock_is_set_and_a_person_is_told(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=30)
    with in_front_of(runtime, A) as proxy:
        proxy.fault = WrongClock(timedelta(days=400))
        back_up(runtime, acme)

    held = vault(runtime, acme, A)
    assert set(retained(held).values()) == {None}
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        [late] = findings.open_of(session, acme.id)
    assert (late.code, late.subject, late.params["why"]) == (locking.LATE, A, "clocks-disagree")

    locking.renew(runtime, acme.id, held.site.row.id)
    assert None not in retained(held).values()
    [settled] = rows_of(runtime, acme, Finding)
    assert settled.settled_at is not None


def test_shifted_business_time_locks_nothing(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=30)
    clock.forward(days=300)

    back_up(runtime, acme)

    assert set(retained(vault(runtime, acme, A)).values()) == {None}


def test_a_region_that_goes_away_fails_no_backup_and_is_looked_at_soon(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5, lock_days=30)
    back_up(runtime, acme)
    clock.forward(minutes=1)
    with in_front_of(runtime, A) as proxy:
        proxy.fault = Refuse()
        locking.renew(runtime, acme.id, vault(runtime, acme, A).site.row.id)

    looked = vault(runtime, acme, A).row.due_at
    assert looked is not None
    assert looked <= clock() + locking.AGAIN
    assert [row.code for row in rows_of(runtime, acme, Finding)] == [locking.LATE]


def facts_of(runtime: Runtime, tenant: Tenant, point: Point) -> list[str]:
    """The codes by which retention keeps the point now."""
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        known = removal.ledger.read(session, tenant.id, now=runtime.now())
    decision = decide(
        known.points, known.policy, now=runtime.now(), zone=known.zone, holds=known.holds
    )
    [verdict] = [each for each in decision.verdicts if each.point.id == point.id]
    return [str(reason.code) for reason in verdict.reasons]


def wait_for_locks(held: Vault) -> None:
    """Until the last lock of whatever lies there has ended, on the region's own clock."""
    listed = [each for each in held.store.versions(held.prefix) if not each.marker]
    ends = [held.store.retained(each.key, each.version_id) for each in listed]
    last = max(end for end in ends if end is not None)
    deadline = time.monotonic() + 60
    while held.store.server_date() <= last:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_point_that_the_plan_lets_go_stays_while_it_is_locked(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=1, lock_days=30)
    old = back_up(runtime, acme)
    fill(tmp_path / "files", words="changed")

    back_up(runtime, acme)

    assert facts_of(runtime, acme, old) == ["object-lock"]
    assert removals(runtime, acme) == []
    assert len(vault(runtime, acme, A).snapshot_ids()) == 2


@pytest.mark.long
def test_once_the_locks_have_ended_removal_takes_the_last_version(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.locking.DAY", timedelta(seconds=6))
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=1, lock_days=1)
    back_up(runtime, acme)
    fill(tmp_path / "files", words="changed")
    back_up(runtime, acme)
    set_policy(runtime, acme, last=1, lock_days=None)  # nothing is made longer from here on
    for held in vaults(runtime, acme):
        wait_for_locks(held)

    removal.review(runtime, acme.id)
    for held in vaults(runtime, acme):
        removal.apply(runtime, acme.id, held.site.row.id)

    assert [row.state for row in removals(runtime, acme)] == [RemovalState.GONE] * 2
    for held in vaults(runtime, acme):
        assert len(held.snapshot_ids()) == 1
        assert [each for each in held.left_over() if "locks/" not in each.key] == []
        assert held.is_clean()


@pytest.mark.long
def test_a_pack_that_is_locked_longer_than_its_point_says_until_when_and_then_goes(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    set_policy(runtime, acme, last=5)
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    packs = [each for each in current(held) if "/data/" in each.key]
    fill(tmp_path / "files", words="changed")
    back_up(runtime, acme)
    set_policy(runtime, acme, last=1)
    removal.review(runtime, acme.id)
    end = held.store.server_date() + timedelta(seconds=30)
    for pack in packs:
        held.store.retain_until(pack.key, pack.version_id, end)

    removal.apply(runtime, acme.id, held.site.row.id)

    [waiting] = removals(runtime, acme, RemovalState.FORGOTTEN)
    assert waiting.blocked == {"code": "object-lock", "params": {"until": end.isoformat()}}
    with pytest.raises(StorageError):
        held.store.get(packs[0].key)  # it is hidden, and there
    wait_for_locks(held)
    assert removal.apply(runtime, acme.id, held.site.row.id) == 1
    assert [each for each in held.left_over() if "locks/" not in each.key] == []


def test_a_locked_repository_writes_nothing_twice_unless_an_age_ceiling_says_so(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")

    def most() -> str:
        with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
            return locking.prune_bounds(session, acme.id, now=runtime.now()).max_unused

    assert most() == "0"
    set_policy(runtime, acme, lock_days=30)
    assert most() == "unlimited"
    set_policy(runtime, acme, source_max_age_days={str(source.id): 30})
    assert most() == "0"


def test_two_bounds_are_compared_as_they_are() -> None:
    limits = bounds(HELD, days=1)

    assert (limits.margin, limits.pause) == (DAY / 2, DAY / 4)
    assert replace(limits, term=90 * DAY).pause == DAY
