"""Regions that fail or lie: the backup goes elsewhere, the copy waits with its cause and catches up,
a restore takes the nearest verified copy and says what it passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backup import copies, findings, lags, runs, tasks
from backup.models import Copy, Finding, Point, Snapshot
from backup.states import CopyState, Decision, Outcome
from restore.states import Destination
from strongroom import dispatch
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, B, digest, in_front_of, restored, vault, vaults
from tests.cast import FakeClock, add_folder, back_up, fill, queue, rows_of
from tests.faults import (
    BROKEN_PAGE,
    EXPIRED,
    PAGE,
    Answer503,
    Cut,
    Delay,
    EmptyLists,
    Fault,
    Garble,
    Refuse,
)
from tests.restore.asking import give_back, report

FAULTS: dict[str, tuple[Fault, str]] = {
    "refused": (Refuse(), "storage-unreachable"),
    "overloaded": (Answer503(), "storage-unreachable"),
    "expired": (EXPIRED, "storage-denied"),
    "a page": (PAGE, "storage-unreachable"),
    "a broken page": (BROKEN_PAGE, "storage-unreachable"),
    "other bytes": (Garble(), "storage-untrue"),
    "cut off": (Cut(300), "storage-unreachable"),
    "empty listings": (EmptyLists(), "storage-untrue"),
    "half open": (Delay(3600), "storage-unreachable"),
}


@pytest.fixture(autouse=True)
def impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that hangs is left after two tries of three seconds, and not of thirty.

    Only where one hangs: a sound one may take longer on a busy machine.
    """
    if "half open" in request.node.name:
        monkeypatch.setattr("strongroom.credentials.READ_SECONDS", 3)


def ring(runtime: Runtime) -> list[Copy]:
    """The copies that a dispatcher would ring for now; each is carried out."""
    [due] = [each for each in tasks.DUES if each.kind is Copy]
    now = runtime.now()
    with runtime.database.session(Role.DISPATCHER) as session:
        found = dispatch.nudge(session, due, now=now, again=now - dispatch.RING_AGAIN)
    made = [copies.bring(runtime, tenant, subject) for tenant, subject in found]
    return [copy for copy in made if copy is not None]


def copy_in(runtime: Runtime, tenant: Tenant, point: Point, region: str) -> Copy:
    held = vault(runtime, tenant, region).site.row.id
    [copy] = rows_of(runtime, tenant, Copy, Copy.point_id == point.id, Copy.repository_id == held)
    return copy  # type: ignore[no-any-return]


def standing(runtime: Runtime, tenant: Tenant) -> int:
    return len(rows_of(runtime, tenant, Snapshot, Snapshot.standing()))


def some(names: Iterable[str], *telling: str) -> list[Any]:
    """All of them; the most telling ones in `make test` too."""
    long = pytest.mark.long
    return [pytest.param(each, marks=[] if each in telling else long) for each in names]


@pytest.mark.parametrize("name", some(FAULTS, "half open", "empty listings"))
def test_a_faulty_region_is_left_for_the_other_and_catches_up(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock, name: str
) -> None:
    fault, cause = FAULTS[name]
    source = add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="changed")
    known = standing(runtime, acme)

    with in_front_of(runtime, A) as proxy:
        proxy.fault = fault
        point = back_up(runtime, acme)
        waiting = copy_in(runtime, acme, point, A)
        assert standing(runtime, acme) == known + 1  # nothing was believed to be lost
        row = give_back(runtime, point, source, Destination.ASIDE)

    assert point.outcome is Outcome.COMPLETE
    assert copy_in(runtime, acme, point, B).state is CopyState.STORED
    assert waiting.state is CopyState.WAITING
    assert waiting.failure is not None
    assert waiting.failure["code"] == cause, waiting.failure
    assert (report(row)["region"], report(row)["verified"]) == (B, True)

    clock.forward(minutes=11)
    assert [each.id for each in ring(runtime)] == [waiting.id]
    for held in vaults(runtime, acme):
        assert restored(held, point, tmp_path / "back") == [digest(tmp_path / "files")]
        assert held.is_clean()


