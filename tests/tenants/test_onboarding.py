"""A tenant is there wholly or not at all."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import update

from backup.models import Policy, Repository, Schedule
from strongroom.db import Role
from strongroom.errors import BadValue, StrongroomError
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants import onboarding
from tenants.models import Tenant
from tests.cast import ACME, add_tenant, counts, rows_of


def test_a_new_tenant_has_a_key_a_policy_repositories_and_schedules(runtime: Runtime) -> None:
    tenant = add_tenant(runtime, ACME)

    assert len(rows_of(runtime, tenant, Policy)) == 1
    assert [row.state for row in rows_of(runtime, tenant, Repository)] == ["new", "new"]
    assert {row.cadence for row in rows_of(runtime, tenant, Schedule)} == {"daily", "weekly"}
    assert any(str(tenant.id) in path.name for path in runtime.settings.keys.rglob("*"))


def test_too_few_regions_leave_nothing_of_the_tenant(runtime: Runtime) -> None:
    before = counts(runtime)
    with runtime.database.session(Role.MIGRATOR) as session:
        session.execute(update(Region).where(Region.name == "region-b").values(state="closed"))

    with pytest.raises(BadValue, match="Only 1 can be taken: region-b is closed") as caught:
        add_tenant(runtime, ACME)

    assert caught.value.code == "too-few-regions"
    assert counts(runtime) == before


def test_a_key_store_that_refuses_leaves_nothing_of_the_tenant(runtime: Runtime) -> None:
    before = counts(runtime)
    runtime.settings.keys.parent.mkdir(exist_ok=True)
    runtime.settings.keys.write_text("a file is in the way")

    with pytest.raises((StrongroomError, OSError)):
        add_tenant(runtime, ACME)

    assert counts(runtime) == before


def test_of_two_with_one_slug_at_the_same_moment_one_comes_in(runtime: Runtime) -> None:
    said: list[str] = []

    def come(name: str) -> None:
        try:
            said.append(add_tenant(runtime, replace(ACME, name=name)).name)
        except BadValue as error:
            said.append(error.code)

    threads = [threading.Thread(target=come, args=(name,)) for name in ("One", "Two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert "slug-taken" in said
    assert counts(runtime)["tenants"] == 1


@pytest.mark.parametrize("slug", ["a", "a1", "acme-trading", "a" * 63, "1a"])
def test_slugs_that_are_fine(slug: str) -> None:
    onboarding.check(replace(ACME, slug=slug))


@pytest.mark.parametrize("locale", ["ar", "en", "ar-AE", "ar-EG", "en-GB", "zh-Hant-TW"])
def test_locales_that_are_fine(locale: str) -> None:
    onboarding.check(replace(ACME, locale=locale))


def test_a_tenant_of_another_name_is_not_found(runtime: Runtime, acme: Tenant) -> None:
    assert onboarding.named(runtime, "acme").id == acme.id
    with pytest.raises(BadValue, match="There is no tenant 'ACME'"):
        onboarding.named(runtime, "ACME")
