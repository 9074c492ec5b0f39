"""What people are told of: in the transaction of the act, to those concerned, in their language."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from restore import requests
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.notices.courier import Courier
from strongroom.notices.letters import Letter, Told
from strongroom.people import grants
from strongroom.people.grants import Decider
from strongroom.people.grants import Wish as GrantWish
from strongroom.people.rules import GrantScope, StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import add_folder
from tests.people.cast import People, Somebody
from tests.platform.notices.post_office import PostOffice
from tests.receivers import MailSink, mail_server
from tests.restore import asking
from web.notices import words, writing

WEB = "https://backup.example"


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with mail_server() as found:
        yield found


def carried(runtime: Runtime) -> None:
    Courier(runtime, writing.writer(WEB)).round()


def text(letter: Any) -> str:
    return str(letter.get_body(("plain",)).get_content())


def asked(runtime: Runtime, who: Somebody, folder: Path, acme: Tenant, **more: Any) -> Restore:
    source = add_folder(runtime, acme, folder / "files")
    point = asking.stored(runtime, acme)
    wish = Wish(point.id, source.id, Destination.FOLDER, folder / "out", **more)
    by, now = Actor.of_person(who.account.id), runtime.now()
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        return requests.ask(session, acme.id, wish, by=by, at=now)


def test_who_asked_for_a_restore_is_told_when_it_is_done(
    runtime: Runtime, acme: Tenant, sink: MailSink, tmp_path: Path
) -> None:
    office, people = PostOffice(runtime), People(runtime)
    office.mailbox(sink)
    owner = people.member(acme, TenantRole.OWNER, email="owner@acme.example")
    people.member(acme, TenantRole.ADMIN, email="other@acme.example")
    row = asked(runtime, owner, tmp_path, acme)
    assert office.messages() == []
    assert asking.carry_out(runtime, row).state is RestoreState.DONE
    carried(runtime)
    (letter,) = sink.letters
    assert letter["To"] == "owner@acme.example"
    assert "Your restore is done" in letter["Subject"]
    assert f"{WEB}/t/acme/restores/{row.id}" in text(letter)
    assert letter["List-Unsubscribe"] == f"<{WEB}/account/>"
    assert "Asia/Dubai" in text(letter)


def test_a_dry_run_and_what_operators_ask_for_are_told_to_nobody(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    office, people = PostOffice(runtime), People(runtime)
    owner = people.member(acme, TenantRole.OWNER)
    row = asked(runtime, owner, tmp_path, acme, dry_run=True)
    asking.carry_out(runtime, row)
    operator = people.staff(StaffRole.OPERATOR)
    by, now = Actor.of_person(operator.account.id), runtime.now()
    wish = Wish(row.point_id, row.source_id, Destination.FOLDER, tmp_path / "other")
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        other = requests.ask(session, acme.id, wish, by=by, at=now)
    assert asking.carry_out(runtime, other).state is RestoreState.DONE
    assert office.messages() == []


def test_every_admin_is_told_of_support_that_asks_and_that_has_access(
    runtime: Runtime, acme: Tenant, bolt: Tenant, sink: MailSink
) -> None:
    office, people = PostOffice(runtime), People(runtime)
    office.mailbox(sink)
    for tenant in (acme, bolt):
        people.member(tenant, TenantRole.OWNER, email=f"owner@{tenant.slug}.example")
        people.member(tenant, TenantRole.VIEWER, email=f"viewer@{tenant.slug}.example")
    staff, now = people.staff(StaffRole.SUPPORT), runtime.now()
    second = people.staff(StaffRole.OPERATOR)
    wish = GrantWish(GrantScope.READ, "ticket 12: <a file> is missing", now + timedelta(hours=4))
    with runtime.database.session(Role.PEOPLE, tenant=bolt.id) as session:
        row = grants.ask(session, bolt.id, staff.account, wish, now=now)
    with runtime.database.session(Role.PEOPLE, tenant=bolt.id) as session:
        found = grants.found(session, row.id, bolt.id)
        decider = Decider(second.account, for_tenant=False)
        grants.decide(session, found, decider, yes=True, now=now)
    carried(runtime)
    assert [letter["To"] for letter in sink.letters] == ["owner@bolt.example"] * 2
    subjects = {letter["Subject"].partition(" · ")[0] for letter in sink.letters}
    assert subjects == {"الدعم يطلب الوصول", "للدعم حق الوصول"}
    html = sink.letters[0].get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "&lt;a file&gt;" in html
    assert "<a file>" not in html
    assert all(letter["List-Unsubscribe"] is None for letter in sink.letters)


def test_a_grant_that_was_not_given_after_all_is_told_to_nobody(
    runtime: Runtime, acme: Tenant
) -> None:
    office, people = PostOffice(runtime), People(runtime)
    people.member(acme, TenantRole.OWNER)
    staff, now = people.staff(StaffRole.SUPPORT), runtime.now()
    wish = GrantWish(GrantScope.READ, "ticket 12: a file is gone", now + timedelta(hours=4))
    with (
        pytest.raises(ZeroDivisionError),
        runtime.database.session(Role.PEOPLE, tenant=acme.id) as session,
    ):
        grants.ask(session, acme.id, staff.account, wish, now=now)
        raise ZeroDivisionError
    assert office.messages() == []


# The words

SAID = {
    "alert": "0199",
    "group": "tenants.overdue",
    "code": "tenants.overdue",
    "severe": True,
    "count": 500,
    "worst": "acme",
    "since": "2026-03-01T08:00:00+00:00",
    "until": None,
    "params": {},
}
PARAMS = {
    "alert.opened": SAID,
    "alert.worse": SAID,
    "alert.escalated": SAID,
    "alert.still": SAID,
    "alert.closed": SAID,
    "channel.test": {},
    "backup.overdue": {"hours": 26, "newest": None},
    "restore.done": {"restore": "0199", "asked_at": SAID["since"]},
    "restore.failed": {"restore": "0199", "asked_at": SAID["since"]},
    "grant.asked": {"until": SAID["since"], "reason": "ticket"},
    "grant.open": {"until": SAID["since"], "reason": "ticket"},
}


def letter_of(kind: str, language: str, **params: Any) -> Letter:
    told = Told(
        id=UUID(int=1),
        kind=kind,
        params={**PARAMS[kind], **params},
        at=datetime(2026, 3, 1, tzinfo=UTC),
        tenant=None,
        refusable=kind in words.REFUSABLE,
        language=language,
        zone="Asia/Dubai",
        about="Acme",
        slug="acme",
    )
    return writing.write(told, web=WEB)


@pytest.mark.parametrize("kind", PARAMS)
def test_every_kind_is_said_in_both_languages(kind: str) -> None:
    english, arabic = letter_of(kind, "en"), letter_of(kind, "ar")
    assert english.subject != arabic.subject
    assert not any("؀" <= sign <= "ۿ" for sign in english.text)
    assert any("؀" <= sign <= "ۿ" for sign in arabic.subject)
    assert "%(" not in english.text + arabic.text + english.subject + arabic.subject
    assert 'dir="rtl"' in arabic.html
    assert "\n" not in english.subject


@pytest.mark.parametrize("code", words.ALERTS)
def test_every_alert_says_what_to_do_in_both_languages_and_in_the_docs(code: str) -> None:
    for language in ("en", "ar"):
        letter = letter_of("alert.opened", language, code=code, group=f"{code}:region-b")
        assert "region-b" in letter.subject
        assert len(letter.text.splitlines()) > 5
    page = (Path(__file__).parents[2] / "docs" / "operations" / "alerts.md").read_text()
    assert f"`{code}`" in page


def test_a_kind_without_words_is_told_all_the_same() -> None:
    PARAMS["strange.thing"] = {}
    try:
        assert "strange.thing" in letter_of("strange.thing", "en").text
    finally:
        del PARAMS["strange.thing"]


def test_what_is_named_in_a_letter_is_never_markup() -> None:
    letter = letter_of("alert.opened", "en", worst="<script>", group="tenants.overdue:<img>")
    assert "<script>" not in letter.html
    assert "<img>" not in letter.html
