"""A day of messages at Delta CRM: who writes to whom, what, and when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import Connection

from web.demo import phrases
from web.demo.chance import favourite, identifier
from web.demo.days import FRIDAY_SATURDAY
from web.demo.tables import Row
from web.demo.words import Term

CAIRO = ZoneInfo("Africa/Cairo")


@dataclass(frozen=True)
class Circle:
    """Those who write, as the database has them."""

    contacts: Sequence[Row]  # id, agent, language, English name, Arabic name
    agents: dict[int, Term]  # names by id


@dataclass
class Talk:
    """The rows that a time of talking makes."""

    circle: Circle
    chance: random.Random
    last: int = 0  # id of a conversation
    rows: dict[str, list[Row]] = field(
        default_factory=lambda: {"crm.conversations": [], "crm.messages": []}
    )


def read_circle(connection: Connection[Any]) -> Circle:
    contacts = connection.execute(
        "SELECT id, agent_id, language, name, name_ar FROM crm.contacts ORDER BY id"
    ).fetchall()
    agents = connection.execute("SELECT id, name, name_ar FROM crm.agents")
    return Circle(contacts, {number: Term(*name) for number, *name in agents})


def talk_for_a_day(talk: Talk, day: date) -> None:
    weekend = day.weekday() in FRIDAY_SATURDAY
    for _ in range(talk.chance.randint(1, 4) if weekend else talk.chance.randint(12, 20)):
        _converse(talk, day)


def _converse(talk: Talk, day: date) -> None:
    chance = talk.chance
    talk.last += 1
    contact, agent, language, english, arabic = favourite(chance, talk.circle.contacts)
    moment = datetime.combine(day, time(9), tzinfo=CAIRO).astimezone(UTC)
    moment += timedelta(seconds=chance.randint(0, 9 * 3600))
    closed = chance.random() < 0.9
    row = (talk.last, contact, agent, "whatsapp", moment, closed)
    talk.rows["crm.conversations"].append(row)
    name = Term(english, arabic)
    for turn, text in _turns(chance, closed=closed):
        moment += timedelta(seconds=chance.randint(8, 400))
        wording = text.arabic if language == "ar" else text.english
        values = slots(chance, language, (name, talk.circle.agents[agent]))
        read = moment + timedelta(seconds=chance.randint(1, 900)) if closed or turn else None
        talk.rows["crm.messages"].append(
            (identifier(chance), talk.last, turn % 2 == 0, wording.format(**values), moment, read)
        )


def _turns(chance: random.Random, *, closed: bool) -> Iterator[tuple[int, Term]]:
    """Numbered turns; even ones are the customer's."""
    parts = [chance.choice(phrases.OPENERS), chance.choice(phrases.MIDDLES)]
    if chance.random() < 0.35:
        parts += [phrases.FOLLOW_UP, chance.choice(phrases.MIDDLES)]
    if closed:
        parts.append(chance.choice(phrases.CLOSINGS))
    for part in parts:
        yield from enumerate(part)


def slots(chance: random.Random, language: str, names: tuple[Term, Term]) -> dict[str, str]:
    """What fills the slots of a phrase; the names are the customer's and the agent's."""
    terms = {
        "customer": names[0],
        "agent": names[1],
        "goods": chance.choice(phrases.GOODS),
        "weekday": chance.choice(phrases.WEEKDAYS),
    }
    values = {
        slot: term.arabic if language == "ar" else term.english for slot, term in terms.items()
    }
    values["amount"] = f"{chance.randrange(900, 60_000, 50):,}"
    values["number"] = str(chance.randint(1001, 9990))
    values["pieces"] = str(chance.randint(11, 60))
    values["fee"] = str(chance.randrange(60, 260, 10))
    return values
