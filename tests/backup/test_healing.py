"""Every damage is mended, from beneath or from the other region, and the rows say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup import tasks
from backup.models import Point
from backup.states import HealingState, RemovalState
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup import harming
from tests.backup.harming import DAMAGE
from tests.backup.vaults import A, B, digest, removals, restored, set_policy, vault, vaults
from tests.cast import add_folder, back_up, fill


def two_points(runtime: Runtime, tenant: Tenant, tmp_path: Path) -> list[tuple[Point, str]]:
    """Both, and what they have to give back."""
    folder = tmp_path / "files"
    fill(folder, words="first")
    add_folder(runtime, tenant, folder)
    set_policy(runtime, tenant, last=5)
    first = back_up(runtime, tenant), digest(folder)
    fill(folder / "more", words="second")
    return [first, (back_up(runtime, tenant), digest(folder))]


# By the least that shows each way; `make test-long` has every damage in both.
SHORT = {
    ("a byte in a data pack", True),
    ("a pack cut short", True),
    ("an index deleted", True),
    ("a snapshot deleted", False),
}
CASES = [
    pytest.param(kind, rot, marks=[] if (kind, rot) in SHORT else pytest.mark.long)
    for kind in DAMAGE
    for rot in (False, True)
]


@pytest.mark.parametrize(("kind", "rot"), CASES)
def test_damage_is_mended_and_everything_is_as_it_was(
    runtime: Runtime, acme: Tenant, tmp_path: Path, kind: str, rot: bool
) -> None:
    points = two_points(runtime, acme, tmp_path)
    held, other = vault(runtime, acme, A), vault(runtime, acme, B)
    untouched = list(other.store.versions(other.prefix + "data/"))
    DAMAGE[kind](held, rot=rot)

    done = harming.heal(held, damaged=harming.damaged_packs(held))

    assert done.state is HealingState.HEALED, done.report
    harming.is_as_it_was(held, acme)
    for point, was in points:
        assert restored(held, point, tmp_path / "back") == [was]
    assert list(other.store.versions(other.prefix + "data/")) == untouched
    removal_goes_on(runtime, acme)


def removal_goes_on(runtime: Runtime, tenant: Tenant) -> None:
    """Nothing that healing left behind is unexplained."""
    set_policy(runtime, tenant, last=1)
    tasks.review(runtime, tenant.id)
    assert {row.state for row in removals(runtime, tenant)} == {RemovalState.GONE}
    assert [held.left_over() for held in vaults(runtime, tenant)] == [[], []]
