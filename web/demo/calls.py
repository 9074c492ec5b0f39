"""The calls of Riyadh Voice, day by day; its database and its folder tell of the same ones."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from web.demo.chance import favourite, identifier, stream
from web.demo.days import FRIDAY_SATURDAY, LAST_DAY
from web.demo.words import terms

RIYADH = ZoneInfo("Asia/Riyadh")
DAYS = 90
FIRST_DAY = LAST_DAY - timedelta(days=DAYS - 1)
EXTENSIONS = range(201, 261)
QUEUES = terms(
    """
    Customer service|خدمة العملاء
    Sales|المبيعات
    Technical support|الدعم الفني
    Accounts|الحسابات
    Appointments|المواعيد
    Complaints|الشكاوى
    """
)
RECORDED_SECONDS = range(150, 270)  # of a call that is kept as an example


@dataclass(frozen=True)
class Call:
    """One call as the exchange records it."""

    id: uuid.UUID
    started_at: datetime  # UTC
    direction: str  # in or out
    number: str  # the other side
    queue: int  # place in QUEUES, from 1
    extension: int
    ring_seconds: int
    talk_seconds: int  # 0 if nobody answered
    cost: int  # halalas

    @property
    def result(self) -> str:
        return "answered" if self.talk_seconds else "missed"

    @property
    def recording(self) -> str:
        """Path of its recording below the folder, if it has one."""
        local = self.started_at.astimezone(RIYADH)
        name = f"{local:%H%M%S} تحويلة {self.extension}.wav"
        return f"recordings/{QUEUES[self.queue - 1].arabic}/{local:%Y-%m-%d}/{name}"


def of_day(seed: int, day: date) -> list[Call]:
    """In the order in which they began."""
    chance = stream(seed, "calls", day)
    weekend = day.weekday() in FRIDAY_SATURDAY
    count = chance.randint(80, 130) if weekend else chance.randint(240, 300)
    calls = [_call(chance, day) for _ in range(count)]
    return sorted(calls, key=lambda call: (call.started_at, call.id))


def recorded(calls: list[Call]) -> Call | None:
    """The call of a day that is kept as a recording."""
    choices = [call for call in calls if call.talk_seconds in RECORDED_SECONDS]
    return min(choices, key=lambda call: call.id, default=None)


def history() -> Iterator[date]:
    for number in range(DAYS):
        yield FIRST_DAY + timedelta(days=number)


def _call(chance: random.Random, day: date) -> Call:
    opening = datetime.combine(day, time(8), tzinfo=RIYADH).astimezone(UTC)
    outgoing = chance.random() < 0.35
    talk = int(chance.expovariate(1 / 140)) if chance.random() < 0.82 else 0
    return Call(
        id=identifier(chance),
        started_at=opening + timedelta(seconds=chance.randrange(12 * 3600)),
        direction="out" if outgoing else "in",
        number=_number(chance),
        queue=1 + QUEUES.index(favourite(chance, QUEUES)),
        extension=chance.choice(EXTENSIONS),
        ring_seconds=chance.randint(2, 45),
        talk_seconds=talk,
        cost=-(-talk // 60) * 12 if outgoing else 0,
    )


def _number(chance: random.Random) -> str:
    """Meant to ring nowhere: no subscriber number begins with zero."""
    return f"+966 11 0{chance.randrange(40):02d} {chance.randrange(10**4):04d}"
