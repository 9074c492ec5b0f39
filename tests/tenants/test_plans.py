"""Plans: versions that nobody changes, and that move nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants import plans
from tenants.models import PlanVersion, Tenant
from tenants.plans import Applied, BadPlan, Plan

SHIPPED = plans.read(plans.SHIPPED)
[STARTER] = [plan for plan in SHIPPED if plan.code == "starter"]


def apply(runtime: Runtime, *wanted: Plan) -> list[Applied]:
    with runtime.database.session(Role.OPERATOR) as session:
        return plans.apply(session, wanted, now=runtime.now())


def changed(plan: Plan, **values: object) -> Plan:
    return replace(plan, policy=replace(plan.policy, **values))  # type: ignore[arg-type]


def test_three_plans_ship_with_names_in_both_languages() -> None:
    assert [plan.code for plan in SHIPPED] == ["starter", "business", "enterprise"]
    assert all(set(plan.name) >= {"en", "ar"} for plan in SHIPPED)


def test_the_shipped_plans_are_there_and_the_same_again_makes_no_version(runtime: Runtime) -> None:
    assert apply(runtime, *SHIPPED) == [Applied(plan.code, 1, changed=False) for plan in SHIPPED]


def test_a_change_makes_a_version_and_moves_nobody(runtime: Runtime, acme: Tenant) -> None:
    assert apply(runtime, changed(STARTER, floor=9)) == [Applied("starter", 2, changed=True)]

    with runtime.database.session(Role.OPERATOR) as session:
        assert plans.named(session, "starter").version == 2
        on = session.get_one(PlanVersion, session.get_one(Tenant, acme.id).plan_version_id)
        assert (on.code, on.version) == ("starter", 1)


def test_going_back_is_a_version_too(runtime: Runtime) -> None:
    apply(runtime, changed(STARTER, floor=9))

    assert apply(runtime, STARTER) == [Applied("starter", 3, changed=True)]


def test_a_file_with_plans_of_ones_own_is_read(tmp_path: Path) -> None:
    text = plans.SHIPPED.read_text(encoding="utf-8").replace("[starter", "[basic")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")

    assert next(plan.code for plan in plans.read(tmp_path / "mine.toml")) == "basic"


def test_what_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe[")

    with pytest.raises(BadPlan, match="is not TOML"):
        plans.read(tmp_path / "mine.toml")
