"""A message is kept or lost with its act, and then delivered at least once, under one name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from strongroom.db import Role
from strongroom.notices import channels, letters, outbox
from strongroom.notices.courier import BATCH
from strongroom.notices.models import Message
from strongroom.notices.outbox import Notice, Reader
from strongroom.notices.states import OVER, MessageState, ReaderKind
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import ADA, FakeClock
from tests.platform.notices.post_office import PostOffice
from tests.receivers import HookSink, hook_server

ROOT = Path(__file__).parents[3]


@pytest.fixture
def office(runtime: Runtime) -> PostOffice:
    return PostOffice(runtime)


@pytest.fixture
def hook() -> Iterator[HookSink]:
    with hook_server() as sink:
        yield sink


class Undone(Exception):
    """The act that a message tells of did not happen."""


def test_nothing_is_told_of_an_act_that_was_rolled_back(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    notice = Notice("act", "test.said", Reader(ReaderKind.CHANNEL, row.id), {})
    with pytest.raises(Undone), office.runtime.database.session(Role.OPERATOR) as session:
        outbox.put(session, [notice], now=office.runtime.now())
        raise Undone
    assert office.courier().round() == 0
    assert office.messages() == []
    assert hook.requests == []


def test_the_same_act_tells_the_same_reader_once(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    for _ in range(3):
        office.put(row, key="one act")
    office.courier().round()
    assert len(hook.requests) == 1
    assert office.courier().round() == 0


def test_a_message_of_a_courier_that_was_killed_is_sent_again_under_the_same_name(
    office: PostOffice, hook: HookSink
) -> None:
    """Killed while the receiver has it and has not answered: nobody knows whether it arrived."""
    row, _ = office.hook(hook)
    office.put(row)
    hook.held.clear()
    script = (
        "import sys, json; from tests.platform.notices import killed; "
        "killed.deliver(json.load(sys.stdin))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": os.environ["PATH"]},
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write(killed_settings(office.runtime))
    child.stdin.close()
    assert hook.came.wait(180)
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    hook.held.set()
    assert office.only().state is MessageState.SENDING
    assert office.courier().round() == 1
    assert office.only().state is MessageState.DELIVERED
    first, second = (headers["webhook-id"] for _, headers, _ in hook.requests)
    assert first == second == str(office.only().id)


def killed_settings(runtime: Runtime) -> str:
    import json

    urls = {str(role): url for role, url in runtime.settings.databases.items()}
    return json.dumps({"databases": urls, "keys": str(runtime.settings.keys)})


def test_a_lease_that_ran_out_elsewhere_is_taken_back(
    office: PostOffice, hook: HookSink, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    row, _ = office.hook(hook)
    office.put(row)
    with office.runtime.database.session(Role.OPERATOR) as session:
        taken = outbox.take(session, office.only().id, now=office.runtime.now())
    assert taken is not None
    assert office.courier().round() == 0  # ours, and alive
    with office.runtime.database.session(Role.MIGRATOR) as session:
        session.connection().exec_driver_sql("alter table messages no force row level security")
        session.connection().exec_driver_sql("update messages set lease_until = '2000-01-01Z'")
        session.connection().exec_driver_sql("alter table messages force row level security")
    assert office.courier().round() == 1
    assert office.only().state is MessageState.DELIVERED
    assert office.only().attempt == 2


def test_who_lost_the_lease_writes_nothing(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    office.put(row)
    now, database = office.runtime.now(), office.runtime.database
    with database.session(Role.OPERATOR) as session:
        held = outbox.take(session, office.only().id, now=now)
    assert held is not None
    with pytest.raises(outbox.lifecycle.LifecycleError), database.session(Role.OPERATOR) as session:
        row_now = session.get_one(Message, held.id)
        outbox.delivered(session, row_now, {}, fence=held.fence - 1, now=now)
    assert office.only().state is MessageState.SENDING


def test_two_couriers_never_send_the_same_attempt(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    for _ in range(BATCH):
        office.put(row)
    start = threading.Barrier(3)

    def go() -> None:
        start.wait()
        office.courier().round()

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [headers["webhook-id"] for _, headers, _ in hook.requests]
    assert len(names) == len(set(names)) == BATCH
    assert {each.state for each in office.messages()} == {MessageState.DELIVERED}


def test_what_is_not_taken_is_tried_for_three_days_and_then_given_up(
    office: PostOffice, hook: HookSink, clock: FakeClock
) -> None:
    row, _ = office.hook(hook)
    office.put(row)
    hook.status = 503
    began = clock.stop_at(clock())
    courier = office.courier(chance=lambda: 0.5)
    pauses = []
    while office.only().state not in OVER:
        assert courier.round() == 1
        assert courier.round() == 0  # not before it is due
        if office.only().state is MessageState.QUEUED:
            pauses.append(office.only().due_at - clock())
            clock.stop_at(office.only().due_at)
    assert office.only().state is MessageState.FAILED
    assert pauses == sorted(pauses)
    assert pauses[0] == outbox.FIRST_PAUSE
    assert pauses[-1] == outbox.LONGEST_PAUSE
    assert timedelta(days=2, hours=12) < clock() - began <= outbox.GIVEN_UP
    assert len(pauses) < 30
    with office.runtime.database.session(Role.OPERATOR) as session:
        (stuck,) = outbox.stuck(session)
    assert (stuck.channel, stuck.failed, stuck.code) == (row.id, 1, "webhook-refused")


def test_pauses_are_spread() -> None:
    least, most = (outbox.pause(5, chance=chance) for chance in (0.0, 1.0))
    assert least < outbox.pause(5, chance=0.5) < most
    assert most / least == pytest.approx(1.25 / 0.75)


def test_who_says_that_it_is_gone_is_asked_no_more(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    office.put(row)
    hook.status = 410
    office.courier().round()
    assert office.only().state is MessageState.FAILED


def test_a_channel_that_was_removed_is_sent_nothing(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    office.put(row)
    with office.runtime.database.session(Role.OPERATOR) as session:
        removed = channels.remove(session, row.name, by=ADA, now=office.runtime.now())
    assert removed.sealed is None
    office.courier().round()
    assert office.only().state is MessageState.WITHHELD
    assert hook.requests == []


def test_one_that_cannot_be_written_holds_up_no_other(office: PostOffice, hook: HookSink) -> None:
    row, _ = office.hook(hook)
    office.put(row, key="bad", bad=True)
    office.put(row, key="good")

    def write(told: object) -> object:
        assert isinstance(told, letters.Told)
        if told.params.get("bad"):
            raise KeyError("no words")
        return letters.Letter("s", "t", "<p>t</p>")

    office.courier(write=write).round()
    states = {each.key: each.state for each in office.messages()}
    assert states == {"bad": MessageState.QUEUED, "good": MessageState.DELIVERED}


def test_what_opens_a_channel_is_in_no_row_in_clear(office: PostOffice, hook: HookSink) -> None:
    _, secret = office.hook(hook)
    with office.runtime.database.session(Role.OPERATOR) as session:
        dumped = session.connection().exec_driver_sql(
            "select c::text from notice_channels c union all select e::text from record_entries e"
        )
        text = "\n".join(row[0] for row in dumped)
    assert "notice-channels.added" in text
    for hidden in (secret, secret.removeprefix("whsec_"), "hidden-in-the-url"):
        assert hidden not in text


def test_a_message_of_a_tenant_is_seen_by_no_other(
    office: PostOffice, acme: Tenant, bolt: Tenant
) -> None:
    reader = Reader(ReaderKind.ACCOUNT, uuid.uuid4())
    with office.runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        notice = Notice("a", "restore.done", reader, {})
        outbox.put(session, [notice], now=office.runtime.now(), tenant=acme.id)
    for tenant, seen in ((acme, 1), (bolt, 0)):
        with office.runtime.database.session(Role.WEB, tenant=tenant.id) as session:
            assert len(outbox.newest(session)) == seen
