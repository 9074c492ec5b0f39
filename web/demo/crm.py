"""Delta CRM's database: contacts, deals and a year of messages in Cairo, in the schema `crm`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import product
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from web.demo import attachments, crm_talk, days, words
from web.demo.chance import stream
from web.demo.crm_talk import CAIRO, Talk
from web.demo.phrases import GOODS, STAGES, TAGS
from web.demo.summary import Summary
from web.demo.tables import Row, catch_up, fill, run_file

AGENTS = 24
COMPANIES = 800
CONTACTS = attachments.CONTACTS
DEALS = 3000
MEDIA_TYPES = {
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
}
COLUMNS = {
    "crm.agents": "id name name_ar email",
    "crm.companies": "id name name_ar city",
    "crm.contacts": "id company_id agent_id name name_ar phone email language tags properties"
    " opted_in created_at",
    "crm.stages": "id name name_ar",
    "crm.deals": "id contact_id stage_id title amount changed_at",
    "crm.conversations": "id contact_id agent_id channel started_at closed",
    "crm.messages": "id conversation_id from_customer body sent_at read_at",
    "crm.attachments": "path contact_id media_type added_on",
}
IDENTITIES = {"crm.deals_id_seq": "crm.deals"}


def create(connection: Connection[Any], *, seed: int) -> Summary:
    """Make the schema `crm` and fill it, in one transaction."""
    with connection.transaction():
        run_file(connection, "crm.sql")
        people = fill(connection, COLUMNS, _people(seed))
        talk = Talk(crm_talk.read_circle(connection), stream(seed, "crm", "talk"))
        for day in days.history(since=attachments.SINCE):
            crm_talk.talk_for_a_day(talk, day)
        talked = fill(connection, COLUMNS, talk.rows)
        sent = fill(connection, COLUMNS, {"crm.attachments": _sent(attachments.listed(seed))})
        run_file(connection, "crm_rules.sql")
        catch_up(connection, IDENTITIES)
    return Summary(tables=people.tables + talked.tables + sent.tables)


def change_a_day(connection: Connection[Any], *, seed: int, day: int) -> Summary:
    """New conversations and attachments; some deals move, some messages are read."""
    chance = stream(seed, "crm", "day", day)
    date = days.after(day)
    with connection.transaction():
        moved = _move_deals(connection, chance, date)
        last = connection.execute("SELECT max(id) FROM crm.conversations").fetchall()[0][0]
        talk = Talk(crm_talk.read_circle(connection), chance, last)
        crm_talk.talk_for_a_day(talk, date)
        talked = fill(connection, COLUMNS, talk.rows)
        added = {"crm.attachments": _sent(attachments.listed_on(seed, day))}
        sent = fill(connection, COLUMNS, added)
    return Summary(tables=(*talked.tables, *sent.tables, ("crm.deals", moved)))


def damage(connection: Connection[Any]) -> str:
    """A clean-up script deletes the messages of a quarter, an import empties the phones."""
    since = _moment(days.LAST_DAY - timedelta(days=90), minute=0)
    with connection.transaction():
        lost = connection.execute("DELETE FROM crm.messages WHERE sent_at >= %s", (since,))
        emptied = connection.execute("UPDATE crm.contacts SET phone = '' WHERE id %% 2 = 0", ())
    return (
        f"{lost.rowcount:,} messages since {since:%d %B %Y} were deleted, and an import emptied "
        f"the telephone numbers of {emptied.rowcount:,} contacts."
    )


def _people(seed: int) -> dict[str, Iterator[Row]]:
    return {
        "crm.agents": _agents(stream(seed, "crm", "agents")),
        "crm.companies": _companies(stream(seed, "crm", "companies")),
        "crm.contacts": _contacts(stream(seed, "crm", "contacts")),
        "crm.stages": (
            (number, stage.english, stage.arabic) for number, stage in enumerate(STAGES, start=1)
        ),
        "crm.deals": _deals(stream(seed, "crm", "deals")),
    }


def _agents(chance: random.Random) -> Iterator[Row]:
    people = chance.sample(list(product(words.FIRST_NAMES, words.FAMILY_NAMES)), AGENTS)
    for number, parts in enumerate(people, start=1):
        name = words.person(*parts)
        yield number, name.english, name.arabic, f"{words.address(name.english)}@delta.example"


def _companies(chance: random.Random) -> Iterator[Row]:
    choices = list(product(words.COMPANY_NAMES, words.TRADES, words.EGYPT_CITIES))
    for number, parts in enumerate(chance.sample(choices, COMPANIES), start=1):
        name = words.company(*parts)
        yield number, name.english, name.arabic, parts[2].english


def _contacts(chance: random.Random) -> Iterator[Row]:
    for number in range(1, CONTACTS + 1):
        name = words.person(chance.choice(words.FIRST_NAMES), chance.choice(words.FAMILY_NAMES))
        employer = chance.randint(1, COMPANIES) if chance.random() < 0.7 else None
        email = f"{words.address(name.english)}.{number}@mail.example"
        properties = {
            "source": chance.choice(("website", "معرض", "referral")),
            "score": number % 97,
        }
        created = _moment(days.FIRST_DAY + timedelta(days=number % 365), minute=number % 480)
        yield (
            *(number, employer, chance.randint(1, AGENTS), name.english, name.arabic),
            *(_phone(chance), email if chance.random() < 0.6 else None),
            *("ar" if chance.random() < 0.7 else "en", chance.sample(TAGS, chance.randint(0, 3))),
            *(Jsonb(properties), chance.random() < 0.85, created),
        )


def _deals(chance: random.Random) -> Iterator[Row]:
    for number in range(1, DEALS + 1):
        goods = chance.choice(GOODS)
        title = f"{chance.randint(2, 80)} × {goods.arabic if number % 3 else goods.english}"
        changed = _moment(days.LAST_DAY - timedelta(days=number % 300), minute=number % 480)
        amount = chance.randrange(150_000, 40_000_000, 2500)
        stage = chance.randint(1, len(STAGES))
        yield number, chance.randint(1, CONTACTS), stage, title, amount, changed


def _sent(listed: Iterator[attachments.Attachment]) -> Iterator[Row]:
    for item in listed:
        yield item.path, item.contact, MEDIA_TYPES[item.kind], item.added_on


def _move_deals(connection: Connection[Any], chance: random.Random, date: date) -> int:
    open_deals = connection.execute("SELECT id FROM crm.deals WHERE stage_id < 5 ORDER BY id")
    moved = chance.sample([number for (number,) in open_deals], 25)
    return connection.execute(
        "UPDATE crm.deals SET stage_id = stage_id + 1, changed_at = %s WHERE id = ANY (%s)",
        (_moment(date, minute=300), moved),
    ).rowcount


def _moment(day: date, *, minute: int) -> datetime:
    """That many minutes after the office in Cairo opens."""
    return datetime.combine(day, time(9), tzinfo=CAIRO) + timedelta(minutes=minute)


def _phone(chance: random.Random) -> str:
    """Meant to ring nowhere: no subscriber number begins with zero."""
    return f"+20 2 0{chance.randrange(10**3):03d} {chance.randrange(10**4):04d}"
