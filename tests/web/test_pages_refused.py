"""What is not for a role: the tenant's other pages stay at hand, and who could help is said."""

from __future__ import annotations

import pytest

from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.browser.words import said
from tests.people.cast import People, signed_in

REFUSED = ("/t/acme/search", "/t/acme/restores", "/t/acme/downloads")
HELP = "An owner or admin of this tenant can do it, or an owner gives you another role."


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("address", REFUSED)
def test_a_viewer_keeps_the_navigation_and_learns_who_helps(
    runtime: Runtime, acme: Tenant, address: str, language: str
) -> None:
    people = People(runtime)
    owner = people.member(acme, TenantRole.OWNER)
    viewer = signed_in(runtime, people.member(acme, TenantRole.VIEWER))

    answer = viewer.get(f"{address}?lang={language}")

    assert answer.status_code == 403
    for words in ("Restore points", "Who has access", HELP, "Account"):
        assert said(language, words) in answer.text
    assert 'href="/t/acme/"' in answer.text
    assert 'href="/t/acme/search"' not in answer.text
    assert owner.account.name not in answer.text
    assert owner.email not in answer.text


def test_what_only_owners_do_says_so_to_an_admin(runtime: Runtime, acme: Tenant) -> None:
    admin = signed_in(runtime, People(runtime).member(acme, TenantRole.ADMIN))

    answer = admin.post("/t/acme/access/members", on="/t/acme/access", email="a@example.org")

    assert answer.status_code == 403
    assert "An owner of this tenant can do it, or give you another role." in answer.text


def test_staff_learn_that_it_takes_a_grant(runtime: Runtime, acme: Tenant) -> None:
    operator = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))

    answer = operator.get("/t/acme/search")

    assert answer.status_code == 403
    assert "give you leave for a while by a support grant" in answer.text


def test_staff_who_can_ask_for_no_grant_are_not_told_to(runtime: Runtime, acme: Tenant) -> None:
    auditor = signed_in(runtime, People(runtime).staff(StaffRole.AUDITOR))

    answer = auditor.get("/t/acme/search")

    assert answer.status_code == 403
    assert "An owner or admin of this tenant can do it." in answer.text
    assert "support grant" not in answer.text


def test_support_without_a_grant_is_offered_no_page_that_it_may_not_open(
    runtime: Runtime, acme: Tenant
) -> None:
    support = signed_in(runtime, People(runtime).staff(StaffRole.SUPPORT))

    answer = support.get("/t/acme/search")

    assert "support grant" in answer.text
    assert 'class="act"' not in answer.text


def test_a_page_that_was_too_old_says_that(runtime: Runtime, acme: Tenant) -> None:
    owner = signed_in(runtime, People(runtime).member(acme, TenantRole.OWNER))

    answer = owner.client.post("/t/acme/access/contact", data={"csrf": "old"})

    assert answer.status_code == 403
    assert "the page was too old" in answer.text


def test_another_tenant_learns_nothing(runtime: Runtime, acme: Tenant, bolt: Tenant) -> None:
    viewer = signed_in(runtime, People(runtime).member(bolt, TenantRole.VIEWER))

    answer = viewer.get("/t/acme/search")

    assert answer.status_code == 404
    assert acme.name not in answer.text
