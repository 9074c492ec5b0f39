"""What no region has is said by points and paths; what the source still has is stored again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup import mending
from backup.models import Finding, Healing, Point
from backup.states import HealingState, Outcome
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants import plans
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tests.backup import harming
from tests.backup.harming import flip, follow_up, heal, overwrite, packs_by_kind, remove
from tests.backup.vaults import A, B, Vault, digest, restored, set_policy, snapshots_of, vault
from tests.cast import add_folder, add_tenant, back_up, fill, rows_of


@pytest.fixture
def lonely(runtime: Runtime) -> Tenant:
    """A tenant whose plan keeps one copy only."""
    [starter] = [each for each in plans.read(plans.SHIPPED) if each.code == "starter"]
    alone = replace(starter, code="alone", policy=replace(starter.policy, regions=1))
    with runtime.database.session(Role.OPERATOR) as session:
        plans.apply(session, [alone], now=runtime.now())
    tenant = add_tenant(runtime, NewTenant("lonely", "Lonely", "alone", "Asia/Dubai", "AE", "en"))
    set_policy(runtime, tenant, last=5)
    return tenant


def carry_out_healings(runtime: Runtime, tenant: Tenant) -> None:
    """What the dispatcher would ring for."""
    for row in rows_of(runtime, tenant, Healing, Healing.state == HealingState.WAITING):
        assert mending.heal(runtime, tenant.id, row.id) is not None


def open_codes(runtime: Runtime, tenant: Tenant) -> set[str]:
    return {row.code for row in rows_of(runtime, tenant, Finding, Finding.settled_at.is_(None))}


def spoil(held: Vault, which: int = -1) -> None:
    """The first file in a pack of contents; nothing lies beneath."""
    key = packs_by_kind(held)[1][which]
    overwrite(held, key, flip(held.store.get(key)), rot=True)


def points_of(runtime: Runtime, tenant: Tenant) -> dict[int, Point]:
    return {row.number: row for row in rows_of(runtime, tenant, Point)}


def test_with_one_region_what_is_lost_is_named_and_the_next_backup_stores_it_again(
    runtime: Runtime, lonely: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    fill(folder)
    add_folder(runtime, lonely, folder)
    first = back_up(runtime, lonely)
    held = vault(runtime, lonely, A)
    spoil(held)

    done = heal(held, damaged=harming.damaged_packs(held))

    assert done.state is HealingState.PARTLY
    assert done.report is not None
    [lost] = done.report["lost"]
    assert lost["points"] == [1]
    assert lost["source"] == "files"
    assert len(lost["paths"]) == lost["count"] == 1  # the intact blobs of the pack were kept
    assert (folder / lost["paths"][0].lstrip("/")).is_file()
    assert open_codes(runtime, lonely) == {"data-missing"}

    second = back_up(runtime, lonely)
    carry_out_healings(runtime, lonely)

    assert second.outcome is Outcome.COMPLETE
    assert harming.last(held).state is HealingState.HEALED
    harming.is_as_it_was(held, lonely)
    assert open_codes(runtime, lonely) == set()
    for point in (first, second):  # the earlier point is whole again too
        assert restored(held, point, tmp_path / "back") == [digest(folder)]


@pytest.mark.long
def test_what_the_source_has_no_more_either_is_given_up_and_later_points_are_proven(
    runtime: Runtime, lonely: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    fill(folder)
    add_folder(runtime, lonely, folder)
    back_up(runtime, lonely)
    held = vault(runtime, lonely, A)
    spoil(held)
    done = heal(held, damaged=harming.damaged_packs(held))
    assert done.report is not None
    [path] = done.report["lost"][0]["paths"]
    (folder / path.lstrip("/")).unlink()

    second = back_up(runtime, lonely)
    carry_out_healings(runtime, lonely)
    follow_up(runtime, lonely)

    assert harming.last(held).state is HealingState.HEALED
    harming.is_as_it_was(held, lonely)
    assert open_codes(runtime, lonely) == {"data-lost"}
    [finding] = rows_of(runtime, lonely, Finding, Finding.code == "data-lost")
    assert (finding.params["points"], finding.params["paths"]) == ([1], [path])
    assert [row.outcome for row in points_of(runtime, lonely).values()] == [
        Outcome.PARTIAL,
        Outcome.COMPLETE,
    ]
    assert None not in [row.verified_at for row in snapshots_of(held, second)]
    assert restored(held, second, tmp_path / "back") == [digest(folder)]


def test_a_snapshot_that_no_region_has_is_named_and_later_points_are_proven(
    runtime: Runtime, lonely: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    add_folder(runtime, lonely, folder)
    back_up(runtime, lonely)
    held = vault(runtime, lonely, A)
    remove(held, harming.first(held, "snapshots/"), rot=True)

    done = heal(held)

    assert done.state is HealingState.PARTLY
    assert done.report is not None
    assert [(each["points"], each["paths"]) for each in done.report["lost"]] == [([1], ["/"])]
    second = back_up(runtime, lonely)
    carry_out_healings(runtime, lonely)
    harming.is_as_it_was(held, lonely)
    assert restored(held, second, tmp_path / "back") == [digest(folder)]
    assert points_of(runtime, lonely)[1].outcome is Outcome.FAILED


def two_points(runtime: Runtime, tenant: Tenant, tmp_path: Path) -> list[tuple[Point, str]]:
    folder = tmp_path / "files"
    fill(folder, words="first")
    add_folder(runtime, tenant, folder)
    set_policy(runtime, tenant, last=5)
    first = back_up(runtime, tenant), digest(folder)
    fill(folder / "more", words="second")
    return [first, (back_up(runtime, tenant), digest(folder))]


def pack_with(held: Vault, *, newest: bool) -> str:
    """A pack of contents: of the last point, or of the first."""
    order = {each.key: each.modified for each in held.store.list(held.prefix + "data/")}
    return sorted(packs_by_kind(held)[1], key=order.__getitem__)[-1 if newest else 0]


def test_two_regions_that_are_damaged_in_different_packs_heal_each_other(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    points = two_points(runtime, acme, tmp_path)
    a, b = vault(runtime, acme, A), vault(runtime, acme, B)
    for held, newest in ((a, False), (b, True)):
        key = pack_with(held, newest=newest)
        overwrite(held, key, held.store.get(key)[:-1], rot=True)  # all of it
    damaged = [harming.damaged_packs(held) for held in (a, b)]

    states = [heal(held, damaged=names).state for held, names in zip((a, b), damaged, strict=True)]

    assert states == [HealingState.HEALED, HealingState.HEALED]
    for held in (a, b):
        harming.is_as_it_was(held, acme)
        for point, was in points:
            assert restored(held, point, tmp_path / "back") == [was]


@pytest.mark.long
def test_what_both_regions_lost_is_named_and_comes_back_into_both_with_the_next_backup(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    points = two_points(runtime, acme, tmp_path)
    both = vault(runtime, acme, A), vault(runtime, acme, B)
    before = [held.snapshot_ids() for held in both]
    for held in both:
        remove(held, pack_with(held, newest=False), rot=True)

    done = [heal(held) for held in both]

    assert [row.state for row in done] == [HealingState.PARTLY, HealingState.PARTLY]
    for row in done:
        assert row.report is not None
        assert {number for each in row.report["lost"] for number in each["points"]} == {1, 2}
        assert not row.report.get("rewritten")
    assert [held.snapshot_ids() for held in both] == before  # nothing was forgotten
    back_up(runtime, acme)
    carry_out_healings(runtime, acme)
    follow_up(runtime, acme)
    carry_out_healings(runtime, acme)
    for held in both:
        harming.is_as_it_was(held, acme)
        for point, was in points:
            assert restored(held, point, tmp_path / "back") == [was]
    assert open_codes(runtime, acme) == set()
