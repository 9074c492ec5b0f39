"""How all tenants stand, as pages ask for it: however many there are, a page costs the same.

    few tenants   ─▶ as they stand now        health.read, days.read
    many          ─▶ as they stood a moment ago: the rows that `take` left, round by round

Both are the same rows, asked by the same statements; `Picture.at` says of when they are.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    Select,
    String,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by, insert
from sqlalchemy.orm import Session

from backup.models import Repository
from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import days, health
from web.health import RANK, Attention, Health
from web.standings import Picture as Row
from web.standings import Standing

FEW = 100  # tenants; as many as one page shows
SPAN = 90  # days
RECENT = 4  # days of which something new may be said at any time
SHOWN = 5  # tenants that are named for a failure
ROUNDS = 60  # each tenant's whole span is read again once an hour: a slice a minute
OLD = timedelta(minutes=5)
REST = 20.0  # times what taking it took: a twentieth of one processor
LEAST_SECONDS = 5.0
ADVISORY_LOCK = 0x5354_5250_4943_5455  # of two processes one takes it
SEVERE = max(RANK[code] for code in Attention if code.severe)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Chosen:
    """Which tenants; None: all."""

    plan: str | None = None
    region: str | None = None
    cause: Attention | None = None
    attention: bool = False  # only those that need it


@dataclass(frozen=True)
class Totals:
    """Of all tenants that were chosen."""

    tenants: int
    attention: int
    severe: bool  # of some it is more than a nuisance
    waiting: int  # without any complete point, and nothing wrong with that yet
    working: int  # things under way


@dataclass(frozen=True)
class Failing:
    """Tenants whose last backup failed for one reason, or for which some of it did."""

    tenants: int
    slugs: Sequence[str]  # a few of them
    ids: Sequence[UUID]


class Picture:
    """The rows of one moment, within one session."""

    def __init__(
        self, session: Session, source: Any, *, at: datetime | None, until: date, live: bool
    ) -> None:
        self._session = session
        self._from = source
        self.at = at  # None: none was taken yet
        self.until = until  # the last day of the strips
        self.live = live  # it is of now

    def is_old(self, now: datetime) -> bool:
        return self.at is None or now - self.at > OLD

    def totals(self, chosen: Chosen) -> Totals:
        c = self._from.c
        fine = c.place == len(RANK)
        row = self._session.execute(
            self._chosen(
                chosen,
                func.count(),
                func.count().filter(~fine),
                func.coalesce(func.bool_or(c.place <= SEVERE), literal(False)),
                func.count().filter(and_(fine, c.body["newest"].astext.is_(None))),
                func.coalesce(func.sum(func.jsonb_array_length(c.body["working"])), 0),
            )
        ).one()
        return Totals(*row)

    def causes(self) -> dict[Attention, int]:
        """How many tenants have each trouble, worst first; those that nobody has are left out."""
        each = _each(self._from.c.troubles)
        rows = self._session.execute(
            select(each.c.name, func.count())
            .select_from(self._from.join(each, true()))
            .group_by(each.c.name)
        )
        found = {Attention(name): count for name, count in rows}
        return {code: found[code] for code in Attention if code in found}

    def sheet(self, chosen: Chosen, *, first: int, count: int) -> Sequence[tuple[Health, str]]:
        """Tenants from the `first` on (from 0), the worst first, each with its strip of days."""
        c = self._from.c
        rows = self._session.execute(
            self._chosen(chosen, c.body, c.cells)
            .order_by(c.place, func.jsonb_array_length(c.troubles).desc(), c.slug)
            .offset(first)
            .limit(count)
        )
        return [(Health.from_json(row.body), row.cells) for row in rows]

    def strips(self, chosen: Chosen, by: str) -> Mapping[str | None, tuple[int, str]]:
        """By plan, region or cause: how many tenants, and their strips one after another.

        A tenant in two regions, or with two causes, counts in both; with none: None.
        """
        c = self._from.c
        key: Any = c.plan
        wanted = self._chosen(chosen)
        if by != "plan":
            each = _each(c.troubles if by == "cause" else c.regions)
            key, wanted = each.c.name, wanted.select_from(self._from.outerjoin(each, true()))
        rows = self._session.execute(
            wanted.add_columns(
                key.label("key"),
                func.count().label("tenants"),
                func.string_agg(c.cells, "").label("cells"),
            ).group_by(key)
        )
        return {row.key: (row.tenants, row.cells) for row in rows}

    def failing(self, code: str | None = None) -> Mapping[str, Failing]:
        """By failure code, or of one."""
        c = self._from.c
        trouble = func.jsonb_array_elements(c.body["troubles"]).table_valued(
            column("value", JSONB()), name="trouble"
        )
        found = trouble.c.value["failure"]["code"].astext
        wanted = (
            select(
                found.label("code"),
                func.count().label("tenants"),
                func.array_agg(aggregate_order_by(c.slug, c.slug)).label("slugs"),
                func.array_agg(c.tenant).label("ids"),
            )
            .select_from(self._from.join(trouble, true()))
            .where(found.is_not(None) if code is None else found == code)
            .group_by(found)
        )
        rows = self._session.execute(wanted)
        return {row.code: Failing(row.tenants, row.slugs[:SHOWN], row.ids) for row in rows}

    def _chosen(self, chosen: Chosen, *columns: Any) -> Select[Any]:
        c = self._from.c
        wanted: Select[Any] = select(*columns).select_from(self._from)  # pyright: ignore
        if chosen.plan is not None:
            wanted = wanted.where(c.plan == chosen.plan)
        if chosen.region is not None:
            wanted = wanted.where(c.regions.contains([chosen.region]))
        if chosen.cause is not None:
            wanted = wanted.where(c.troubles.contains([chosen.cause]))
        if chosen.attention:
            wanted = wanted.where(c.place < len(RANK))
        return wanted


def of(session: Session, *, now: datetime, with_days: bool = False) -> Picture:
    """Live for a few tenants; of many the one that was taken."""
    ids = session.execute(select(Tenant.id).where(~Tenant.canary).limit(FEW + 1)).scalars().all()
    if len(ids) > FEW:
        row = session.execute(select(Row)).scalar_one_or_none()
        at, until = (None, now.date()) if row is None else (row.at, row.until)
        return Picture(session, Standing.__table__, at=at, until=until, live=False)
    everybody = health.read(session, now=now)
    sheet = days.read(session, ids if with_days else [], SPAN, now=now)
    strips = {tenant: days.written(strip.cells) for tenant, strip in sheet.strips.items()}
    rows = _rows(session, everybody, strips)
    return Picture(session, _recordset(rows), at=now, until=sheet.dates[-1], live=True)


def take(session: Session, *, now: datetime) -> None:
    """Leave how all tenants stand, for who asks next."""
    began = time.monotonic()
    known = session.execute(select(Row)).scalar_one_or_none()
    everybody = health.read(session, now=now)
    zones = {each.zone for each in everybody}
    until = days.latest(zones, now)
    strips = _strips(session, [each.id for each in everybody], known, until, now)
    rows = _rows(session, everybody, strips)
    _replace(session, rows)
    made = {"at": now, "seconds": time.monotonic() - began, "until": until}
    session.execute(
        insert(Row).values(id=1, **made).on_conflict_do_update(index_elements=["id"], set_=made)
    )


def rest(took: float) -> float:
    """Seconds until the next one; the last one is never called old for that. Pure."""
    return min(max(LEAST_SECONDS, REST * took), OLD.total_seconds() / 2)


class Photographer:
    """Takes the picture again and again, in a thread of its own."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What fails is logged and tried again: the picture grows old, and says so."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                self.round()
            except Exception:  # an edge: the next round tries again
                log.exception("the picture of all tenants was not taken")
            stop.wait(rest(time.monotonic() - began))

    def round(self) -> bool:
        """Whether one was taken: of a few tenants none is needed."""
        database = self._runtime.database
        with database.alone(Role.OPERATOR, ADVISORY_LOCK) as alone:
            if not alone:
                return False
            with database.session(Role.OPERATOR) as session:
                ids = (
                    session.execute(select(Tenant.id).where(~Tenant.canary).limit(FEW + 1))
                    .scalars()
                    .all()
                )
                if len(ids) > FEW:
                    take(session, now=self._runtime.now())
                return len(ids) > FEW


