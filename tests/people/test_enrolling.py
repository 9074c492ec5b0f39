"""Links, first passwords, and setting up second factors."""

from __future__ import annotations

import re
from typing import Any

import pyotp
import pytest
from sqlalchemy import select

from strongroom.db import Role
from strongroom.people import links
from strongroom.people.errors import NotProven
from strongroom.people.models import Account, LinkPurpose, TotpFactor
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.people.authenticator import Authenticator
from tests.people.cast import (
    PASSWORD,
    SOMEBODY,
    Browser,
    People,
    Somebody,
    browser,
    form_token,
    signed_in,
)


def link_for(runtime: Runtime, who: Somebody, purpose: LinkPurpose = LinkPurpose.INVITE) -> str:
    with runtime.database.session(Role.PEOPLE) as db:
        account = db.get_one(Account, who.account.id)
        by = SOMEBODY.of_person(who.account.id)
        token = links.make(db, account, purpose, by=by, now=runtime.now())
    return f"/link/{token}"


def test_an_invitation_leads_through_password_and_app_to_the_console(
    runtime: Runtime, acme: Tenant
) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR, app=False)
    address, visitor = link_for(runtime, ada), browser(runtime)

    assert visitor.post(address, on=address).headers["Location"] == "/begin"
    new = "another rope and a map"
    visitor.post("/begin/password", on="/begin", password=new, again=new)
    page = visitor.get("/account/app").text
    secret = re.search(r'class="key">([A-Z2-7 ]+)<', page)
    assert secret is not None
    assert "<svg" in page
    code = pyotp.TOTP(secret[1].replace(" ", "")).at(runtime.now())
    done = visitor.client.post("/account/app", data={"csrf": form_token(page), "code": code})

    assert len(re.findall(r"<code dir=\"ltr\">[a-z2-7]{4}(-[a-z2-7]{4}){3}<", done.text)) == 10
    assert "Acme" in visitor.get("/tenants").text
    assert browser(runtime).sign_in(ada).status_code == 401  # the password from before
    again = browser(runtime)
    assert again.sign_in(ada, new).headers["Location"] == "/sign-in/second"


def test_a_link_opens_once_and_not_after_its_end_or_a_newer_one(
    runtime: Runtime, clock: FakeClock
) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    replaced, used = link_for(runtime, ada), link_for(runtime, ada)

    def opens(address: str) -> bool:
        visitor = browser(runtime)
        return visitor.post(address, on="/sign-in").status_code == 303

    assert not opens(replaced)
    assert browser(runtime).get(used).status_code == 200  # looked at, and not used up
    assert opens(used)
    assert not opens(used)
    late = link_for(runtime, ada)
    clock.forward(days=3, minutes=1)
    assert not opens(late)
    assert not opens("/link/made-up")


