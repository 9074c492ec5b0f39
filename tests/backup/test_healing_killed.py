"""A healing that is interrupted anywhere is taken up again, and ends the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from backup import acts, leases, mending
from backup.models import Healing, Pack
from backup.states import HealingState
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup import harming
from tests.backup.harming import flip, overwrite, want
from tests.backup.test_census import wipe
from tests.backup.test_healing import removal_goes_on, two_points
from tests.backup.vaults import A, Vault, restored, vault
from tests.workers import Doing, killed, reap

# Every step that changes something, in the bucket or in rows: in the order in which a healing comes
# to its end, and what is within another before that one.
STEPS = (
    "backup.beneath:bring_back",
    "backup.mending:bring_from_beneath",
    "backup.mending:hide",
    "backup.mending:set_aside",
    "backup.restic.repairs:repair_packs",
    "backup.restic.commands:repair_index",
    "backup.mending:repair_index",
    "backup.restic.commands:copy",
    "backup.grafting:_graft",
    "backup.grafting:_copy",
    "backup.grafting:forget_grafts",
    "backup.mending:is_whole",
    "backup.beneath:explain",
    "backup.mended:settle",
)


class Broken(StrongroomError):
    """As if the worker had gone there."""


def break_once(monkeypatch: pytest.MonkeyPatch, place: str, when: str) -> list[str]:
    """The next call of the function ends there; gives a list that then has the place in it."""
    module, _, name = place.partition(":")
    owner = importlib.import_module(module)
    function = getattr(owner, name)
    met: list[str] = []

    def broken(*arguments: Any, **options: Any) -> Any:
        if met:
            return function(*arguments, **options)
        met.append(place)
        if when == "after":
            function(*arguments, **options)
        raise Broken("interrupted")

    monkeypatch.setattr(owner, name, broken)
    return met


def packs_of(held: Vault) -> list[Pack]:
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        return session.query(Pack).filter_by(repository_id=held.site.row.id).all()


def harm_in_many_ways(held: Vault) -> Healing:
    """A pack that comes back from beneath, one that has to come from elsewhere, and a snapshot.

    The pack that is lost is needed by the second point alone, and the snapshot is the first one's:
    neither comes back along with the other.
    """
    first_read = {row.name: row.id for row in packs_of(held)}
    old, *_, new = sorted(
        harming.packs_by_kind(held)[1],
        key=lambda key: str(first_read.get(key.rpartition("/")[2], "unread")),
    )
    overwrite(held, old, held.store.get(old)[:-1], rot=False)
    overwrite(held, new, flip(held.store.get(new)), rot=True)
    here = [row for row in held.rows() if row.lost_at is None]
    name = min(here, key=lambda row: row.taken_at).restic_id
    snapshot = f"{held.prefix}snapshots/{name}"
    overwrite(held, snapshot, flip(held.store.get(snapshot), 20), rot=True)
    return want(held, damaged=harming.damaged_packs(held))


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_healing_that_is_interrupted_at_every_step_ends_the_same(
    runtime: Runtime,
    acme: Tenant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    points = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme, A)
    monkeypatch.setattr(mending, "ATTEMPTS", 100)
    harm_in_many_ways(held)
    met = []
    for place in STEPS:
        for _ in range(2):  # what attempts before it have mended is harmed again for it
            with monkeypatch.context() as patch:
                reached = break_once(patch, place, when)
                ended = mending.heal(runtime, acme.id, harming.last(held).id)
            met += reached
            if ended is not None:
                harm_in_many_ways(held)
            if reached:
                break

    assert mending.heal(runtime, acme.id, harming.last(held).id) is not None
    assert met == list(STEPS)
    assert harming.last(held).state is HealingState.HEALED, harming.last(held).failure
    harming.is_as_it_was(held, acme)
    for point, was in points:
        assert restored(held, point, tmp_path / "back") == [was]
    removal_goes_on(runtime, acme)


def test_a_good_version_beneath_is_never_swept_before_it_is_on_top_again(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deleted all snapshots and overwrote a pack; the healing goes before it could act."""
    two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme, A)
    pack = harming.packs_by_kind(held)[1][0]
    good = held.store.get(pack)
    harming.overwrite(held, pack, b"garbage", rot=False)
    wipe(held, "snapshots/")
    row = want(held, damaged=[pack.rpartition("/")[2]])
    with monkeypatch.context() as patch:
        break_once(patch, "backup.beneath:bring_back", "before")
        assert mending.heal(runtime, acme.id, row.id) is None

    with leases.leased(runtime, acme.id, held.site.row.id, damaged=True) as leased:
        acts.close_open(leased.site, store=leased.store, but=leased.act)
        acts.sweep(leased.site, list(held.store.versions(held.prefix)), store=held.store)

    beneath = [each for each in held.store.versions(pack) if not each.latest]
    assert [held.store.get_version(each.key, each.version_id) for each in beneath] == [good]
    assert mending.heal(runtime, acme.id, row.id) is not None
    harming.is_as_it_was(held, acme)


@pytest.mark.parametrize(
    "place",
    [
        ("backup.restic.repairs:repair_packs", "after"),
        pytest.param(("backup.restic.commands:copy", "after"), marks=pytest.mark.long),
    ],
    ids=["packs repaired", "copied"],
)
def test_a_killed_healing_is_taken_up_by_the_next_worker(
    runtime: Runtime, acme: Tenant, tmp_path: Path, place: tuple[str, str]
) -> None:
    points = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme, A)
    row = harm_in_many_ways(held)

    killed(runtime, Doing("heal", acme, row.id, at=place))

    assert [each.id for each in reap(runtime)] == [row.id]
    assert mending.heal(runtime, acme.id, row.id) is not None
    assert harming.last(held).state is HealingState.HEALED
    harming.is_as_it_was(held, acme)
    for point, was in points:
        assert restored(held, point, tmp_path / "back") == [was]
    removal_goes_on(runtime, acme)