@pytest.mark.parametrize(
    "name",
    some(
        ["overloaded", "expired", "a page", "other bytes", "half open"], "overloaded", "other bytes"
    ),
)
def test_a_restore_passes_a_faulty_region_over_and_says_why(
    runtime: Runtime, acme: Tenant, tmp_path: Path, name: str
) -> None:
    fault, cause = FAULTS[name]
    source = add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)

    with in_front_of(runtime, A) as proxy:
        proxy.fault = fault
        row = give_back(runtime, point, source, Destination.ASIDE)

    assert report(row)["region"] == B
    assert report(row)["passed_over"] == [f"{A}: {cause}"]


@contextmanager
def changed(runtime: Runtime, region: str, **values: object) -> Iterator[None]:
    """The region's row is otherwise while the block runs."""
    with runtime.database.session(Role.OPERATOR) as session:
        row = session.query(Region).filter_by(name=region).one()
        before = {name: getattr(row, name) for name in values}
    for step in (values, before):
        with runtime.database.session(Role.OPERATOR) as session:
            session.execute(update(Region).where(Region.name == region).values(**step))
        if step is values:
            yield


def test_a_bucket_that_is_missing_is_not_made_and_the_other_region_is_used(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="changed")

    with changed(runtime, A, bucket="nowhere-at-all"):
        point = back_up(runtime, acme)
        waiting = copy_in(runtime, acme, point, A)
        row = give_back(runtime, point, source, Destination.ASIDE)
        assert not vault(runtime, acme, A).store.exists_bucket()

    assert copy_in(runtime, acme, point, B).state is CopyState.STORED
    assert waiting.failure is not None
    assert waiting.failure["code"] in ("storage-missing", "storage-denied")
    assert report(row)["region"] == B


def test_other_bytes_that_were_really_stored_there_are_found_out_before_anything_is_written(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="changed")
    held = vault(runtime, acme, A)
    held.store.put(f"{held.prefix}keys/{held.row.key_hint}", b"{}")
    before = held.packs()

    point = back_up(runtime, acme)

    waiting = copy_in(runtime, acme, point, A)
    assert waiting.failure is not None
    assert waiting.failure["code"] == "storage-untrue"
    assert held.packs() == before
    row = give_back(runtime, point, source, Destination.ASIDE)
    assert (report(row)["region"], report(row)["verified"]) == (B, True)


def test_wrong_root_credentials_are_found_out_before_restic_tries_them(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    roots = runtime.settings.regions
    wrong = {**roots, A: replace(roots[A], secret_key="0" * 40)}
    blind = replace(runtime, settings=replace(runtime.settings, regions=wrong))

    point = runs.make(blind, acme.id, queue(runtime, acme))

    assert point is not None
    assert copy_in(runtime, acme, point, B).state is CopyState.STORED
    assert copies.bring(blind, acme.id, copy_in(runtime, acme, point, A).id) is None
    waiting = copy_in(runtime, acme, point, A)
    assert waiting.failure is not None
    assert waiting.failure["code"] == "storage-denied"


def test_a_nearer_copy_that_is_not_verified_is_passed_over_and_the_report_says_so(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    source = add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    near = vault(runtime, acme, A).site.row.id
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.execute(
            update(Snapshot).where(Snapshot.repository_id == near).values(verified_at=None)
        )

    row = give_back(runtime, point, source, Destination.ASIDE)

    assert report(row)["region"] == B
    assert report(row)["passed_over"] == [f"{A}: not-verified"]


def open_lags(runtime: Runtime, tenant: Tenant) -> list[Finding]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return [row for row in findings.open_of(session, tenant.id) if row.code == lags.LAGS]


def test_lag_alone_is_a_finding_and_settles_when_the_copies_are_there(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    """Plan starter lets a tenant be without a newer point for 30 hours."""
    add_folder(runtime, acme, tmp_path / "files")
    with in_front_of(runtime, B) as proxy:
        proxy.fault = Refuse()
        back_up(runtime, acme)
        clock.forward(hours=29)
        assert ring(runtime) == []
        assert open_lags(runtime, acme) == []
        clock.forward(hours=2)
        assert ring(runtime) == []

    [lag] = open_lags(runtime, acme)
    assert (lag.subject, lag.params["copies"], lag.params["hours"]) == (B, 1, 30)
    assert not lag.freezes
    clock.forward(minutes=11)
    assert len(ring(runtime)) == 1
    assert open_lags(runtime, acme) == []
    [settled] = rows_of(runtime, acme, Finding, Finding.code == lags.LAGS)
    assert settled.decision is Decision.GONE
