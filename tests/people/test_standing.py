"""Whether somebody whom a record names may still do what they asked for."""

from __future__ import annotations

import pytest

from strongroom.actors import WORKER, Actor
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.people import standing
from strongroom.people.rules import Action, StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import ADA
from tests.people.cast import People


def still(runtime: Runtime, tenant: Tenant, actor: object) -> bool:
    with runtime.database.session(Role.PEOPLE, tenant=tenant.id) as db:
        return standing.may_still(
            db, str(actor), tenant.id, Action.RESTORE_IN_PLACE, now=runtime.now()
        )


def test_by_the_role_in_this_very_tenant(runtime: Runtime, acme: Tenant, bolt: Tenant) -> None:
    people = People(runtime)
    admin, viewer = (people.member(acme, role) for role in (TenantRole.ADMIN, TenantRole.VIEWER))
    operator, auditor = people.staff(StaffRole.OPERATOR), people.staff(StaffRole.AUDITOR)
    named = [Actor.of_person(each.account.id) for each in (admin, viewer, operator, auditor)]

    assert [still(runtime, acme, each) for each in named] == [True, False, True, False]
    assert [still(runtime, bolt, each) for each in named] == [False, False, True, False]


@pytest.mark.parametrize("actor", [ADA, WORKER])
def test_the_local_socket_and_the_platform_itself(
    runtime: Runtime, acme: Tenant, actor: Actor
) -> None:
    assert still(runtime, acme, actor)


def test_nobody_who_is_not_there(runtime: Runtime, acme: Tenant) -> None:
    assert not still(runtime, acme, Actor.of_person(new_id()))
