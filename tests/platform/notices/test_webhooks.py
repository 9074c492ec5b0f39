"""Webhooks: signed as the standard has it, and sent to nobody inside a network."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from strongroom.db import Role
from strongroom.notices import channels, outward, webhooks
from strongroom.notices.channels import NewChannel
from strongroom.notices.errors import BadChannel, NotDelivered
from strongroom.notices.states import ChannelKind, MessageState
from strongroom.runtime import Runtime
from tests.cast import ADA
from tests.platform.notices.post_office import PostOffice
from tests.receivers import HookSink, hook_server

# The specification's reference libraries verify these.
VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
]
INSIDE = [
    *("127.0.0.1", "10.0.0.5", "192.168.1.1", "172.16.0.9", "169.254.169.254", "100.64.0.1"),
    *("::1", "fe80::1", "fd00::5", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    *("0.0.0.0", "192.0.0.192", "224.0.0.1"),
]


@pytest.fixture
def hook() -> Iterator[HookSink]:
    with hook_server() as sink:
        yield sink


@pytest.mark.parametrize(("secret", "name", "at", "body", "wanted"), VECTORS)
def test_the_signature_is_that_of_the_standard(
    secret: str, name: str, at: int, body: bytes, wanted: str
) -> None:
    assert webhooks.signature(secret, name, at, body) == wanted
    now = datetime.fromtimestamp(at + 200, UTC)
    several = f"v1a,other v1,{'A' * 43}= {wanted}"
    assert webhooks.is_signed(secret, name, str(at), body, signatures=several, now=now)
    late = datetime.fromtimestamp(at + 400, UTC)
    assert not webhooks.is_signed(secret, name, str(at), body, signatures=several, now=late)
    other = body.replace(b"e", b"a")
    assert not webhooks.is_signed(secret, name, str(at), other, signatures=several, now=now)


def test_what_arrives_is_signed_and_says_what_it_is(runtime: Runtime, hook: HookSink) -> None:
    office = PostOffice(runtime)
    row, secret = office.hook(hook)
    office.put(row, code="tenants.overdue")
    office.courier().round()
    ((path, headers, body),) = hook.requests
    assert path == "/hook?token=hidden-in-the-url"
    assert headers["webhook-id"] == str(office.only().id)
    assert webhooks.is_signed(
        secret,
        headers["webhook-id"],
        headers["webhook-timestamp"],
        body,
        signatures=headers["webhook-signature"],
        now=runtime.now(),
    )
    assert b'"type":"test.said"' in body
    assert b'"code":"tenants.overdue"' in body
    assert office.only().receipt == {"by": "webhook", "server": "127.0.0.1", "status": 204}


@pytest.mark.parametrize("address", INSIDE)
def test_no_name_leads_to_an_address_inside(address: str) -> None:
    to = outward.target("https://hook.example/")
    with pytest.raises(NotDelivered) as caught:
        outward.post(to, b"", {}, resolve=lambda *_: [address])
    assert caught.value.code == "webhook-inside"


def test_one_address_inside_among_many_is_enough() -> None:
    to = outward.target("https://hook.example/")
    with pytest.raises(NotDelivered, match="inside a network"):
        outward.post(to, b"", {}, resolve=lambda *_: ["93.184.216.34", "10.0.0.5"])


def test_an_address_inside_is_reached_where_it_is_listed_and_only_there(
    runtime: Runtime, hook: HookSink
) -> None:
    office = PostOffice(runtime)
    row, _ = office.hook(hook, allowed=("10.0.0.0/8",))
    office.put(row)
    office.courier().round()
    assert (office.only().failure or {})["code"] == "webhook-inside"
    assert hook.requests == []


def test_the_address_that_was_judged_is_the_one_that_is_used(hook: HookSink) -> None:
    """A name that says something else when it is asked again changes nothing."""
    asked: list[str] = []

    def resolve(name: str, _port: int) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"]

    to = outward.target(f"http://no-such-name.example:{hook.port}/", plain=True)
    assert outward.post(to, b"{}", {}, allowed=("127.0.0.1",), resolve=resolve) == 204
    assert asked == ["no-such-name.example"]
    assert hook.requests[0][1]["host"] == f"no-such-name.example:{hook.port}"


def test_no_redirect_is_followed(runtime: Runtime, hook: HookSink) -> None:
    office = PostOffice(runtime)
    row, _ = office.hook(hook)
    office.put(row)
    hook.status, hook.location = 307, hook.url
    office.courier().round()
    assert len(hook.requests) == 1
    failure = office.only().failure
    assert failure is not None
    assert failure["code"] == "webhook-refused"
    assert "hidden-in-the-url" not in str(failure)
    assert office.only().state is MessageState.QUEUED


@pytest.mark.parametrize(
    "url",
    [
        "http://hook.example/",
        "ftp://hook.example/",
        "https://user:word@hook.example/",
        "https://hook.example/#part",
        "https://127.1/",
        "https://0x7f000001/",
        "https://hook.example/a b",
        "https://hook.example/\r\nX: y",
        "https:///none",
        "https://hook.example:99999/",
        "https://" + "a" * 3000,
        "not at all",
    ],
)
def test_odd_urls_are_refused(url: str) -> None:
    with pytest.raises(BadChannel) as caught:
        outward.target(url)
    assert url not in caught.value.message


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "whsec_!!!!", "whsec_" + "A" * 200])
def test_a_secret_that_is_too_short_or_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(BadChannel) as caught:
        webhooks.key_of(secret)
    assert secret not in caught.value.message or secret == "whsec_"


def test_a_made_secret_is_one() -> None:
    assert len(webhooks.key_of(webhooks.new_secret())) == 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"level": 3},
        {"language": "fr"},
        {"allowed": ("inside.example",)},
        {"allowed": ("10.0.0.5/8",)},
        {"address": "http://hook.example/"},
    ],
)
def test_a_channel_that_cannot_be_as_it_is_described_is_refused(
    runtime: Runtime, wrong: dict[str, object]
) -> None:
    said = {"name": "hook", "kind": ChannelKind.WEBHOOK, "address": "https://hook.example/"} | wrong
    new = NewChannel(**said)  # type: ignore[arg-type]
    with pytest.raises(Exception) as caught, runtime.database.session(Role.OPERATOR) as session:
        channels.add(session, runtime.vault.provider, new, by=ADA, now=runtime.now())
    assert getattr(caught.value, "exit_code", None) == BadChannel.exit_code


def test_two_channels_have_two_names(runtime: Runtime, hook: HookSink) -> None:
    office = PostOffice(runtime)
    office.hook(hook)
    with pytest.raises(BadChannel, match="already"):
        office.hook(hook)
    with runtime.database.session(Role.OPERATOR) as session:
        channels.remove(session, "hook", by=ADA, now=runtime.now())
    office.hook(hook)  # the name is free again
