"""Alerts as rows: told in the same transaction, one for however many, silenced only with an end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from strongroom.alerts import keeping
from strongroom.alerts.deciding import Manner, Trouble
from strongroom.alerts.keeping import BadAct
from strongroom.alerts.models import Alert
from strongroom.audit.entries import Entry
from strongroom.db import Role
from strongroom.notices import channels
from strongroom.notices.channels import NewChannel
from strongroom.notices.models import Channel
from strongroom.notices.states import ChannelKind
from strongroom.runtime import Runtime
from tests.cast import ADA, BEN, FakeClock
from tests.platform.notices.post_office import PostOffice

LATE = Trouble("tenants.overdue", "tenants.overdue", severe=True, count=500, worst="acme")


class Desk:
    """Where operators sit: alerts, channels, and what was put out to each."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.office = runtime, PostOffice(runtime)

    def channel(self, name: str, level: int = 1) -> Channel:
        new = NewChannel(name, ChannelKind.EMAIL, f"{name}@ops.example", level=level)
        with self.runtime.database.session(Role.OPERATOR) as session:
            provider, now = self.runtime.vault.provider, self.runtime.now()
            return channels.add(session, provider, new, by=ADA, now=now)[0]

    def keep(self, *troubles: Trouble, unseen: Sequence[str] = ()) -> int:
        with self.runtime.database.session(Role.OPERATOR) as session:
            return keeping.keep(session, troubles, now=self.runtime.now(), unseen=unseen)

    def open(self) -> list[Alert]:
        with self.runtime.database.session(Role.OPERATOR) as session:
            return list(keeping.still_open(session))

    def told(self, channel: Channel) -> list[str]:
        return [each.kind for each in self.office.messages() if each.reader_id == channel.id]


@pytest.fixture
def desk(runtime: Runtime, clock: FakeClock) -> Desk:
    clock.stop_at(clock())
    return Desk(runtime)


def test_500_tenants_are_one_alert_and_one_message(desk: Desk) -> None:
    first = desk.channel("first")
    for _ in range(5):
        desk.keep(LATE)
    assert desk.told(first) == ["alert.opened"]
    (message,) = desk.office.messages()
    assert (message.params["count"], message.params["worst"]) == (500, "acme")
    assert len(desk.open()) == 1


def test_an_alert_and_its_messages_are_kept_or_lost_together(desk: Desk) -> None:
    desk.channel("first")
    with (
        pytest.raises(ZeroDivisionError),
        desk.runtime.database.session(Role.OPERATOR) as session,
    ):
        keeping.keep(session, [LATE], now=desk.runtime.now())
        raise ZeroDivisionError
    assert desk.open() == []
    assert desk.office.messages() == []
    desk.keep(LATE)
    assert len(desk.office.messages()) == 1


def test_the_whole_course_of_one(desk: Desk, clock: FakeClock) -> None:
    first, second = desk.channel("first"), desk.channel("second", level=2)
    desk.keep(LATE)
    clock.forward(hours=1)
    desk.keep(LATE)
    assert (desk.told(first), desk.told(second)) == (["alert.opened"], ["alert.escalated"])
    clock.forward(minutes=11)
    desk.keep()
    assert desk.told(first) == ["alert.opened", "alert.closed"]
    assert desk.told(second) == ["alert.escalated", "alert.closed"]
    assert desk.open() == []
    desk.keep(LATE)  # again: a new one
    assert desk.told(first)[-1] == "alert.opened"


def test_what_comes_and_goes_is_one_alert(desk: Desk, clock: FakeClock) -> None:
    first = desk.channel("first")
    for _ in range(6):
        desk.keep(LATE)
        clock.forward(minutes=4)
        desk.keep()
        clock.forward(minutes=4)
    assert desk.told(first) == ["alert.opened"]


def test_an_alert_before_any_channel_is_told_once_there_is_one(desk: Desk) -> None:
    desk.keep(LATE)
    assert desk.office.messages() == []
    first = desk.channel("first")
    desk.keep(LATE)
    assert desk.told(first) == ["alert.opened"]


