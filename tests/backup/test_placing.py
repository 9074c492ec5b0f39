"""A copy never lands where the tenant's data may not lie, whatever was changed in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from backup import copies, findings, leases, placing, runs
from backup.models import Copy, Finding, Point, Policy, Repository
from backup.placement import TooFewRegions
from backup.placing import RegionNotAllowed
from backup.policy import Placement
from backup.states import CopyState, RunState
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.ids import new_id
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime
from tenants import plan_changes, plans
from tenants.models import Tenant
from tests.backup.vaults import A, B, set_policy, vault
from tests.cast import ACME, ADA, FakeClock, add_folder, add_tenant, fill, queue, rows_of, run_of

[STARTER] = [plan for plan in plans.read(plans.SHIPPED) if plan.code == "starter"]
GULF = replace(ACME, keep_in=("AE", "SA"))


def move(runtime: Runtime, region: str, **values: object) -> None:
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(Region).where(Region.name == region).values(**values))


def objects(runtime: Runtime, tenant: Tenant, region: str) -> list[str]:
    """Every version of every object below the repository's prefix."""
    held = vault(runtime, tenant, region)
    return [f"{each.key} {each.version_id}" for each in held.store.versions(held.prefix)]


def open_codes(runtime: Runtime, tenant: Tenant) -> list[str]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return [row.code for row in findings.open_of(session, tenant.id)]


def stored(runtime: Runtime, tenant: Tenant, folder: Path) -> tuple[Point, Copy]:
    """A point in region A, and the copy that waits for region B."""
    add_folder(runtime, tenant, folder)
    point = runs.make(runtime, tenant.id, queue(runtime, tenant))
    assert point is not None
    [waiting] = rows_of(runtime, tenant, Copy, Copy.state == CopyState.WAITING)
    return point, waiting


def by_hand(runtime: Runtime, tenant: Tenant) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        session.execute(text("update tenants set keep_in = '[\"AE\"]'"))


def by_policy(runtime: Runtime, tenant: Tenant) -> None:
    set_policy(runtime, tenant, placement={"countries": ["AE"]})


def by_region(runtime: Runtime, _tenant: Tenant) -> None:
    move(runtime, B, country="DE")


def by_silence(runtime: Runtime, _tenant: Tenant) -> None:
    move(runtime, B, country=None)


def by_swap(runtime: Runtime, tenant: Tenant) -> None:
    """The copy's repository is made to lie in another region, in another country."""
    with runtime.database.session(Role.OPERATOR) as session:
        row = session.query(Region).filter_by(name=B).one()
        other = new_id()
        values = {c.key: getattr(row, c.key) for c in Region.__table__.columns}
        session.add(Region(**values | {"id": other, "name": "region-x", "country": "DE"}))
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        held = session.query(Repository).filter_by(region_id=row.id)
        held.update({"region_id": other})


@pytest.mark.parametrize("change", [by_hand, by_policy, by_region, by_silence, by_swap])
def test_a_copy_that_waits_is_refused_where_the_data_may_no_longer_lie(
    runtime: Runtime, tmp_path: Path, change: Any
) -> None:
    tenant = add_tenant(runtime, GULF)
    _, waiting = stored(runtime, tenant, tmp_path / "files")
    before = objects(runtime, tenant, B)
    held = vault(runtime, tenant, B)

    change(runtime, tenant)
    assert copies.bring(runtime, tenant.id, waiting.id) is None

    [copy] = rows_of(runtime, tenant, Copy, Copy.id == waiting.id)
    assert copy.state is CopyState.WAITING
    assert copy.failure["code"] == placing.NOT_ALLOWED
    assert "Nothing was written" in copy.failure["message"]
    assert placing.NOT_ALLOWED in open_codes(runtime, tenant)
    listed = [f"{each.key} {each.version_id}" for each in held.store.versions(held.prefix)]
    assert listed == before == []


def test_a_copy_goes_on_and_the_finding_settles_once_the_region_is_set_right(
    runtime: Runtime, tmp_path: Path
) -> None:
    tenant = add_tenant(runtime, GULF)
    _, waiting = stored(runtime, tenant, tmp_path / "files")
    move(runtime, B, country="DE")
    copies.bring(runtime, tenant.id, waiting.id)

    move(runtime, B, country="SA")

    assert copies.bring(runtime, tenant.id, waiting.id) is not None
    assert open_codes(runtime, tenant) == []
    assert [row.code for row in rows_of(runtime, tenant, Finding)] == [placing.NOT_ALLOWED]


def test_a_run_stores_where_it_may_and_never_in_the_region_that_comes_first(
    runtime: Runtime, tmp_path: Path
) -> None:
    tenant = add_tenant(runtime, GULF)
    add_folder(runtime, tenant, tmp_path / "files")
    move(runtime, A, country="DE")

    point = runs.make(runtime, tenant.id, queue(runtime, tenant))

    assert point is not None
    assert objects(runtime, tenant, A) == []
    assert objects(runtime, tenant, B) != []


def test_a_run_that_may_store_nowhere_fails_and_says_so(runtime: Runtime, tmp_path: Path) -> None:
    tenant = add_tenant(runtime, GULF)
    add_folder(runtime, tenant, tmp_path / "files")
    for region in (A, B):
        move(runtime, region, country="DE")
    run_id = queue(runtime, tenant)

    assert runs.make(runtime, tenant.id, run_id) is None

    run = run_of(runtime, tenant, run_id)
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure["code"] == placing.NOT_ALLOWED
    assert [objects(runtime, tenant, region) for region in (A, B)] == [[], []]


