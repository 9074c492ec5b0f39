"""Another plan: refused while it would remove anything; more regions bring copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup.models import Copy, Policy, Repository
from backup.retention import Keep
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants import plan_changes, plans
from tenants.models import Tenant
from tenants.plan_changes import WouldRemove
from tests import cast
from tests.cast import ADA, FakeClock, rows_of

[STARTER] = [plan for plan in plans.read(plans.SHIPPED) if plan.code == "starter"]


@pytest.fixture
def new_plans(runtime: Runtime) -> None:
    """`alone` has one region, `stingy` keeps next to nothing."""
    alone = replace(STARTER, code="alone", policy=replace(STARTER.policy, regions=1))
    little = replace(STARTER.policy, retention=Keep(daily=1), floor=1)
    with runtime.database.session(Role.OPERATOR) as session:
        wanted = [alone, replace(STARTER, code="stingy", policy=little)]
        plans.apply(session, wanted, now=runtime.now())


@pytest.mark.usefixtures("new_plans")
def test_a_change_that_would_remove_points_is_refused_and_lists_them(
    runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    cast.add_folder(runtime, acme, tmp_path / "srv")
    cast.back_up(runtime, acme, trigger=cast.Trigger.SCHEDULE)
    clock.forward(days=1)
    (tmp_path / "srv" / "more.txt").write_text("more")
    cast.back_up(runtime, acme, trigger=cast.Trigger.SCHEDULE)
    before = [row.version for row in rows_of(runtime, acme, Policy)]

    with pytest.raises(WouldRemove, match="would remove 1 points of acme") as caught:
        plan_changes.change(runtime, acme, "stingy", by=ADA)

    assert (caught.value.exit_code, caught.value.params["points"]) == (4, [1])
    assert [v.point.number for v in plan_changes.preview(runtime, acme, "stingy").losing] == [1]
    assert [row.version for row in rows_of(runtime, acme, Policy)] == before


def test_a_richer_plan_is_a_new_policy_that_cites_it(runtime: Runtime, acme: Tenant) -> None:
    plan_changes.change(runtime, acme, "business", by=ADA)

    newest = rows_of(runtime, acme, Policy)[-1]
    assert (newest.version, newest.cites) == (2, "plan business v1")


@pytest.mark.usefixtures("new_plans")
def test_more_regions_bring_copies_of_the_points_that_are_there(
    runtime: Runtime, tmp_path: Path
) -> None:
    tenant = cast.add_tenant(runtime, replace(cast.ACME, plan="alone"))
    cast.add_folder(runtime, tenant, tmp_path / "srv")
    point = cast.back_up(runtime, tenant)
    assert len(rows_of(runtime, tenant, Copy)) == 1

    plan_changes.change(runtime, tenant, "starter", by=ADA)

    assert len(rows_of(runtime, tenant, Repository)) == 2
    [_, copy] = rows_of(runtime, tenant, Copy)
    assert (copy.point_id, copy.state) == (point.id, "waiting")
    cast.tasks.follow(runtime, point)
    assert [row.state for row in rows_of(runtime, tenant, Copy)] == ["stored", "stored"]


@pytest.mark.usefixtures("new_plans")
def test_fewer_regions_take_no_copy_away(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    cast.add_folder(runtime, acme, tmp_path / "srv")
    cast.back_up(runtime, acme)

    plan_changes.change(runtime, acme, "alone", by=ADA)

    assert [row.state for row in rows_of(runtime, acme, Copy)] == ["stored", "stored"]


def test_the_same_change_twice_is_harmless(runtime: Runtime, acme: Tenant) -> None:
    for _ in range(2):
        plan_changes.change(runtime, acme, "business", by=ADA)

    assert len(rows_of(runtime, acme, Repository)) == 2
