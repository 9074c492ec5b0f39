"""Alerts on the page and on the command line: the same acts, by who may, with the same refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.alerts import keeping
from strongroom.alerts.deciding import Trouble
from strongroom.alerts.models import Alert
from strongroom.audit.entries import Entry
from strongroom.db import Role
from strongroom.people.models import NoticeRefusal
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.cast import alive
from tests.people.cast import People, signed_in
from tests.receivers import PASSWORD, USER, HookSink, MailSink, hook_server, mail_server
from tests.web import command_line
from tests.web.command_line import Desk

LATE = Trouble("tenants.overdue", "tenants.overdue", severe=True, count=500, worst="<b>acme</b>")


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return command_line.sit_down(stack, runtime, tmp_path)


@pytest.fixture
def late(runtime: Runtime) -> Alert:
    with runtime.database.session(Role.OPERATOR) as session:
        keeping.keep(session, [LATE], now=runtime.now())
        return keeping.still_open(session)[0]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[MailSink]:
    with mail_server(tmp_path) as found:
        yield found


@pytest.fixture
def hook() -> Iterator[HookSink]:
    with hook_server() as found:
        yield found


# Pages


def test_the_page_says_what_is_wrong_once_and_escapes_what_it_names(
    runtime: Runtime, late: Alert
) -> None:
    operator = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))
    english = operator.get("/alerts/").text
    assert "1 alert waits for somebody." in english
    assert "Backups are overdue" in english
    assert "500" in english
    assert "<b>acme" not in english
    assert "&lt;b&gt;acme" in english
    arabic = operator.get("/alerts/?lang=ar").text
    assert "نسخ احتياطية متأخرة" in arabic
    assert 'dir="rtl"' in arabic


def test_an_operator_acknowledges_and_silences_on_the_page(runtime: Runtime, late: Alert) -> None:
    operator = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))
    where = f"/alerts/{late.id}"
    answer = operator.post(f"{where}/acknowledge", on="/alerts/", reason="I <i>mend</i> it")
    assert answer.status_code == 303
    assert "Nobody looks at what is wrong." in operator.get("/alerts/").text
    alive(runtime)
    assert "Every open alert is being looked after." in operator.get("/alerts/").text
    assert "<i>mend" not in operator.get("/alerts/").text
    answer = operator.post(f"{where}/snooze", on="/alerts/", reason="announced", hours="4")
    assert answer.status_code == 303
    page = operator.get("/alerts/").text
    assert "Nothing is told until" in page


@pytest.mark.parametrize(
    ("act", "form"),
    [
        ("acknowledge", {"reason": "x"}),
        ("snooze", {"reason": "for ever", "hours": "100000"}),
        ("snooze", {"reason": "for no time", "hours": "0"}),
        ("snooze", {"reason": "for what", "hours": "many"}),
    ],
)
def test_what_makes_no_sense_is_refused_on_the_page(
    runtime: Runtime, late: Alert, act: str, form: dict[str, str]
) -> None:
    operator = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))
    answer = operator.post(f"/alerts/{late.id}/{act}", on="/alerts/", **form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_who_only_looks_acts_on_nothing_and_tenants_see_nothing(
    runtime: Runtime, late: Alert, acme: Tenant
) -> None:
    people = People(runtime)
    reader = signed_in(runtime, people.staff(StaffRole.READER))
    page = reader.get("/alerts/")
    assert page.status_code == 200
    assert "/acknowledge" not in page.text
    owner = signed_in(runtime, people.member(acme, TenantRole.OWNER))
    assert owner.get("/alerts/").status_code == 403
    assert "/alerts/" not in owner.get("/account/").text


def test_a_person_chooses_what_to_be_told(runtime: Runtime, acme: Tenant) -> None:
    owner = People(runtime).member(acme, TenantRole.OWNER)
    browser = signed_in(runtime, owner)
    assert browser.get("/account/").text.count('name="kind"') == 3
    answer = browser.post("/account/notices", on="/account/", kind="restore.done")
    assert answer.status_code == 303
    with runtime.database.session(Role.PEOPLE) as session:
        kinds = {row.kind for row in session.query(NoticeRefusal)}
    assert kinds == {"backup.overdue", "restore.failed"}
    assert browser.get("/account/").text.count(" checked") == 1


# Commands


def test_alerts_on_the_command_line(desk: Desk, late: Alert) -> None:
    said = desk("alert", "list", "--json")
    assert said.code == 3
    (found,) = said.document
    assert (found["code"], found["count"]) == ("tenants.overdue", 500)
    assert "Backups are overdue" in desk("alert", "show", str(late.id)).out
    assert desk("alert", "ack", str(late.id), "--reason", "at it").code == 0
    blind = desk("alert", "list")
    assert (blind.code, "Nobody looks" in blind.err) == (3, True)
    alive(desk.runtime)
    assert desk("alert", "list").code == 0
    done = desk.json("alert", "snooze", str(late.id), "--for", "4h", "--reason", "announced")
    assert done["snoozed"]["until"] is not None
    assert done["acknowledged"]["reason"] == "at it"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--for", "4h", "--reason", "x"), "alert-reason"),
        (("--for", "31d", "--reason", "for ever"), "snooze-end"),
        (("--for", "always", "--reason", "for ever"), "bad-span"),
        (("--for", "0h", "--reason", "for ever"), "bad-span"),
    ],
)
def test_no_snooze_without_an_end_on_the_command_line(
    desk: Desk, late: Alert, words: tuple[str, ...], code: str
) -> None:
    assert desk.refused("alert", "snooze", str(late.id), *words) == (2, code)


def test_channels_are_set_tried_and_removed_without_showing_what_opens_them(
    desk: Desk, hook: HookSink, sink: MailSink, tmp_path: Path
) -> None:
    assert desk("notice", "channels", "list").code == 3
    url = tmp_path / "url"
    url.write_text(hook.url + "\n")
    words = ("add-webhook", "pager", "--url-file", url, "--allow-network", "127.0.0.1")
    made = desk.json("notice", "channels", *words, "--second")
    assert made["secret"].startswith("whsec_")
    assert desk.json("notice", "channels", "test", "pager")["state"] == "delivered"
    assert len(hook.requests) == 1
    password, authority = tmp_path / "password", tmp_path / "authority"
    password.write_text(PASSWORD)
    authority.write_text(sink.authority or "")
    server = ("127.0.0.1", "--port", str(sink.port), "--sender", "backup@ops.example")
    secured = ("--user", USER, "--password-file", password, "--authority", authority)
    desk.json("notice", "mail-server", *server, *secured)
    desk.json("notice", "channels", "add-email", "on-call", "ops@ops.example", "--language", "ar")
    desk.json("notice", "channels", "test", "on-call")
    (letter,) = sink.letters
    assert letter["To"] == "ops@ops.example"
    listed = desk("notice", "channels", "list", "--json")
    shown = listed.out + desk("notice", "mail-server").out + desk("notice", "list", "--json").out
    for hidden in (PASSWORD, made["secret"], "hidden-in-the-url"):
        assert hidden not in shown
    assert [each["channel"] for each in json.loads(listed.out)] == ["on-call", "pager"]
    desk.json("notice", "channels", "remove", "pager")
    assert [each["channel"] for each in desk.json("notice", "channels", "list")] == ["on-call"]
    assert {"notice-channels.added", "notice-channels.removed", "mail-servers.set"} <= _codes(desk)


def _codes(desk: Desk) -> set[str]:
    with desk.runtime.database.session(Role.OPERATOR) as session:
        return {row.code for row in session.query(Entry)}


def test_a_test_that_does_not_arrive_says_so(desk: Desk, hook: HookSink, tmp_path: Path) -> None:
    url = tmp_path / "url"
    url.write_text(hook.url)
    words: Any = ("add-webhook", "pager", "--url-file", url, "--allow-network", "127.0.0.1")
    desk.json("notice", "channels", *words)
    hook.status = 500
    said = desk("notice", "channels", "test", "pager", "--json")
    assert (said.code, said.error["code"]) == (1, "channel-test-failed")
    assert "hidden-in-the-url" not in said.out + said.err


def test_a_webhook_inside_the_network_is_not_added_over_plain_http(
    desk: Desk, hook: HookSink, tmp_path: Path
) -> None:
    url = tmp_path / "url"
    url.write_text(hook.url)
    words = ("notice", "channels", "add-webhook", "pager", "--url-file", url)
    assert desk.refused(*words) == (2, "bad-channel")


def test_the_canary_is_made_and_asked_after(desk: Desk) -> None:
    assert desk("notice", "canary", "show").code == 3
    desk.json("notice", "canary", "set-up")
    found = desk.json("notice", "canary", "show")
    assert (found["silent"], found["ran"]) == ([], None)
