"""What a month came to: each promise, day by day, signed with the organisation's key.

How every promise stands becomes a row a day, the worst that was seen (`keep`). A statement is made of these rows: a
day on which nobody looked is named as such, and never counted as kept. Whoever has the public half of
the key from elsewhere verifies it without us.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import case, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from strongroom import records
from strongroom.actors import Actor
from strongroom.audit import entries, sequencing
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants import pack_changes, packs
from tenants.packs import Pack
from tenants.promise_rows import Attestation, Reading, Standing, State
from web.promises import register
from web.promises.register import Row

KIND = "promise-statement"
MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def keep(runtime: Runtime) -> int:
    """Look at every promise: how it stands now, and the worst of the day for good. Gives how many
    readings are new, or worse than the day's."""
    now = runtime.now()
    rows = register.read(runtime)
    with runtime.database.session(Role.OPERATOR) as session:
        for pack in register.known(runtime).values():
            pack_changes.note_version(session, pack, now=now)
        now_stands = insert(Standing).values([_standing(row, now) for row in rows])
        fresh = {name: now_stands.excluded[name] for name in ("state", "tenants", "evidence", "at")}
        session.execute(now_stands.on_conflict_do_update(index_elements=["promise"], set_=fresh))
        read = insert(Reading).values([_reading(row, now) for row in rows])
        worse = {name: read.excluded[name] for name in ("state", "evidence", "at")}
        made = session.execute(
            read.on_conflict_do_update(
                index_elements=["day", "promise"],
                set_=worse,
                where=_rank(read.excluded["state"]) < _rank(Reading.state),
            ).returning(Reading.id)
        )
        return len(made.all())


def _rank(state: Any) -> Any:
    """Lower is worse."""
    ranks = {each: place for place, each in enumerate(register.WORST)}
    return case(ranks, value=state)


def _standing(row: Row, now: datetime) -> dict[str, Any]:
    return {
        "promise": row.promise.id,
        "state": row.state,
        "tenants": row.tenants,
        "evidence": row.evidence,
        "at": now,
    }


def _reading(row: Row, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "day": now.date(),
        "pack": row.pack.name,
        "promise": row.promise.id,
        "state": row.state,
        "evidence": row.evidence,
        "at": now,
    }


def make(runtime: Runtime, month: str, *, by: Actor) -> bytes:
    """The signed statement of a month that is over, or of this one so far.

    Raises BadValue for a month to come and one without any reading, NoRecordKey without the key.
    """
    first, last = days_of(month)
    now = runtime.now()
    if first > now.date():
        raise BadValue(f"{month} is still to come. Name a month that has begun.")
    signer = records.Signer.from_text(runtime.settings.record_key)
    known = packs.known(runtime.settings.packs)
    with runtime.database.session(Role.OPERATOR) as session:
        readings = (
            session.execute(
                select(Reading)
                .where(Reading.day >= first, Reading.day <= last)
                .order_by(Reading.promise, Reading.day)
            )
            .scalars()
            .all()
        )
        if not readings:
            raise BadValue(
                f"Nobody looked at any promise in {month}: there is nothing to state. The process "
                "`strongroom serve upkeep` looks once a day.",
                code="nothing-read",
            )
        until = min(last, now.date())
        promises = stated(readings, first, until)
        body = {
            "kind": KIND,
            "month": month,
            "whole": last < now.date(),
            "days": (until - first).days + 1,
            "made_at": now.isoformat(),
            "packs": [_pack(pack) for pack in known.values()],
            "promises": promises,
            "confirmed": _confirmed(session, first, last),
            "record": _checkpoint(session),
        }
        data = signer.sign(body)
        deed = Deed("promises.stated", details={"month": month, "promises": len(promises)})
        entries.note(session, deed, by=by, at=now)
    return data


def read(data: bytes, key: str) -> dict[str, Any]:
    """What a statement says, once it is known that this key signed it. Raises records.RecordRefused."""
    return records.read(data, kind=KIND, trusted={key})


def stated(readings: Sequence[Reading], first: date, until: date) -> list[dict[str, Any]]:
    """A document a promise: on how many days it stood how, on which it was not looked at. Pure."""
    every = {first + timedelta(days=n) for n in range((until - first).days + 1)}
    by_promise: dict[str, list[Reading]] = {}
    for each in readings:
        by_promise.setdefault(each.promise, []).append(each)
    return [_stated(name, rows, every) for name, rows in sorted(by_promise.items())]


def _stated(name: str, rows: Sequence[Reading], every: set[date]) -> dict[str, Any]:
    unseen = sorted(every - {row.day for row in rows})
    states = [row.state for row in rows]
    return {
        "pack": rows[-1].pack,
        "id": name,
        "last": str(rows[-1].state),
        "worst": str(register.together(*states)),
        "days": {str(state): states.count(state) for state in State if state in states},
        "not_looked_at": [day.isoformat() for day in unseen],
        "not_kept": [
            {"day": row.day.isoformat(), "state": str(row.state)}
            for row in rows
            if row.state in (State.BROKEN, State.AT_RISK)
        ],
        "evidence": rows[-1].evidence,
    }


def days_of(month: str) -> tuple[date, date]:
    """Its first and last day. Raises BadValue."""
    found = MONTH.fullmatch(month)
    if found is None or not 2000 <= int(found[1]) <= 9998:
        raise BadValue(f"Wanted a month like 2026-10, found {month[:20]!r}.", code="bad-month")
    year, number = int(found[1]), int(found[2])
    return date(year, number, 1), date(year, number, calendar.monthrange(year, number)[1])


def _pack(pack: Pack) -> dict[str, Any]:
    return {
        "pack": pack.name,
        "title": dict(pack.title),
        "jurisdiction": list(pack.jurisdiction),
        "effective": pack.effective,
        "revised": pack.revised,
        "sha256": pack.sha256,
        "says": {each.id: dict(each.says) for each in pack.promises},
    }


def _confirmed(session: Session, first: date, last: date) -> list[dict[str, Any]]:
    begin = datetime.fromisoformat(f"{first}T00:00:00+00:00")
    end = datetime.fromisoformat(f"{last}T00:00:00+00:00") + timedelta(days=1)
    rows = session.execute(
        select(Attestation)
        .where(Attestation.at >= begin, Attestation.at < end)
        .order_by(Attestation.at)
    ).scalars()
    return [
        {
            "promise": row.promise,
            "document": row.document,
            "sha256": row.sha256,
            "owner": row.owner,
            "at": row.at.isoformat(),
        }
        for row in rows
    ]


def _checkpoint(session: Session) -> dict[str, Any] | None:
    """The newest signed checkpoint of the record: the statement cannot be older than that."""
    newest = sequencing.newest(session)
    if newest is None:
        return None
    return {"size": newest.size, "root": newest.root.hex(), "signed_at": newest.at.isoformat()}
