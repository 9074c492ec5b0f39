"""A region's repository is replaced by a new epoch while a restore or a drill has chosen it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backup import repositories, rotation
from backup.models import Point, Repository, Rotation, Source
from backup.rotation import Asked
from backup.states import RepositoryState, RotationKind, RotationState
from restore.states import Destination
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import Vault, digest, vault
from tests.cast import ADA, add_folder, back_up, fill, rows_of
from tests.restore import asking, drilling

Act = Callable[[], None]


@pytest.fixture
def point(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Point:
    add_folder(runtime, acme, tmp_path / "files")
    return back_up(runtime, acme)


@pytest.fixture
def epoch(runtime: Runtime, acme: Tenant, point: Point) -> Act:
    """Carries a new epoch of region A as far as it goes."""
    asked = Asked(RotationKind.EPOCH, only_in=vault(runtime, acme).site.region.name)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        (row,) = rotation.ask(session, acme.id, asked, by=ADA, now=runtime.now())
    return lambda: rotation.rotate(runtime, acme.id, row.id)


def at_the_lending(patch: pytest.MonkeyPatch, act: Act, *, before: bool) -> None:
    """Once, in the moment in which a reader says that it reads there."""
    really = repositories.lend

    def lent(*given: Any) -> None:
        patch.setattr(repositories, "lend", really)
        if before:
            act()
        really(*given)
        if not before:
            act()

    patch.setattr(repositories, "lend", lent)


@pytest.mark.parametrize("before", [False, True])
def test_a_restore_ends_well_and_only_then_the_old_epoch_goes(
    runtime: Runtime,
    acme: Tenant,
    point: Point,
    epoch: Act,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    old, was = vault(runtime, acme), digest(tmp_path / "files")
    (source,) = rows_of(runtime, acme, Source)
    fill(tmp_path / "files", words="damage")
    at_the_lending(monkeypatch, epoch, before=before)

    ended = asking.give_back(runtime, point, source, Destination.IN_PLACE)

    assert digest(tmp_path / "files") == was
    assert asking.report(ended)["region"] == old.site.region.name
    waits_for_its_reader(runtime, acme, old, waits=not before)
    nobody_reads(runtime, acme, old)
    epoch()
    assert state_of(runtime, acme, old) is RepositoryState.DESTROYED


@pytest.mark.parametrize("before", [False, True])
def test_a_drill_rehearses_what_counts_by_then(
    runtime: Runtime,
    acme: Tenant,
    point: Point,
    epoch: Act,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    old, row = vault(runtime, acme), drilling.ask(runtime, acme, point)
    at_the_lending(monkeypatch, epoch, before=before)

    row = drilling.carry_out(runtime, row)

    assert drilling.waits(row) == "repository-retired"  # and no failure of what is stored
    row = drilling.carry_out(runtime, row)
    assert drilling.passed(row)
    assert row.repository_id == vault(runtime, acme).row.id != old.site.row.id
    assert drilling.left(runtime) == []


def waits_for_its_reader(runtime: Runtime, tenant: Tenant, old: Vault, *, waits: bool) -> None:
    (row,) = rows_of(runtime, tenant, Rotation)
    code = (row.failure or {}).get("code")
    assert (row.state, code) == (
        (RotationState.WAITING, "old-epoch-read") if waits else (RotationState.DONE, None)
    )
    assert not waits or old.is_clean()


def nobody_reads(runtime: Runtime, tenant: Tenant, held: Vault) -> None:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        mine = update(Repository).where(Repository.id == held.site.row.id)
        session.execute(mine.values(read_until=None))


def state_of(runtime: Runtime, tenant: Tenant, held: Vault) -> RepositoryState:
    (row,) = rows_of(runtime, tenant, Repository, Repository.id == held.site.row.id)
    return RepositoryState(row.state)
