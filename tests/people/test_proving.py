"""The page that asks for a proof says what it is for, in words of ours and nobody else's."""

from __future__ import annotations

import pytest

from strongroom.people.rules import RULES, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.browser.words import said
from tests.people.cast import Browser, People, signed_in
from web.pages import proving

GENERAL = "What you asked for is only done after a second proof"


@pytest.fixture
def owner(runtime: Runtime, acme: Tenant) -> Browser:
    who = People(runtime).member(acme, TenantRole.OWNER)
    return signed_in(runtime, who, stepped_up=False)


def test_every_action_that_takes_a_proof_has_words() -> None:
    assert {action for action, rule in RULES.items() if rule.step_up} <= set(proving.WORDS)


@pytest.mark.parametrize("language", ["en", "ar"])
def test_it_says_for_what_the_person_proves_themselves(owner: Browser, language: str) -> None:
    sent = owner.post("/t/acme/access/contact", on="/t/acme/access", name="x")
    assert sent.headers["Location"] == "/step-up?next=/t/acme/access&for=set-contact"

    page = owner.get(f"{sent.headers['Location']}&lang={language}").text

    assert said(language, proving.WORDS["set-contact"]) in page


def test_a_wrong_code_does_not_make_it_forget(owner: Browser) -> None:
    fields = {"code": "000000", "for": "set-contact", "next": "/t/acme/access"}

    page = owner.post("/step-up", on="/step-up", **fields).text

    assert proving.WORDS["set-contact"] in page
    assert 'name="for" value="set-contact"' in page


@pytest.mark.parametrize("code", ["send-us-money", "<script>", "SET-CONTACT", ""])
def test_nothing_from_the_address_is_shown(owner: Browser, code: str) -> None:
    page = owner.get("/step-up", query_string={"for": code}).text
    shown = page.partition("<main")[2].partition("</main>")[0]

    assert GENERAL in shown
    assert 'name="for"' not in shown
    assert not code or code not in shown


def test_changes_to_ones_own_sign_in_say_so_too(owner: Browser) -> None:
    for address, words in (("/account/tokens", proving.TOKEN), ("/account/password", proving.OWN)):
        sent = owner.post(address, on="/account/")
        assert sent.headers["Location"].endswith(f"for={words}")
