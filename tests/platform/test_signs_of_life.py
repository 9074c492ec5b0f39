"""Signs of life, and the dead man's switch: pressed only while all is well, and disturbing nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import func, update

from strongroom import heartbeats, settings, signs_of_life
from strongroom.db import Role
from strongroom.deadman import Switch
from strongroom.dispatch import Dispatcher
from strongroom.heartbeats import Heartbeat
from strongroom.runtime import Runtime
from strongroom.signs_of_life import Signs, Wellness
from tests.receivers import HookSink, hook_server


@pytest.fixture
def outside() -> Iterator[HookSink]:
    with hook_server() as sink:
        sink.status = 200
        yield sink


def age(runtime: Runtime, part: str, by: timedelta) -> None:
    with runtime.database.session(Role.OPERATOR) as session:
        then = func.clock_timestamp() - by
        session.execute(update(Heartbeat).where(Heartbeat.part == part).values(at=then))


def test_every_role_that_works_gives_signs_and_reads_them(runtime: Runtime) -> None:
    for role, part in (
        (Role.DISPATCHER, "dispatcher"),
        (Role.WORKER, "worker:backup"),
        (Role.OPERATOR, "courier"),
    ):
        signs = Signs(runtime.database, role, (part,))
        signs.give()
        signs.give()  # not again so soon
        with runtime.database.session(role) as session:
            assert heartbeats.ages(session)[part] < timedelta(seconds=60)
    age(runtime, "dispatcher", timedelta(days=2))
    with runtime.database.session(Role.OPERATOR) as session:
        assert set(heartbeats.alive(session)) == {"worker:backup", "courier"}
        heartbeats.forget(session)
        assert set(heartbeats.ages(session)) == {"worker:backup", "courier"}


def test_a_database_that_is_away_stops_nobody_from_working(runtime: Runtime) -> None:
    away = signs_of_life.Database({Role.DISPATCHER: "postgresql+psycopg://x@127.0.0.1:9/none"})
    Signs(away, Role.DISPATCHER, ("dispatcher",)).give()


def test_all_is_well_while_rounds_succeed_and_those_who_carry_alerts_live(
    runtime: Runtime,
) -> None:
    well = Wellness(runtime.database, Role.DISPATCHER)
    assert not well.is_well()  # no round yet
    well.touch()
    assert not well.is_well()  # nobody carries alerts
    with runtime.database.session(Role.OPERATOR) as session:
        heartbeats.beat(session, *signs_of_life.CARRIERS)
    assert well.is_well()
    age(runtime, "courier", timedelta(minutes=6))
    assert not well.is_well()
    with runtime.database.session(Role.OPERATOR) as session:
        heartbeats.beat(session, "courier")
    well.good = time.monotonic() - signs_of_life.LAST_GOOD_SECONDS - 1
    assert not well.is_well()  # rounds fail, or one of them hangs


def test_the_switch_is_pressed_while_all_is_well_and_not_otherwise(outside: HookSink) -> None:
    assert Switch(outside.url, lambda: True).press()
    assert len(outside.requests) == 1
    assert not Switch(outside.url, lambda: False).press()
    assert len(outside.requests) == 1


def test_that_pressing_fails_disturbs_nobody_and_tells_no_address(outside: HookSink) -> None:
    outside.status = 500
    with structlog.testing.capture_logs() as logs:
        assert not Switch(outside.url, lambda: True).press()
        assert not Switch("http://127.0.0.1:9/hidden-in-the-url", lambda: True).press()
        assert not Switch(outside.url, lambda: 1 / 0 > 0).press()
        assert not Switch("no address", lambda: True).press()
    assert len(logs) == 4
    assert "hidden-in-the-url" not in str(logs)
    assert "hidden-in-the-url" not in repr(Switch(outside.url, lambda: True))


def test_no_redirect_of_the_switch_is_followed(outside: HookSink) -> None:
    outside.status, outside.location = 302, outside.url
    Switch(outside.url, lambda: True).press()
    assert len(outside.requests) == 1


def test_it_is_pressed_again_and_again_until_told_to_stop(outside: HookSink) -> None:
    stop = threading.Event()
    switch = Switch(outside.url, lambda: True, every=0.01)
    thread = threading.Thread(target=switch.run, args=(stop,), daemon=True)
    thread.start()
    came = outside.came.wait(30)
    stop.set()
    thread.join(30)
    assert came
    assert not thread.is_alive()


def test_a_round_says_which_parts_failed(runtime: Runtime) -> None:
    def broken(*_: object) -> int:
        raise RuntimeError("a fault that was injected")

    going = Dispatcher(
        database=runtime.database,
        app=runtime.app,
        dues=(),
        planners=(broken,),
        started=runtime.now(),
    )
    going.round(runtime.now())
    assert going.failures == ["broken"]
    fine = replace(going, planners=(), failures=[])
    fine.round(runtime.now())
    assert fine.failures == []


def test_the_address_of_the_switch_is_a_setting_that_is_never_shown() -> None:
    name = "STRONGROOM_DEAD_MANS_SWITCH_URL"
    found = settings.from_environment({name: "https://alive.example/hidden-in-the-url"})
    assert found.dead_mans_switch.endswith("hidden-in-the-url")
    assert "hidden-in-the-url" not in repr(found)
    with pytest.raises(settings.BadSettings, match="DEAD_MANS_SWITCH_URL is no URL"):
        settings.from_environment({name: "alive.example"})
