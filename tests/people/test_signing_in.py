"""Signing in with the pages: what opens, what does not, and what an answer gives away."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from strongroom.db import Role
from strongroom.people import accounts, sessions
from strongroom.people.models import Account, Stage
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.people.cast import (
    PASSWORD,
    SOMEBODY,
    People,
    Statements,
    browser,
    session_id,
    signed_in,
    token_for,
)


def test_an_operator_signs_in_with_password_and_code_and_sees_the_console(
    runtime: Runtime, acme: Tenant
) -> None:
    ada, visitor = People(runtime).staff(StaffRole.OPERATOR), browser(runtime)

    first = visitor.sign_in(ada)
    second = visitor.second(ada.code(runtime.now()))

    assert (first.status_code, first.headers["Location"]) == (303, "/sign-in/second")
    assert second.status_code == 303
    assert "Acme" in visitor.get("/tenants").text


def test_a_page_that_was_asked_for_is_shown_after_signing_in(runtime: Runtime) -> None:
    ada, visitor = People(runtime).staff(StaffRole.OPERATOR), browser(runtime)

    asked = visitor.get("/support/?x=1")
    assert asked.headers["Location"] == "/sign-in?next=/support/?x%3D1"
    sent = visitor.post(
        "/sign-in", on="/sign-in", email=ada.email, password=PASSWORD, next="/support/?x=1"
    )
    done = visitor.post(
        "/sign-in/second",
        on="/sign-in/second",
        code=ada.code(runtime.now()),
        next="/support/?x=1",
    )

    assert "next=/support/" in sent.headers["Location"]
    assert done.headers["Location"] == "/support/?x=1"


@pytest.mark.parametrize(
    "away", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "/a\nb"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(runtime: Runtime, away: str) -> None:
    viewer, visitor = People(runtime).nobody(app=False), browser(runtime)

    done = visitor.post("/sign-in", on="/sign-in", email=viewer.email, password=PASSWORD, next=away)

    assert done.headers["Location"] == "/"


def test_unknown_disabled_and_wrong_get_the_same_answer_by_the_same_statements(
    runtime: Runtime,
) -> None:
    people = People(runtime)
    known, gone = people.nobody(), people.nobody()
    with runtime.database.session(Role.PEOPLE) as db:
        account = db.get_one(Account, gone.account.id)
        accounts.disable(db, account, by=SOMEBODY, now=runtime.now())
    answers, counts = set(), set()
    for email, password in (
        (known.email, "not the password"),
        ("nobody@example.org", "not the password"),
        (gone.email, PASSWORD),
        ("no address at all", PASSWORD),
    ):
        visitor = browser(runtime)
        visitor.get("/sign-in")
        with Statements(runtime) as statements:
            answer = visitor.post("/sign-in", on="/sign-in", email=email, password=password)
        text = re.sub(r'value="[^"]*"', "", answer.text)
        answers.add((answer.status_code, text))
        counts.add(len(statements.sent))

    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert len(counts) == 1


def test_guessing_is_slowed_down_for_known_and_unknown_alike(
    runtime: Runtime, clock: FakeClock
) -> None:
    known, visitor = People(runtime).nobody(app=False), browser(runtime)
    for email in (known.email, "nobody@example.org"):
        codes = [
            visitor.post("/sign-in", on="/sign-in", email=email, password="wrong").status_code
            for _ in range(11)
        ]
        assert codes == [401] * 10 + [429]
    right = visitor.sign_in(known)
    clock.forward(minutes=16)
    later = visitor.sign_in(known)

    assert right.status_code == 429
    assert later.status_code == 303


def test_writing_an_address_in_other_ways_gives_no_more_guesses(runtime: Runtime) -> None:
    known = People(runtime).nobody(app=False, email="vera@example.org")
    ways = ("vera@example.org", " VERA@Example.org", "ｖera@example.org", "vera@ｅxample.org")
    for number in range(10):
        browser(runtime).post("/sign-in", on="/sign-in", email=ways[number % 4], password="wrong")

    assert browser(runtime).sign_in(known).status_code == 429


def test_limits_outlive_the_process_that_counted(runtime: Runtime) -> None:
    known = People(runtime).nobody(app=False)
    for _ in range(10):
        browser(runtime).sign_in(known, "wrong")

    assert browser(runtime).sign_in(known).status_code == 429


def test_a_code_is_taken_once(runtime: Runtime, clock: FakeClock) -> None:
    clock.stop_at(clock())
    ada = People(runtime).staff(StaffRole.OPERATOR)
    code = ada.code(runtime.now())
    one, other = browser(runtime), browser(runtime)
    one.sign_in(ada)
    other.sign_in(ada)

    assert one.second(code).status_code == 303
    assert other.second(code).status_code == 401
    clock.forward(seconds=30)
    assert other.second(ada.code(runtime.now())).status_code == 303


def test_an_older_code_is_not_taken_after_a_newer_one(runtime: Runtime, clock: FakeClock) -> None:
    clock.stop_at(clock())
    ada = People(runtime).staff(StaffRole.OPERATOR)
    older = ada.code(runtime.now() - timedelta(seconds=30))
    visitor = browser(runtime)
    visitor.sign_in(ada)
    visitor.second(ada.code(runtime.now()))

    again = browser(runtime)
    again.sign_in(ada)

    assert again.second(older).status_code == 401


def test_codes_of_other_times_and_odd_codes_are_refused(runtime: Runtime) -> None:
    ada, visitor = People(runtime).staff(StaffRole.OPERATOR), browser(runtime)
    visitor.sign_in(ada)

    for odd in ("", "12345", "٤٥٦٧٨٩", "x" * 3000):
        assert visitor.second(odd).status_code == 401


def test_five_wrong_codes_and_the_right_one_has_to_wait(runtime: Runtime, clock: FakeClock) -> None:
    ada, visitor = People(runtime).staff(StaffRole.OPERATOR), browser(runtime)
    visitor.sign_in(ada)
    for _ in range(5):
        assert visitor.second("000000").status_code == 401

    assert visitor.second(ada.code(runtime.now())).status_code == 429
    assert visitor.get("/tenants").headers["Location"].startswith("/sign-in/second")


def test_a_recovery_code_opens_once(runtime: Runtime) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    one, other = browser(runtime), browser(runtime)
    one.sign_in(ada)
    other.sign_in(ada)

    assert one.second(ada.codes[0].upper().replace("-", " ")).status_code == 303
    assert other.second(ada.codes[0]).status_code == 401
    assert other.second(ada.codes[1]).status_code == 303


def test_the_token_changes_at_every_step_so_that_a_planted_one_is_worth_nothing(
    runtime: Runtime, clock: FakeClock
) -> None:
    ada, visitor = People(runtime).staff(StaffRole.OPERATOR), browser(runtime)
    visitor.cookie = "planted-by-somebody"
    seen = [visitor.cookie]
    visitor.sign_in(ada)
    seen.append(visitor.cookie)
    visitor.second(ada.code(runtime.now()))
    seen.append(visitor.cookie)
    clock.forward(minutes=11)
    visitor.post("/step-up", on="/step-up", code=ada.code(runtime.now()))
    seen.append(visitor.cookie)

    assert len(set(seen)) == 4
    for old in seen[:-1]:
        thief = browser(runtime)
        thief.cookie = old
        assert thief.get("/tenants").headers["Location"].startswith("/sign-in?")
    assert visitor.get("/tenants").status_code == 200


def test_a_half_finished_sign_in_opens_nothing(runtime: Runtime, acme: Tenant) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    for stage, page in ((Stage.SECOND, "/sign-in/second"), (Stage.ENROL, "/begin")):
        half = signed_in(runtime, ada, stage=stage, proofs=("pwd",), stepped_up=False)
        for address in ("/", "/account/", "/support/", "/t/acme/"):
            answer = half.get(address)
            assert answer.status_code == 303
            assert answer.headers["Location"].startswith(page), (stage, address)


def test_a_session_ends_when_idle_at_its_end_when_revoked_and_with_its_account(
    runtime: Runtime, clock: FakeClock
) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)

    def opens(token: str) -> bool:
        with runtime.database.session(Role.PEOPLE) as db:
            return sessions.find(db, token, now=runtime.now()) is not None

    revoked, idle = token_for(runtime, ada), token_for(runtime, ada)
    with runtime.database.session(Role.PEOPLE) as db:
        row = session_id(runtime, revoked)
        assert sessions.revoke(db, ada.account.id, row, now=runtime.now())
    assert (opens(revoked), opens(idle)) == (False, True)
    clock.forward(hours=2, minutes=1)
    assert not opens(idle)

    busy = token_for(runtime, ada)
    for _ in range(12):
        assert opens(busy)
        clock.forward(hours=1)
    assert not opens(busy)

    last = token_for(runtime, ada)
    with runtime.database.session(Role.PEOPLE) as db:
        account = db.get_one(Account, ada.account.id)
        accounts.disable(db, account, by=SOMEBODY, now=runtime.now())
    assert not opens(last)


def test_signing_out_ends_the_session_on_our_side(runtime: Runtime) -> None:
    ada = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))
    old = ada.cookie

    ada.post("/sign-out", on="/account/")

    thief = browser(runtime)
    thief.cookie = old
    assert thief.get("/tenants").status_code == 303
    assert ada.get("/tenants").status_code == 303


def test_a_person_sees_their_sessions_and_ends_one(runtime: Runtime) -> None:
    who = People(runtime).staff(StaffRole.OPERATOR)
    here, there = signed_in(runtime, who), signed_in(runtime, who)
    other = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))
    address = f"/account/sessions/{session_id(runtime, there.cookie)}/revoke"

    assert address in here.get("/account/").text
    assert other.post(address, on="/account/").status_code == 404
    assert there.get("/account/").status_code == 200
    assert here.post(address, on="/account/").status_code == 303
    assert there.get("/account/").status_code == 303


def test_a_viewer_without_a_factor_is_in_after_the_password(runtime: Runtime, acme: Tenant) -> None:
    viewer = People(runtime).member(acme, TenantRole.VIEWER, app=False)
    visitor = browser(runtime)

    done = visitor.sign_in(viewer)

    assert done.headers["Location"] == "/"
    assert visitor.get("/t/acme/").status_code == 200


@pytest.mark.parametrize("role", [TenantRole.OWNER, TenantRole.ADMIN])
def test_owners_and_admins_are_asked_for_a_second_factor_before_anything(
    runtime: Runtime, acme: Tenant, role: TenantRole
) -> None:
    admin, visitor = People(runtime).member(acme, role, app=False), browser(runtime)

    done = visitor.sign_in(admin)

    assert done.headers["Location"] == "/begin"
    assert visitor.get("/t/acme/").headers["Location"].startswith("/begin")


def test_a_viewer_who_is_made_admin_in_mid_session_has_to_prove_more(
    runtime: Runtime, acme: Tenant
) -> None:
    people = People(runtime)
    viewer = people.member(acme, TenantRole.VIEWER, app=False)
    visitor = browser(runtime)
    visitor.sign_in(viewer)
    people.join(viewer, acme, TenantRole.ADMIN)

    assert visitor.get("/t/acme/").headers["Location"].startswith("/step-up")
