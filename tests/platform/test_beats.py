"""Signs of life, and what they say when there are none."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from strongroom import beats, owner
from strongroom.beats import SILENT, Beat, Beating, Part
from strongroom.db import Database, Role
from strongroom.runtime import Runtime

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def beat_of(
    name: str, *, ago: timedelta, free: int | None = None, failing: tuple[str, ...] = ()
) -> Beat:
    facts = {"failing": list(failing)} | ({} if free is None else {"free_bytes": free})
    return Beat(owner=name, part=Part.WORKER, begun_at=NOW, at=NOW - ago, facts=facts)


def rows(runtime: Runtime) -> list[Beat]:
    with runtime.database.session(Role.OPERATOR) as session:
        return list(session.execute(select(Beat)).scalars())


@pytest.mark.parametrize(
    ("role", "part"),
    [
        (Role.DISPATCHER, Part.DISPATCHER),
        (Role.WORKER, Part.WORKER),
        (Role.OPERATOR, Part.UPKEEP),
    ],
)
def test_a_process_says_that_it_is_there_and_takes_its_leave(
    runtime: Runtime, role: Role, part: Part
) -> None:
    beating = Beating(runtime.database, role, part, lambda: {"free_bytes": 7})
    beating.beat()
    [first] = rows(runtime)
    beating.beat()
    [second] = rows(runtime)
    beating.end()

    assert (first.owner, first.part, first.facts) == (owner.me(), part, {"free_bytes": 7})
    assert second.at > first.at
    assert second.begun_at == first.begun_at
    assert rows(runtime) == []


def test_between_rounds_it_beats_only_when_it_is_time(runtime: Runtime) -> None:
    asked = []
    beating = Beating(runtime.database, Role.WORKER, Part.WORKER, lambda: asked.append(1) or {})
    for _ in range(5):
        beating.go_on()

    assert len(asked) == 1


def test_a_database_that_is_away_stops_no_process(runtime: Runtime) -> None:
    nowhere = Database({Role.WORKER: "postgresql+psycopg://nobody@127.0.0.1:1/none"})
    stop = threading.Event()
    stop.set()

    beating = Beating(nowhere, Role.WORKER, Part.WORKER, dict)
    beating.go_on()
    beating.run(stop)
    nowhere.close()


def test_what_was_left_behind_long_ago_goes_with_the_next_that_ends(runtime: Runtime) -> None:
    beating = Beating(runtime.database, Role.WORKER, Part.WORKER, dict)
    with runtime.database.session(Role.OPERATOR) as session:
        session.add_all(
            [beat_of("killed long ago", ago=timedelta(0)), beat_of("killed", ago=timedelta(0))]
        )
        session.flush()
        old = func.clock_timestamp() - timedelta(days=2)
        session.execute(update(Beat).values(at=func.clock_timestamp()))
        session.execute(update(Beat).where(Beat.owner == "killed long ago").values(at=old))
    beating.end()

    assert [row.owner for row in rows(runtime)] == ["killed"]


def test_the_latest_process_speaks_for_its_part_and_a_silent_one_for_nothing() -> None:
    found = beats.sign(
        [
            beat_of("new", ago=timedelta(seconds=5), free=30, failing=("plan",)),
            beat_of("also", ago=timedelta(seconds=50), free=20),
            beat_of("gone", ago=SILENT + timedelta(seconds=1), free=10, failing=("old",)),
        ],
        NOW,
    )

    assert (found.at, found.processes) == (NOW - timedelta(seconds=5), 2)
    assert (found.least_free, found.failing) == (20, ("plan",))


def test_a_part_that_never_gave_a_sign_is_left_out(runtime: Runtime) -> None:
    Beating(runtime.database, Role.WORKER, Part.RESTORES, dict).beat()
    with runtime.database.session(Role.OPERATOR) as session:
        assert set(beats.read(session)) == {Part.RESTORES}


def test_without_keeping_no_connection_stays_open_for_a_process_that_is_forked(
    runtime: Runtime,
) -> None:
    database = Database(runtime.settings.databases, keep=False)
    Beating(database, Role.WORKER, Part.WORKER, dict).beat()

    assert "NullPool" in type(database.engine(Role.WORKER).pool).__name__
