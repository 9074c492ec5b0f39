"""`strongroom account`, `strongroom grant`, and for whom a command acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from strongroom.db import Role
from strongroom.people import sessions
from strongroom.people.models import Account, SessionKind, Stage, SupportGrant
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.people.sessions import Visit
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.cast import FakeClock, add_folder
from tests.people.cast import People, Somebody, browser
from tests.web.command_line import Desk, sit_down
from web.acting import TOKEN_VARIABLE

CREATE = ("account", "create", "ada@example.org", "--name", "Ada", "--staff", "operator")


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


def token_of(runtime: Runtime, who: Somebody, *, stepped_up: bool = True) -> str:
    with runtime.database.session(Role.PEOPLE) as db:
        row, token = sessions.begin(
            db,
            who.account,
            Visit(runtime.now()),
            stage=Stage.WHOLE,
            proofs=["pwd", "otp"],
            kind=SessionKind.TOKEN,
        )
        row.stepped_up_at = runtime.now() if stepped_up else None
    return token


def act_as(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, who: Somebody) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, token_of(runtime, who))


def test_the_first_account_is_made_by_the_local_socket_and_its_link_works(
    desk: Desk, runtime: Runtime
) -> None:
    made = desk.json(*CREATE)

    path = made["link"].split("/link/")[1]
    visitor = browser(runtime)
    done = visitor.post(f"/link/{path}", on="/sign-in")
    assert done.headers["Location"] == "/begin"
    assert [each["email"] for each in desk.json("account", "list")] == ["ada@example.org"]


def test_once_people_sign_in_the_local_socket_changes_no_people_and_takes_nothing_out(
    desk: Desk, runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    ada = People(runtime).staff(StaffRole.OPERATOR)

    for words in (
        CREATE,
        ("account", "link", ada.email),
        ("account", "disable", ada.email),
        ("account", "reset-factor", ada.email),
        ("kit", "export", "acme", "--to", str(tmp_path / "kit")),
        ("hold", "release", str(ada.account.id)),
        ("escrow", "create", "--shares", "3", "--threshold", "2", "--to", str(tmp_path / "s")),
        ("grant", "open", "acme", "--scope", "read", "--reason", "because I want to"),
    ):
        assert desk.refused(*words) == (4, "token-needed"), words
    assert desk("backup", "acme").code == 0  # operating goes on


def test_a_person_with_a_token_does_what_their_role_may(
    desk: Desk, runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(runtime)
    ada, auditor = people.staff(StaffRole.OPERATOR), people.staff(StaffRole.AUDITOR)
    act_as(monkeypatch, runtime, auditor)
    assert desk.refused(*CREATE[:2], "x@example.org", *CREATE[3:]) == (4, "not-allowed")
    assert desk.refused("backup", "acme") == (4, "not-allowed")
    act_as(monkeypatch, runtime, ada)

    made = desk.json(
        *("account", "create", "Olga@Example.org", "--name", "Olga"),
        *("--tenant", "acme", "--role", "owner"),
    )
    desk.json("account", "disable", "olga@example.org")

    assert made["email"] == "olga@example.org"
    with runtime.database.session(Role.PEOPLE) as db:
        row = db.execute(select(Account).where(Account.email == "olga@example.org")).scalar_one()
    assert row.created_by == f"person:{ada.account.id}"
    assert row.disabled_at is not None


def test_a_token_that_is_old_ended_or_of_a_browser_is_refused(
    desk: Desk, runtime: Runtime, acme: Tenant, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    with runtime.database.session(Role.PEOPLE) as db:
        visit = Visit(runtime.now())
        _, cookie = sessions.begin(db, ada.account, visit, stage=Stage.WHOLE, proofs=["otp"])
    for token in (cookie, "made up", ""):
        monkeypatch.setenv(TOKEN_VARIABLE, token)
        assert desk.refused("backup", "acme") == (4, "token-ended")
    monkeypatch.setenv(TOKEN_VARIABLE, token_of(runtime, ada, stepped_up=False))
    assert desk.refused(*CREATE) == (4, "not-allowed")
    act_as(monkeypatch, runtime, ada)
    assert desk("backup", "acme").code == 2  # there is nothing to back up: it was let in
    clock.forward(hours=12)
    monkeypatch.setattr("web.parts.make_runtime", lambda _settings: runtime)
    assert desk.refused("backup", "acme") == (4, "token-ended")


def test_a_grant_is_asked_for_and_decided_by_two_people(
    desk: Desk, runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(runtime)
    ada, ben = people.staff(StaffRole.OPERATOR), people.staff(StaffRole.OPERATOR)
    sami, owner = people.staff(StaffRole.SUPPORT), people.member(acme, TenantRole.OWNER)
    ask = ("grant", "open", "acme", "--scope", "read", "--reason", "ticket 9: please look")
    act_as(monkeypatch, runtime, ada)
    mine = desk.json(*ask)["grant"]
    assert desk.refused("grant", "decide", mine) == (4, "own-grant")
    act_as(monkeypatch, runtime, sami)
    assert desk.refused("grant", "decide", mine) == (4, "not-allowed")
    act_as(monkeypatch, runtime, ben)
    assert desk.json("grant", "decide", mine)["state"] == "open"
    act_as(monkeypatch, runtime, sami)
    theirs = desk.json(*ask)["grant"]
    act_as(monkeypatch, runtime, owner)
    assert desk.json("grant", "decide", theirs, "--no")["state"] == "declined"
    monkeypatch.delenv(TOKEN_VARIABLE)
    assert desk.json("grant", "end", mine)["state"] == "ended"

    with runtime.database.session(Role.PEOPLE) as db:
        rows = {str(row.id): row for row in db.execute(select(SupportGrant)).scalars()}
    assert (rows[mine].for_tenant, rows[theirs].for_tenant) == (False, True)
    assert desk.json("grant", "list") == []


def test_odd_accounts_are_refused(desk: Desk, acme: Tenant) -> None:
    desk.json(*CREATE)
    for words, code in (
        (CREATE, "account-there"),
        ((*CREATE[:2], "no address", *CREATE[3:]), "bad-email"),
        ((*CREATE[:4], " ", *CREATE[5:]), "bad-name"),
        ((*CREATE[:5], "--tenant", "acme"), "which-role"),
        ((*CREATE, "--tenant", "acme", "--role", "owner"), "which-role"),
        (("account", "disable", "nobody@example.org"), "unknown-account"),
    ):
        assert desk.refused(*words) == (2, code), words


def test_a_link_of_a_demo_home_signs_in_at_once(
    stack: Embedded, runtime: Runtime, tmp_path: Path, acme: Tenant
) -> None:
    (tmp_path / "demo").touch()
    desk = sit_down(stack, runtime, tmp_path)
    desk.json(*CREATE)

    link = desk.json("account", "link", "ada@example.org")["link"]

    visitor = browser(replace(runtime, settings=replace(runtime.settings, demo=True)))
    done = visitor.post(f"/link/{link.split('/link/')[1]}", on="/sign-in")
    assert done.headers["Location"] == "/"
    assert "Acme" in visitor.get("/tenants").text
    assert desk.json(*CREATE[:2], "ben@example.org", *CREATE[3:])  # no person can sign in yet