def test_what_is_gone_is_not_told_to_a_channel_that_came_after(desk: Desk) -> None:
    desk.keep(Trouble("notices.no-channel", "notices.no-channel", severe=True))
    first = desk.channel("first")
    desk.keep()
    assert desk.told(first) == []


def test_that_a_channel_does_not_work_is_told_by_another(desk: Desk) -> None:
    first, second = desk.channel("first"), desk.channel("second", level=2)
    desk.keep(Trouble("notices.stuck:first", "notices.stuck", severe=True, avoid=first.id))
    assert (desk.told(first), desk.told(second)) == ([], ["alert.opened"])


def test_the_loudest_goes_everywhere(desk: Desk) -> None:
    both = [desk.channel("first"), desk.channel("second", level=2)]
    desk.keep(Trouble("canary.silent:first", "canary.silent", severe=True, manner=Manner.LOUD))
    assert [desk.told(each) for each in both] == [["alert.opened"]] * 2


def test_acknowledged_and_snoozed_with_who_and_why_on_record(desk: Desk, clock: FakeClock) -> None:
    first, second = desk.channel("first"), desk.channel("second", level=2)
    desk.keep(LATE)
    (row,) = desk.open()
    now = desk.runtime.now()
    with desk.runtime.database.session(Role.OPERATOR) as session:
        keeping.acknowledge(session, row.id, why="the provider mends it", by=ADA, now=now)
        until = now + timedelta(hours=4)
        keeping.snooze(session, row.id, until=until, why="announced work", by=BEN, now=now)
    clock.forward(hours=3)
    desk.keep(LATE)
    assert (desk.told(first), desk.told(second)) == (["alert.opened"], [])
    clock.forward(hours=1)
    desk.keep(LATE)
    assert desk.told(first) == ["alert.opened", "alert.still"]
    with desk.runtime.database.session(Role.OPERATOR) as session:
        codes = {each.code: each for each in session.query(Entry) if each.of == "alerts"}
    assert {"alerts.opened", "alerts.acknowledged", "alerts.snoozed"} <= set(codes)
    assert (codes["alerts.snoozed"].details or {})["why"] == "announced work"


@pytest.mark.parametrize("days", [0, -1, 31, 10_000])
def test_no_snooze_is_without_an_end(desk: Desk, days: int) -> None:
    desk.keep(LATE)
    (row,) = desk.open()
    now = desk.runtime.now()
    until = now + timedelta(days=days)
    with pytest.raises(BadAct), desk.runtime.database.session(Role.OPERATOR) as session:
        keeping.snooze(session, row.id, until=until, why="for ever", by=ADA, now=now)
    assert desk.open()[0].snoozed_until is None


def test_the_database_takes_no_snooze_without_an_end_either(desk: Desk) -> None:
    desk.keep(LATE)
    with pytest.raises(IntegrityError), desk.runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(Alert).values(snoozed_at=desk.runtime.now()))


def test_a_reason_is_asked_for(desk: Desk) -> None:
    desk.keep(LATE)
    (row,) = desk.open()
    for why in ("", "  ", "x", "y" * 501):
        with pytest.raises(BadAct), desk.runtime.database.session(Role.OPERATOR) as session:
            keeping.acknowledge(session, row.id, why=why, by=ADA, now=desk.runtime.now())


def test_nobody_acts_on_what_is_over(desk: Desk, clock: FakeClock) -> None:
    desk.keep(LATE)
    (row,) = desk.open()
    clock.forward(minutes=11)
    desk.keep()
    with pytest.raises(BadAct, match="over"), desk.runtime.database.session(Role.OPERATOR) as db:
        keeping.acknowledge(db, row.id, why="too late", by=ADA, now=desk.runtime.now())


def test_the_database_lets_one_open_alert_a_group_in(desk: Desk) -> None:
    desk.keep(LATE)
    (row,) = desk.open()
    values = {
        name: getattr(row, name)
        for name in ("group", "code", "severe", "manner", "count", "worst", "params")
    }
    now = desk.runtime.now()
    with pytest.raises(IntegrityError), desk.runtime.database.session(Role.OPERATOR) as session:
        session.add(Alert(**values, opened_at=now, seen_at=now))