def _strips(
    session: Session, tenants: Sequence[UUID], known: Row | None, until: date, now: datetime
) -> dict[UUID, str]:
    """Of each tenant: what was known, with its last days read again; some are read anew, whole."""
    before = _known_strips(session, known, until)
    slice_ = int(now.timestamp() // 60) % ROUNDS
    whole = [each for each in tenants if each not in before or each.int % ROUNDS == slice_]
    fresh = set(whole)
    recent = [each for each in tenants if each not in fresh]
    found: dict[UUID, str] = {}
    for some, span in ((whole, SPAN), (recent, RECENT)):
        sheet = days.read(session, some, span, now=now, last=until)
        for tenant, strip in sheet.strips.items():
            older = before.get(tenant, "")[: SPAN - span]
            found[tenant] = older + days.written(strip.cells)
    return found


def _known_strips(session: Session, known: Row | None, until: date) -> dict[UUID, str]:
    """Moved on to a last day; none where what is known is too old to be added to."""
    gone = SPAN if known is None else (until - known.until).days
    if not 0 <= gone < RECENT:
        return {}
    rows = session.execute(select(Standing.tenant, Standing.cells))
    return {row.tenant: row.cells[gone:] for row in rows if len(row.cells) == SPAN}


def _rows(
    session: Session, everybody: Sequence[Health], strips: Mapping[UUID, str]
) -> list[dict[str, Any]]:
    regions = _regions(session)
    return [
        {
            "tenant": str(each.id),
            "slug": each.slug,
            "plan": each.plan,
            "place": each.place,
            "troubles": list(dict.fromkeys(found.code for found in each.troubles)),
            "regions": regions.get(each.id, []),
            "body": each.to_json(),
            "cells": strips.get(each.id, ""),
        }
        for each in everybody
    ]


def _regions(session: Session) -> dict[UUID, list[str]]:
    """Names of the regions that each tenant's backups lie in."""
    rows = session.execute(
        select(Repository.tenant_id, func.array_agg(Region.name.distinct()))
        .join(Region, Region.id == Repository.region_id)
        .where(Repository.counts())
        .group_by(Repository.tenant_id)
    )
    return {tenant: sorted(names) for tenant, names in rows}


def _each(names: Any) -> Any:
    """The names of a list, as a table."""
    return func.jsonb_array_elements_text(names).table_valued("name").render_derived()


def _recordset(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as a table of this statement."""
    columns: list[Any] = [column(each.key, each.type) for each in Standing.__table__.c]
    text = cast(bindparam(None, json.dumps(rows), String()), JSONB)
    return (
        func.jsonb_to_recordset(text)
        .table_valued(*columns)
        .render_derived(name="standings", with_types=True)
    )


def _replace(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Only what has changed is written."""
    source = _recordset(rows)
    names = [each.key for each in Standing.__table__.c]
    put = insert(Standing).from_select(names, select(*(source.c[name] for name in names)))
    new = {name: put.excluded[name] for name in names if name != "tenant"}
    changed = or_(*(getattr(Standing, name).is_distinct_from(new[name]) for name in new))
    session.execute(put.on_conflict_do_update(index_elements=["tenant"], set_=new, where=changed))
    here = select(cast(source.c.tenant, Uuid))
    session.execute(delete(Standing).where(Standing.tenant.not_in(here)))
