"""Riyadh Voice's database: extensions, numbers, queues and the records of ninety days of calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import product
from typing import Any

from psycopg import Connection
from psycopg.types.range import Range

from web.demo import calls, days, words
from web.demo.calls import Call
from web.demo.chance import stream
from web.demo.summary import Summary
from web.demo.tables import Row, fill, run_file

COLUMNS = {
    "queues": "id name name_ar answer_within_seconds",
    "extensions": "number holder holder_ar secret office_hours updated_on",
    "queue_members": "queue_id extension priority",
    "numbers": "number queue_id greeting_ar monthly_fee",
    "cdrs": "id started_at direction number queue_id extension ring talk cost result",
}


def create(connection: Connection[Any], *, seed: int) -> Summary:
    """Fill an empty database, in one transaction."""
    made = (call for day in calls.history() for call in calls.of_day(seed, day))
    rows: dict[str, Iterable[Row]] = {
        "queues": _queues(),
        "extensions": _extensions(seed),
        "queue_members": _members(seed),
        "numbers": _numbers(seed),
        "cdrs": map(_record, made),
    }
    with connection.transaction():
        run_file(connection, "telephony.sql")
        return fill(connection, COLUMNS, rows)


def change_a_day(connection: Connection[Any], *, seed: int, day: int) -> Summary:
    """The calls of the day, and one extension that gets another holder."""
    chance = stream(seed, "telephony", "day", day)
    holder = words.person(chance.choice(words.FIRST_NAMES), chance.choice(words.FAMILY_NAMES))
    made = calls.of_day(seed, days.after(day))
    with connection.transaction():
        written = fill(connection, COLUMNS, {"cdrs": map(_record, made)})
        connection.execute(
            "UPDATE extensions SET holder = %s, holder_ar = %s, updated_on = %s WHERE number = %s",
            (holder.english, holder.arabic, days.after(day), chance.choice(calls.EXTENSIONS)),
        )
    return Summary(tables=(*written.tables, ("extensions", 1)))


def damage(connection: Connection[Any]) -> str:
    """A retention script with the wrong unit, and queues that lost their members."""
    since = days.LAST_DAY - timedelta(days=30)
    with connection.transaction():
        lost = connection.execute("DELETE FROM cdrs WHERE started_at < %s", (since,)).rowcount
        members = connection.execute("DELETE FROM queue_members").rowcount
    return (
        f"{lost:,} call records before {since:%d %B %Y} were deleted, and all queues lost their "
        f"{members} members."
    )


def _queues() -> Iterator[Row]:
    for number, queue in enumerate(calls.QUEUES, start=1):
        yield number, queue.english, queue.arabic, 10 + number * 5


def _extensions(seed: int) -> Iterator[Row]:
    chance = stream(seed, "telephony", "extensions")
    people = chance.sample(
        list(product(words.FIRST_NAMES, words.FAMILY_NAMES)), len(calls.EXTENSIONS)
    )
    for number, parts in zip(calls.EXTENSIONS, people, strict=True):
        name = words.person(*parts)
        hours = Range(8, 8 + chance.randint(6, 10))
        yield number, name.english, name.arabic, chance.randbytes(16), hours, calls.FIRST_DAY


def _members(seed: int) -> Iterator[Row]:
    chance = stream(seed, "telephony", "members")
    for queue in range(1, len(calls.QUEUES) + 1):
        for priority, extension in enumerate(chance.sample(calls.EXTENSIONS, 14), start=1):
            yield queue, extension, priority


def _numbers(seed: int) -> Iterator[Row]:
    chance = stream(seed, "telephony", "numbers")
    for place in range(40):
        queue = chance.randint(1, len(calls.QUEUES))
        greeting = f"أهلا بكم في صوت الرياض، قسم {calls.QUEUES[queue - 1].arabic}"
        yield f"+966 11 0{90 + place // 10} {place:04d}", queue, greeting, 7500


def _record(call: Call) -> Row:
    return (
        *(call.id, call.started_at, call.direction, call.number, call.queue, call.extension),
        *(timedelta(seconds=call.ring_seconds), timedelta(seconds=call.talk_seconds)),
        *(call.cost, call.result),
    )