def test_no_repository_is_founded_where_the_data_may_not_lie_even_by_who_brings_none(
    runtime: Runtime, acme: Tenant
) -> None:
    set_policy(runtime, acme, placement={"countries": ["AE"]})
    held = vault(runtime, acme, B)

    with (
        pytest.raises(RegionNotAllowed),
        leases.leased(runtime, acme.id, held.site.row.id, adding=False),
    ):
        raise AssertionError

    assert objects(runtime, acme, B) == []


def test_onboarding_takes_only_regions_of_the_tenants_countries(runtime: Runtime) -> None:
    with pytest.raises(TooFewRegions, match="region-b lies in SA"):
        add_tenant(runtime, replace(ACME, keep_in=("AE",)))

    with pytest.raises(BadValue, match="no country of ISO 3166"):
        add_tenant(runtime, replace(ACME, keep_in=("ae",)))


@pytest.fixture
def new_plans(runtime: Runtime) -> None:
    """`gulf` keeps to two countries, `far` wants 600 km, `abroad` one country elsewhere."""
    rules: Mapping[str, Placement] = {
        "gulf": Placement(countries=("AE", "BH")),
        "far": Placement(600),
        "further": Placement(2000),
        "abroad": Placement(countries=("DE",)),
    }
    made = [
        replace(STARTER, code=code, policy=replace(STARTER.policy, placement=rule))
        for code, rule in rules.items()
    ]
    with runtime.database.session(Role.OPERATOR) as session:
        plans.apply(session, made, now=runtime.now())


def add_region(runtime: Runtime, name: str, **values: object) -> None:
    """Another name for region B's bucket: which place it stands for is what counts here."""
    with runtime.database.session(Role.OPERATOR) as session:
        row = session.query(Region).filter_by(name=B).one()
        like = {key: getattr(row, key) for key in ("endpoint", "bucket", "location", "role_arn")}
        session.add(
            Region(
                id=new_id(),
                name=name,
                rank=9,
                state=RegionState.OPEN,
                created_at=runtime.now(),
                bandwidth=[],
                **like,
                **values,
            )
        )


@pytest.mark.usefixtures("new_plans")
def test_a_plan_with_distances_takes_what_is_far_enough_and_refuses_what_is_not(
    runtime: Runtime,
) -> None:
    assert add_tenant(runtime, replace(ACME, plan="far")) is not None

    with pytest.raises(TooFewRegions, match="region-b is 868 km from region-a"):
        add_tenant(runtime, replace(ACME, slug="bolt", plan="further"))


@pytest.mark.usefixtures("new_plans")
def test_a_plan_whose_rules_no_regions_keep_moves_nobody(runtime: Runtime, acme: Tenant) -> None:
    with pytest.raises(TooFewRegions, match="868 km"):
        plan_changes.change(runtime, acme, "further", by=ADA)

    assert [row.cites for row in rows_of(runtime, acme, Policy)] == ["plan starter v1"]
    assert len(rows_of(runtime, acme, Repository)) == 2


@pytest.mark.usefixtures("new_plans")
def test_a_plan_and_a_tenant_that_leave_no_country_are_refused(runtime: Runtime) -> None:
    with pytest.raises(BadValue, match="Choose another plan") as caught:
        add_tenant(runtime, replace(GULF, plan="abroad"))

    assert caught.value.code == "nowhere-allowed"


@pytest.mark.usefixtures("new_plans")
def test_a_plan_that_leaves_a_region_behind_brings_copies_to_another_and_none_there(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    point, _ = stored(runtime, acme, tmp_path / "files")
    add_region(runtime, "region-c", country="BH", latitude=26.2, longitude=50.6)
    roots = runtime.settings.regions
    runtime = replace(
        runtime, settings=replace(runtime.settings, regions={**roots, "region-c": roots[B]})
    )

    plan_changes.change(runtime, acme, "gulf", by=ADA)

    left = vault(runtime, acme, B).site.row.id
    new = vault(runtime, acme, "region-c").site.row.id
    [waiting] = rows_of(runtime, acme, Copy, Copy.repository_id == new)
    assert copies.bring(runtime, acme.id, waiting.id) is not None
    [never] = rows_of(runtime, acme, Copy, Copy.repository_id == left)
    assert never.state is CopyState.REMOVED  # it waited, and is not waited for any more
    fill(tmp_path / "files", words="changed")
    later = runs.make(runtime, acme.id, queue(runtime, acme))
    assert later is not None
    assert rows_of(runtime, acme, Copy, Copy.repository_id == left, Copy.point_id == later.id) == []
    brought = rows_of(runtime, acme, Copy, Copy.repository_id == new, Copy.point_id == point.id)
    assert [copy.state for copy in brought] == [CopyState.STORED]


def test_copies_that_came_too_near_one_another_are_a_finding_and_go_on(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    set_policy(runtime, acme, placement={"least_km": 600})
    _, waiting = stored(runtime, acme, tmp_path / "files")
    assert open_codes(runtime, acme) == []
    move(runtime, B, latitude=25.3, longitude=55.4)

    assert copies.bring(runtime, acme.id, waiting.id) is not None
    assert open_codes(runtime, acme) == [placing.TOO_NEAR]

    move(runtime, B, latitude=24.7, longitude=46.7)
    fill(tmp_path / "files", words="changed")
    assert runs.make(runtime, acme.id, queue(runtime, acme)) is not None
    assert open_codes(runtime, acme) == []