def test_an_invitation_does_not_go_around_the_second_factor(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    address, visitor = link_for(runtime, ada), browser(runtime)
    visitor.post(address, on=address)

    assert visitor.get("/account/app").headers["Location"] == "/begin"
    visitor.post("/begin/password", on="/begin", password=PASSWORD, again=PASSWORD)

    assert visitor.get("/tenants").headers["Location"].startswith("/sign-in/second")
    assert visitor.second(ada.code(runtime.now())).status_code == 303


def test_a_link_that_signs_in_at_once_is_taken_in_demo_homes_only(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    address = link_for(runtime, ada, LinkPurpose.SIGN_IN)

    assert not runtime.settings.demo
    assert browser(runtime).post(address, on="/sign-in").status_code == 401


def test_the_first_link_of_all_is_void_once_somebody_can_sign_in(runtime: Runtime) -> None:
    people = People(runtime)
    first = people.staff(StaffRole.OPERATOR)
    with runtime.database.session(Role.PEOPLE) as db:
        account = db.get_one(Account, first.account.id)
        now = runtime.now()
        token = links.make(db, account, LinkPurpose.INVITE, by=SOMEBODY, now=now)

    with runtime.database.session(Role.PEOPLE) as db, pytest.raises(NotProven):
        links.redeem(db, token, now=runtime.now())


def test_passwords_that_are_short_or_unequal_are_refused(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR, app=False)
    address, visitor = link_for(runtime, ada), browser(runtime)
    visitor.post(address, on=address)

    for one, two in (("short", "short"), (PASSWORD, f"{PASSWORD}."), ("x" * 201, "x" * 201)):
        answer = visitor.post("/begin/password", on="/begin", password=one, again=two)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text


def test_the_secret_of_an_app_rests_wrapped(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)

    with runtime.database.session(Role.PEOPLE) as db:
        row = db.execute(select(TotpFactor)).scalar_one()
        stored = str(row.sealed)

    assert ada.secret not in stored
    assert row.sealed["ciphertext"]


def test_another_app_takes_a_step_up_and_voids_the_first(
    runtime: Runtime, clock: FakeClock
) -> None:
    who = People(runtime).staff(StaffRole.OPERATOR)
    old = signed_in(runtime, who, stepped_up=False)
    assert old.get("/account/app").headers["Location"].startswith("/step-up")
    ada, elsewhere = signed_in(runtime, who), signed_in(runtime, who)

    page = ada.get("/account/app").text
    secret = re.search(r'class="key">([A-Z2-7 ]+)<', page)
    assert secret is not None
    code = pyotp.TOTP(secret[1].replace(" ", "")).at(runtime.now())
    ada.client.post("/account/app", data={"csrf": form_token(page), "code": code})

    clock.forward(minutes=1)
    fresh = browser(runtime)
    fresh.sign_in(who)
    assert fresh.second(who.code(runtime.now())).status_code == 401
    assert elsewhere.get("/tenants").status_code == 303  # whoever else was signed in is out


def post_json(visitor: Browser, address: str, answer: Any = None) -> Any:
    headers = {"X-Csrf": visitor.token_of("/account/") or visitor.token_of("/sign-in/second")}
    return visitor.client.post(address, json=answer or {}, headers=headers)


def registered(runtime: Runtime, who: Somebody) -> tuple[Authenticator, Any]:
    visitor, key = signed_in(runtime, who), Authenticator()
    options = post_json(visitor, "/account/passkeys/options").json
    return key, post_json(visitor, "/account/passkeys?name=blue", key.create(options))


def test_a_passkey_is_set_up_and_opens_as_a_second_factor(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    key, done = registered(runtime, ada)
    assert done.json["ok"]

    visitor = browser(runtime)
    visitor.sign_in(ada)
    before = visitor.cookie
    options = post_json(visitor, "/passkey/options").json
    answer = post_json(visitor, "/passkey", key.get(options))

    assert answer.json == {"ok": True, "next": "/"}
    assert visitor.cookie != before
    assert visitor.get("/tenants").status_code == 200
    assert "blue" in visitor.get("/account/").text


def test_an_answer_of_a_passkey_opens_once_in_its_own_session_and_for_our_origin_alone(
    runtime: Runtime, clock: FakeClock
) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    key, _ = registered(runtime, ada)
    one, other = browser(runtime), browser(runtime)
    one.sign_in(ada)
    other.sign_in(ada)

    def tried(visitor: Browser, answer: Any) -> int:
        return int(post_json(visitor, "/passkey", answer).status_code)

    mine = key.get(post_json(one, "/passkey/options").json)
    post_json(other, "/passkey/options")
    assert tried(other, mine) == 401  # another session's challenge
    away = Authenticator("http://evil.example", key.id)
    away._key = key._key
    assert tried(one, away.get(post_json(one, "/passkey/options").json)) == 401
    assert tried(one, mine) == 401  # used up by the try before
    stranger = Authenticator()
    assert tried(one, stranger.get(post_json(one, "/passkey/options").json)) == 401
    late = key.get(post_json(one, "/passkey/options").json)
    clock.forward(minutes=6)
    assert tried(one, late) == 401
    for odd in ({}, {"id": 7}, {"id": "%%%", "response": None}):
        post_json(one, "/passkey/options")
        assert post_json(other, "/passkey", odd).status_code == 401


def test_an_authenticator_that_was_copied_is_noticed(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    key, _ = registered(runtime, ada)
    for count, code in ((4, 200), (2, 401)):
        key.count = count
        visitor = browser(runtime)
        visitor.sign_in(ada)
        answer = key.get(post_json(visitor, "/passkey/options").json)
        assert post_json(visitor, "/passkey", answer).status_code == code


def test_language_and_zone_are_kept_with_the_account(runtime: Runtime, acme: Tenant) -> None:
    viewer = People(runtime).member(acme, TenantRole.VIEWER, app=False)
    visitor = browser(runtime)
    visitor.sign_in(viewer)

    visitor.post("/account/wishes", on="/account/", locale="ar", zone="Africa/Cairo")

    assert '<html lang="ar" dir="rtl">' in visitor.get("/t/acme/").text
    odd = visitor.post("/account/wishes", on="/account/", locale="xx", zone="Mars/Base")
    assert odd.status_code == 422


def test_a_token_of_the_command_line_is_shown_once_and_only_after_a_step_up(
    runtime: Runtime,
) -> None:
    who = People(runtime).staff(StaffRole.OPERATOR)
    stale = signed_in(runtime, who, stepped_up=False)
    assert stale.post("/account/tokens", on="/account/").status_code == 303

    ada = signed_in(runtime, who)
    page = ada.post("/account/tokens", on="/account/").text
    token = re.search(r'class="key">([\w-]{43})<', page)

    assert token is not None
    assert token[1] not in ada.get("/account/").text
