"""Services by way of Apprise: through the real library, to a server of ours."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from strongroom.db import Role
from strongroom.notices import channels, chat
from strongroom.notices.channels import NewChannel
from strongroom.notices.errors import BadChannel, NotDelivered
from strongroom.notices.letters import Letter
from strongroom.notices.states import ChannelKind, MessageState
from strongroom.runtime import Runtime
from tests.cast import ADA
from tests.platform.notices.post_office import PostOffice
from tests.receivers import HookSink, hook_server

# A dependency of the library's own; Python 3.11 warns of what goes in 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")


@pytest.fixture
def hook() -> Iterator[HookSink]:
    with hook_server() as sink:
        sink.status = 200
        yield sink


def test_a_service_takes_the_message(runtime: Runtime, hook: HookSink) -> None:
    office = PostOffice(runtime)
    url = f"json://ada:hidden-in-the-url@127.0.0.1:{hook.port}/room"
    new = NewChannel("chat", ChannelKind.APPRISE, url)
    with runtime.database.session(Role.OPERATOR) as session:
        row, secret = channels.add(session, runtime.vault.provider, new, by=ADA, now=runtime.now())
    assert (row.shown, secret) == ("json://", None)
    office.put(row)
    office.courier().round()
    assert office.only().state is MessageState.DELIVERED
    assert office.only().receipt == {"by": "apprise", "service": "json"}
    ((path, _, body),) = hook.requests
    assert path == "/room"
    assert json.loads(body)["title"] == "about test.said"


def test_what_the_service_refuses_is_told_without_its_address(
    hook: HookSink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook.status = 500
    url = f"json://ada:hidden-in-the-url@127.0.0.1:{hook.port}/room"
    with pytest.raises(NotDelivered) as caught:
        chat.send(url, Letter("a", "b", "<p>b</p>"))
    assert caught.value.code == "chat-refused"
    assert "hidden-in-the-url" not in caplog.text + repr(caught.value)


@pytest.mark.parametrize("url", ["nonsense://x", "json", "://x", ""])
def test_an_address_that_nobody_knows_is_refused(runtime: Runtime, url: str) -> None:
    new = NewChannel("chat", ChannelKind.APPRISE, url)
    try:
        with runtime.database.session(Role.OPERATOR) as session:
            channels.add(session, runtime.vault.provider, new, by=ADA, now=runtime.now())
    except BadChannel:
        return
    with pytest.raises(NotDelivered):
        chat.send(url, Letter("a", "b", "<p>b</p>"))
