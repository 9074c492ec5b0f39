"""The machine is lost after an epoch was left: what is found in the buckets is the one that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup import rotation
from backup.models import Copy, Rotation
from backup.rotation import Asked
from backup.states import CopyState, RotationKind, RotationState
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants import records
from tenants.models import Tenant
from tests.backup.vaults import vaults
from tests.cast import ACME, ADA, add_folder, add_tenant, back_up, fill, rows_of
from tests.end_to_end.losses import Company, company, given, upkeep
from tests.end_to_end.test_recovery import newest, tenants_of, the_folder_is_whole


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path / "company") as made:
        yield made


def renew(runtime: Runtime, tenant: Tenant) -> list[Rotation]:
    """A new epoch in each region."""
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        asked = Asked(RotationKind.EPOCH)
        rows = rotation.ask(session, tenant.id, asked, by=ADA, now=runtime.now())
        ids = [row.id for row in rows]
    for each in ids:
        rotation.rotate(runtime, tenant.id, each)
    return rows_of(runtime, tenant, Rotation)


def after_the_dump(platform: Runtime, acme: Tenant, files: Path) -> None:
    """New epochs, and a point in them."""
    fill(files, files=9, words="written since")
    back_up(platform, acme)
    done = renew(platform, acme)
    assert {row.state for row in done} == {RotationState.DONE}, [row.failure for row in done]
    fill(files, files=7, words="in the new epoch")
    back_up(platform, acme)


def is_back(after: Runtime, files: Path, to: Path, *, points: int) -> None:
    acme = tenants_of(after)["acme"]
    assert [each.row.epoch for each in vaults(after, acme)] == [2, 2]
    assert len({row.point_id for row in rows_of(after, acme, Copy)}) == points
    copies = rows_of(after, acme, Copy)
    assert {row.state for row in copies} == {CopyState.STORED}
    assert len(copies) == 2 * points
    the_folder_is_whole(after, acme, files, to)
    fill(files, files=3, words="after the loss")
    back_up(after, acme)
    assert newest(after, acme).number == points + 1
    the_folder_is_whole(after, acme, files, to)


@pytest.mark.parametrize("dumped", [True, pytest.param(False, marks=pytest.mark.long)])
def test_after_a_loss_the_new_epochs_are_found_though_the_dump_knows_the_old_ones(
    lost: Company, tmp_path: Path, dumped: bool
) -> None:
    files = tmp_path / "files"
    with lost.platform("home") as before:
        acme = add_tenant(before, ACME)
        add_folder(before, acme, files)
        back_up(before, acme)
        shares = lost.ceremony(before)
        if dumped:
            upkeep(before)
        after_the_dump(before, acme, files)
        if not dumped:
            records.refresh(before, acme.id)
    lost.lose("home")

    said = lost.recover("home", *given(shares[1:4]))

    assert said.code == 0, said
    with lost.platform("home") as after:
        is_back(after, files, tmp_path / "back", points=3)
