"""Calls of restic are held back as the region's hours say, from one call to the next."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from backup import copies, leases, runs
from backup.restic import calls
from backup.restic.calls import Call
from backup.states import CopyState
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, B, vault
from tests.cast import FakeClock, add_folder, queue, rows_of

OFFICE = {"from": "08:00", "to": "18:00", "zone": "UTC", "upload_kib": 4096, "download_kib": 2048}


def hold_back(runtime: Runtime, region: str, *windows: dict[str, object]) -> None:
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(Region).where(Region.name == region).values(bandwidth=list(windows)))


def test_the_hour_of_the_call_counts_and_not_that_of_the_lease(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    hold_back(runtime, A, OFFICE)
    held = vault(runtime, acme, A)
    seen = []
    with leases.leased(runtime, acme.id, held.site.row.id) as leased:
        for hour in (7, 12, 18):
            clock.stop_at(datetime(2030, 1, 10, hour, tzinfo=UTC))
            seen.append((leased.restic.upload_kib, leased.restic.download_kib))

    assert seen == [(None, None), (4096, 2048), (None, None)]


def test_restic_is_told_the_limits_and_when_a_request_is_stuck(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    hold_back(runtime, A, OFFICE)
    held = vault(runtime, acme, A)
    clock.stop_at(datetime(2030, 1, 10, 12, tzinfo=UTC))

    repository = held.site.restic_with(held.store._credentials)
    argv = calls._common(Call("cat", [], repository))

    assert {"--limit-upload=4096", "--limit-download=2048", "--stuck-request-timeout=30s"} <= {
        *argv
    }


def test_a_backup_and_a_copy_go_through_held_back(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a copy, the lesser limit of what is read from both sides counts."""
    always = {"from": "00:00", "to": "00:00", "zone": "UTC"}
    hold_back(runtime, A, {**always, "download_kib": 8192})
    hold_back(runtime, B, {**always, "upload_kib": 9000, "download_kib": 9001})
    add_folder(runtime, acme, tmp_path / "files")
    point = runs.make(runtime, acme.id, queue(runtime, acme))
    assert point is not None
    told: list[tuple[str, list[str]]] = []
    common = calls._common

    def listening(call: Call) -> list[str]:
        found = common(call)
        told.append((call.command, [flag for flag in found if flag.startswith("--limit")]))
        return found

    monkeypatch.setattr(calls, "_common", listening)
    [waiting] = rows_of(runtime, acme, copies.Copy, copies.Copy.state == CopyState.WAITING)
    assert copies.bring(runtime, acme.id, waiting.id) is not None

    assert ("copy", ["--limit-upload=9000", "--limit-download=8192"]) in told
