"""A wiped bucket is brought back by one command, and what we let go ourselves stays gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup import inventory, mending, removal, tasks
from backup.models import Healing
from backup.restic import commands
from backup.states import HealingState, RemovalState, RepositoryState
from backup.undelete import plan, undelete
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.storage import Version
from tenants.models import Tenant
from tests.backup.test_census import wipe
from tests.backup.test_removal import two_points
from tests.backup.vaults import (
    A,
    Vault,
    digest,
    removals,
    restored,
    set_policy,
    snapshots_of,
    vault,
)
from tests.cast import ADA, add_folder, back_up, fill, rows_of
from tests.web.command_line import sit_down

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def version(key: str, minute: int, *, marker: bool = False, latest: bool = False) -> Version:
    moment = NOON + timedelta(minutes=minute)
    return Version(f"t/{key}", f"v{minute}", latest, marker, moment, 0 if marker else 9)


def planned(*versions: Version, ours: tuple[str, ...] = (), since: datetime | None = None) -> Any:
    recorded = {(each.key, each.version_id) for each in versions if each.version_id in ours}
    return plan(inventory.of(versions, "t/", recorded), since=since)


def test_a_marker_of_somebody_else_goes_and_one_of_ours_stays() -> None:
    theirs = version("data/aa/1", 2, marker=True, latest=True)
    ours = version("snapshots/2", 3, marker=True, latest=True)
    beneath = version("data/aa/1", 1), version("snapshots/2", 0)

    found = planned(theirs, ours, *beneath, ours=("v3", "v0"))

    assert found.markers == (("t/data/aa/1", "v2"),)
    assert found.deleted == {"data/aa/1"}


def test_what_was_deleted_before_the_time_stays_deleted() -> None:
    gone = version("data/aa/1", 2, marker=True, latest=True), version("data/aa/1", 1)
    assert planned(*gone, since=NOON + timedelta(minutes=5)).markers == ()


def test_a_second_marker_on_top_of_ours_goes_and_the_object_stays_deleted() -> None:
    second = version("snapshots/2", 4, marker=True, latest=True)
    ours = version("snapshots/2", 3, marker=True)

    found = planned(second, ours, version("snapshots/2", 0), ours=("v3", "v0"))

    assert found.markers == (("t/snapshots/2", "v4"),)
    assert found.deleted == frozenset()


def test_a_wiped_bucket_is_brought_back_by_one_command_for_every_tenant(
    runtime: Runtime, stack: Embedded, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    desk = sit_down(stack, runtime, tmp_path)
    points = []
    for tenant in (acme, bolt):
        add_folder(runtime, tenant, tmp_path / "sources" / tenant.slug)
        points.append((tenant, back_up(runtime, tenant)))
    for tenant, _ in points:
        held = vault(runtime, tenant, A)
        packs = held.packs()
        wipe(held, "")
        for key in packs[:2]:
            held.store.put(key, b"garbage")
    foreseen = desk.json("region", "undelete", A, "--dry-run")

    with desk.working():
        said = desk("region", "undelete", A, "--wait", "--json")

    assert said.code == 0, said
    told = said.document["tenants"]
    assert [each["tenant"] for each in told] == ["acme", "bolt"]
    assert [each["back"] for each in told] == [each["back"] for each in foreseen["tenants"]]
    assert all(each["clean"] and each["proven"] and not each["missing"] for each in told)
    for tenant, point in points:
        held = vault(runtime, tenant, A)
        is_whole_again(held, [(point, digest(tmp_path / "sources" / tenant.slug))], tmp_path)


def is_whole_again(held: Vault, points: list[tuple[Any, str]], tmp_path: Path) -> None:
    assert held.is_clean()
    assert held.row.state is RepositoryState.READY
    for point, was in points:
        assert restored(held, point, tmp_path / "back") == [was]


def bring_back(held: Vault) -> Any:
    tenant = held.site.row.tenant_id
    return undelete(held.runtime, tenant, held.site.row.id, since=None, by=ADA)


def test_forgotten_points_do_not_come_back_to_life(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    first, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme, A)
    locked = held.lock_all(datetime.now(UTC) + timedelta(days=1))
    gone = {row.restic_id for row in snapshots_of(held, first)}
    set_policy(runtime, acme)
    tasks.review(runtime, acme.id)
    assert removals(runtime, acme, RemovalState.FORGOTTEN)  # its versions still lie there
    wipe(held, "")

    done = bring_back(held)

    assert done.is_whole, done
    assert not gone & held.snapshot_ids()
    is_whole_again(held, [(second, digest(tmp_path / "files"))], tmp_path)
    held.unlock(locked)
    for each in rows_of(runtime, acme, Healing, Healing.state == HealingState.WAITING):
        mending.heal(runtime, acme.id, each.id)  # the wipe was seen, and is looked at once more
    assert removal.apply(runtime, acme.id, held.site.row.id) == 1
    assert held.left_over() == []


@pytest.mark.long
def test_a_wipe_while_our_own_removal_was_under_way_is_undone(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted in the window of our act counts as ours; need tells it apart."""
    _, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme, A)
    set_policy(runtime, acme)
    removal.review(runtime, acme.id)
    prune = commands.prune

    def wiped(*arguments: Any) -> None:
        prune(*arguments)
        wipe(held, "config", "data/", "index/", "snapshots/", "keys/")

    monkeypatch.setattr(commands, "prune", wiped)
    assert removal.apply(runtime, acme.id, held.site.row.id) == 0
    monkeypatch.undo()

    done = bring_back(held)

    assert done.is_whole, done
    is_whole_again(held, [(second, digest(tmp_path / "files"))], tmp_path)
    fill(tmp_path / "files", words="third")
    assert back_up(runtime, acme).number == 3


def test_what_lies_there_no_more_is_said(
    runtime: Runtime, stack: Embedded, acme: Tenant, tmp_path: Path
) -> None:
    desk = sit_down(stack, runtime, tmp_path)
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    [*_, lost] = held.packs()
    versions = held.store.versions(lost)
    held.store.delete_versions((each.key, each.version_id) for each in list(versions))
    wipe(held, "")

    said = desk("region", "undelete", A, "--tenant", "acme", "--json")

    assert said.code == 3
    [told] = said.document["tenants"]
    assert not told["clean"]
    assert lost.rpartition("/")[2] in " ".join(told["missing"])
