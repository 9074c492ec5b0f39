"""How often something may be tried: counted in rows, so that a restart forgives nobody.

A try is counted, and the count committed, before anything is looked at: guesses side by side cannot
slip through together, and a failure that rolls back is counted all the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, delete
from sqlalchemy.dialects.postgresql import insert

from strongroom.db import Database, Role
from strongroom.people.errors import TooMany
from strongroom.people.models import Tally


@dataclass(frozen=True)
class Limit:
    """So many tries in so long."""

    name: str
    most: int
    window: timedelta


QUARTER = timedelta(minutes=15)
SIGN_IN = Limit("sign-in", 10, QUARTER)  # of one address of mail, known or not
SIGN_IN_FROM = Limit("sign-in-from", 100, QUARTER)  # from one network address
SECOND_FACTOR = Limit("second-factor", 5, QUARTER)  # of one account
LINK_FROM = Limit("link-from", 30, QUARTER)
PIN = Limit("pin", 5, QUARTER)  # of one tenant, whoever asks
PIN_BY = Limit("pin-by", 20, timedelta(hours=1))  # by one of staff, over all tenants


def spend(database: Database, limit: Limit, who: str, *, now: datetime) -> None:
    """Count one more try. Raises TooMany, with the moment from which it may be tried again."""
    with database.session(Role.PEOPLE) as session:
        row = insert(Tally).values(name=_name(limit, who), count=1, until=now + limit.window)
        over = Tally.until <= now
        upsert = row.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "count": case((over, 1), else_=Tally.count + 1),
                "until": case((over, now + limit.window), else_=Tally.until),
            },
        ).returning(Tally.count, Tally.until)
        count, until = session.execute(upsert).one()
    if count > limit.most:
        raise TooMany(
            f"Too many tries. Wait until {until:%H:%M} UTC, then try again.",
            until=until.isoformat(),
            seconds=max(1, round((until - now).total_seconds())),
        )


def forgive(database: Database, limit: Limit, who: str) -> None:
    """It was the right one: begin to count anew."""
    with database.session(Role.PEOPLE) as session:
        session.execute(delete(Tally).where(Tally.name == _name(limit, who)))


def _name(limit: Limit, who: str) -> str:
    return f"{limit.name}:{hashlib.sha256(who.encode('utf-8', 'replace')).hexdigest()}"
