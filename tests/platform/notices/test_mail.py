"""Mail through a real server: over TLS and signed in, in two forms, and never a secret told."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strongroom.db import Role
from strongroom.notices import channels, mail
from strongroom.notices.channels import NewChannel, NewServer
from strongroom.notices.errors import BadChannel, NotDelivered
from strongroom.notices.letters import Letter
from strongroom.notices.mail import Server
from strongroom.notices.states import ChannelKind, MessageState
from strongroom.runtime import Runtime
from tests.cast import ADA
from tests.platform.notices.post_office import SENDER, PostOffice
from tests.receivers import PASSWORD, USER, MailSink, mail_server

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
LETTER = Letter(
    "نسخك الاحتياطية\nمتأخرة", "نص", '<p dir="rtl">نص</p>', refuse_at="https://a.example/"
)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[MailSink]:
    with mail_server(tmp_path) as sink:
        yield sink


@pytest.fixture
def plain() -> Iterator[MailSink]:
    with mail_server() as sink:
        yield sink


def through(sink: MailSink) -> Server:
    known = Server("127.0.0.1", sink.port, "none", SENDER)
    if sink.authority is None:
        return known
    return replace(
        known, security="starttls", username=USER, password=PASSWORD, authority=sink.authority
    )


def send(server: Server, *, to: str = "ada@ops.example", letter: Letter = LETTER) -> object:
    return mail.send(server, letter, to=to, name=uuid.UUID(int=7), at=AT)


def test_text_and_html_arrive_over_tls_with_a_name_that_stays_the_same(secured: MailSink) -> None:
    receipt = send(through(secured))
    send(through(secured))
    first, second = secured.letters
    assert first["Message-ID"] == second["Message-ID"] == f"<{uuid.UUID(int=7)}@strongroom.example>"
    assert receipt == {
        "by": "email",
        "server": "127.0.0.1",
        "message_id": first["Message-ID"],
    }
    assert first["Subject"] == "نسخك الاحتياطية متأخرة"  # a line break makes no header
    assert first["List-Unsubscribe"] == "<https://a.example/>"
    assert first["Auto-Submitted"] == "auto-generated"
    kinds = [part.get_content_type() for part in first.iter_parts()]
    assert kinds == ["text/plain", "text/html"]
    assert first.get_body(("html",)).get_content().strip() == LETTER.html  # type: ignore[union-attr]


def test_a_server_that_nobody_vouches_for_is_given_nothing(secured: MailSink) -> None:
    with pytest.raises(NotDelivered, match="certificate") as caught:
        send(replace(through(secured), authority=None))
    assert not caught.value.permanent
    assert secured.letters == []


def test_a_server_without_tls_is_given_nothing_where_tls_is_wanted(plain: MailSink) -> None:
    wanted = replace(through(plain), security="starttls", username=USER, password=PASSWORD)
    with pytest.raises(NotDelivered) as caught:
        send(wanted)
    assert caught.value.code == "mail-not-secure"
    assert plain.letters == []


def test_a_wrong_password_is_told_without_it(
    secured: MailSink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotDelivered) as caught:
        send(replace(through(secured), password="wrong-but-secret"))
    assert (caught.value.code, caught.value.permanent) == ("mail-sign-in", False)
    told = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text} {through(secured)!r}"
    assert "wrong-but-secret" not in told
    assert PASSWORD not in told


@pytest.mark.parametrize(("answer", "permanent"), [("451 later", False), ("554 never", True)])
def test_a_refusal_for_good_is_not_tried_again(
    plain: MailSink, answer: str, permanent: bool
) -> None:
    plain.answer = answer
    with pytest.raises(NotDelivered) as caught:
        send(through(plain))
    assert caught.value.permanent is permanent


def test_a_mailbox_that_is_not_there_is_told(plain: MailSink) -> None:
    plain.refused.add("gone@ops.example")
    with pytest.raises(NotDelivered) as caught:
        send(through(plain), to="gone@ops.example")
    assert caught.value.permanent


@pytest.mark.parametrize("to", ["ada@ops.example\nBcc: eve@evil.example", "a@b\r\nX: y", ""])
def test_no_address_becomes_a_header(plain: MailSink, to: str) -> None:
    with pytest.raises(NotDelivered):
        send(through(plain), to=to)
    assert plain.letters == []


def test_a_server_that_is_away_is_tried_again_later(runtime: Runtime) -> None:
    office = PostOffice(runtime)
    with mail_server() as sink:
        row = office.mailbox(sink)
    office.put(row)
    office.courier().round()
    failure = office.only().failure
    assert failure is not None
    assert (office.only().state, failure["code"]) == (MessageState.QUEUED, "mail-unreachable")


def test_without_a_mail_server_messages_wait(runtime: Runtime) -> None:
    office = PostOffice(runtime)
    new = NewChannel("ops", ChannelKind.EMAIL, "ops@ops.example")
    with runtime.database.session(Role.OPERATOR) as session:
        row, secret = channels.add(session, runtime.vault.provider, new, by=ADA, now=runtime.now())
    assert secret is None
    office.put(row)
    office.courier().round()
    assert (office.only().failure or {})["code"] == "no-mail-server"


def test_the_password_is_in_no_row_in_clear(runtime: Runtime, secured: MailSink) -> None:
    office = PostOffice(runtime)
    row = office.mailbox(secured)
    office.put(row)
    office.courier().round()
    assert office.only().state is MessageState.DELIVERED
    with runtime.database.session(Role.OPERATOR) as session:
        rows = session.connection().exec_driver_sql(
            "select m::text from mail_servers m union all select e::text from record_entries e"
        )
        text = "\n".join(each[0] for each in rows)
    assert "starttls" in text
    assert PASSWORD not in text
    assert "7f3a" not in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"security": "maybe"},
        {"security": "none", "username": "a", "password": "b"},
        {"username": "a"},
        {"authority": "no certificate"},
        {"port": 70000},
        {"username": "a", "password": "pässword"},
        {"host": "127.1"},
        {"sender": "nobody"},
    ],
)
def test_a_server_that_cannot_be_as_it_is_described_is_refused(
    runtime: Runtime, wrong: dict[str, object]
) -> None:
    said: dict[str, object] = {"host": "mail.example", "sender": SENDER, **wrong}
    new = NewServer(**said)  # type: ignore[arg-type]
    with pytest.raises(Exception) as caught, runtime.database.session(Role.OPERATOR) as session:
        channels.set_server(session, runtime.vault.provider, new, by=ADA, now=runtime.now())
    assert getattr(caught.value, "exit_code", None) == BadChannel.exit_code
