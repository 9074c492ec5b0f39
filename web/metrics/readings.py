"""The metrics out of rows, in groups that are read and fail by themselves.

What could be absent because there is nothing of it is said as 0: an alert rule over a series that is
not there never fires.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from backup import rota
from backup.models import (
    BackupRun,
    Copy,
    Finding,
    Point,
    Proof,
    Removal,
    Repository,
    Rota,
    Snapshot,
)
from backup.states import (
    CopyState,
    Level,
    Outcome,
    ProofState,
    RemovalState,
    RepositoryState,
    RunState,
)
from restore.models import Drill
from restore.states import DrillState
from strongroom.audit import inspecting
from strongroom.db import Role
from strongroom.ids import first_id
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import duties, health
from web.health import Attention
from web.metrics.catalogue import QUANTILES

DAY = timedelta(days=1)
OFTEN, SELDOM = timedelta(seconds=15), timedelta(minutes=5)
ALIVE = timedelta(minutes=3)
ON_ITS_WAY = (CopyState.WAITING, CopyState.COPYING)  # there is an index of these
UNFINISHED = (RemovalState.PLANNED, RemovalState.FORGOTTEN)

Sample = tuple[str, tuple[str, ...], float]  # a metric's short name, values of its labels, value


@dataclass(frozen=True)
class Asking:
    """Who asks, and when."""

    runtime: Runtime
    session: Session  # of the operators' role: it sees all tenants, and changes nothing here
    now: datetime  # business time

    def today(self, kind: Any) -> Any:
        """Of the last day: ids sort by the time they were made, on the host's clock."""
        return kind.id >= first_id(datetime.now(UTC) - DAY)


@dataclass(frozen=True)
class Reading:
    """A group of metrics, and how old an answer may be."""

    name: str
    read: Callable[[Asking], Iterator[Sample]]
    every: timedelta = OFTEN


def tenants(asking: Asking) -> Iterator[Sample]:
    """By the query of the console, so that both say the same."""
    found = health.read(asking.session, now=asking.now)
    yield "tenants", (), len(found)
    codes = Counter(trouble.code for each in found for trouble in each.troubles)
    for code in Attention:
        yield "tenants_attention", (code.value,), codes[code]
    ages = {each.slug: _age(asking.now, each.newest) for each in found if each.newest is not None}
    yield "tenants_without_point", (), len(found) - len(ages)
    for share in QUANTILES if ages else ():
        yield "last_complete_point_age_seconds", (f"{share:g}",), quantile([*ages.values()], share)
    if len(found) <= asking.runtime.settings.metrics_tenants:
        for slug, age in ages.items():
            yield "tenant_last_complete_point_age_seconds", (slug,), age


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not pass. Pure."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def runs(asking: Asking) -> Iterator[Sample]:
    outcome = (
        select(Point.outcome)
        .where(Point.tenant_id == BackupRun.tenant_id, Point.id == BackupRun.id)
        .scalar_subquery()
    )
    rows = asking.session.execute(
        select(BackupRun.state, outcome.label("outcome"), func.count())
        .where(asking.today(BackupRun))
        .group_by(BackupRun.state, "outcome")
    )
    found = Counter[str]()
    for state, came_to, count in rows:  # pyright: ignore
        found[str(came_to if state is RunState.STORED else state)] += count
    ended = (*Outcome, RunState.QUARANTINED)
    for name in dict.fromkeys(str(each) for each in (RunState.QUEUED, RunState.MAKING, *ended)):
        yield "backup_runs_last_day", (name,), found[name]


def proofs(asking: Asking) -> Iterator[Sample]:
    rows = asking.session.execute(
        select(Proof.level, Proof.state, func.count())
        .where(asking.today(Proof))
        .group_by(Proof.level, Proof.state)
    )
    found = {(level, state): count for level, state, count in rows}  # pyright: ignore
    levels = [each for each in Level if each is not Level.DRILL]
    for level in levels:
        for state in ProofState:
            yield "proofs_last_day", (level, state), found.get((level, state), 0)
    yield from _oldest_proofs(asking)


def _oldest_proofs(asking: Asking) -> Iterator[Sample]:
    """By what has its turn; who has none yet counts from the day it was made."""
    for level in rota.LEVELS:
        mine = (Rota.repository_id == Repository.id) & (Rota.level == level)
        oldest = asking.session.execute(
            select(func.min(func.coalesce(Rota.passed_at, Repository.created_at)))
            .select_from(Repository)
            .outerjoin(Rota, mine)
            .where(Repository.counts())
        ).scalar_one()
        yield "oldest_proof_age_seconds", (level,), _age(asking.now, oldest)


def drills(asking: Asking) -> Iterator[Sample]:
    rows = asking.session.execute(
        select(Drill.state, func.count()).where(asking.today(Drill)).group_by(Drill.state)
    )
    found = {state: count for state, count in rows}  # pyright: ignore  # noqa: C416
    for state in DrillState:
        yield "drills_last_day", (state,), found.get(state, 0)


def oldest_drill(asking: Asking) -> Iterator[Sample]:
    """Of tenants that have a point to rehearse with; who never had one counts from that point."""
    passed = (
        select(func.max(Drill.ended_at))
        .where(Drill.tenant_id == Tenant.id, Drill.state == DrillState.PASSED)
        .scalar_subquery()
    )
    first = (
        select(func.min(Point.first_seen_at))
        .where(Point.tenant_id == Tenant.id, Point.outcome == Outcome.COMPLETE)
        .scalar_subquery()
    )
    since = asking.session.execute(select(func.min(func.coalesce(passed, first)))).scalar()
    yield "oldest_drill_age_seconds", (), _age(asking.now, since)


def queues(asking: Asking) -> Iterator[Sample]:
    """As the dispatcher finds what is due."""
    for due in duties.DUES:
        kind = due.kind
        depth, oldest = asking.session.execute(
            select(func.count(), func.min(kind.due_at)).where(
                kind.state.in_(due.waiting), kind.due_at <= asking.now
            )
        ).one()
        labels = (due.queue.value, kind.__tablename__)
        yield "queue_depth", labels, depth
        yield "queue_oldest_waiting_seconds", labels, _age(asking.now, oldest)
        if due.leased:
            busy = select(func.count()).where(kind.state == kind.BUSY)
            yield "work_running", (kind.__tablename__,), asking.session.execute(busy).scalar_one()


def regions(asking: Asking) -> Iterator[Sample]:
    names = asking.session.execute(select(Region.name).order_by(Region.rank)).scalars().all()
    code = Copy.failure["code"].astext
    rows = asking.session.execute(
        select(Region.name, code, func.count(), func.min(Point.first_seen_at))
        .join(Copy, Copy.region_id == Region.id)
        .join(Point, Point.id == Copy.point_id)
        .where(Copy.state.in_(ON_ITS_WAY))
        .group_by(Region.name, code)
    ).all()
    for name in names:
        mine = [row for row in rows if row[0] == name]
        oldest = min((row[3] for row in mine), default=None)
        yield "copies_waiting", (name,), sum(row[2] for row in mine)
        yield "oldest_copy_waiting_seconds", (name,), _age(asking.now, oldest)
        for _, why, count, _since in mine:
            if why is not None:
                yield "copies_failing", (name, why), count


def stored(asking: Asking) -> Iterator[Sample]:
    added = asking.session.execute(
        select(Region.name, func.coalesce(func.sum(Snapshot.added_bytes), 0))
        .select_from(Region)
        .outerjoin(Repository, Repository.region_id == Region.id)
        .outerjoin(Snapshot, (Snapshot.repository_id == Repository.id) & Snapshot.standing())
        .group_by(Region.name)
    ).all()
    counted = asking.session.execute(
        select(Region.name, Repository.state, func.count())
        .join(Repository, Repository.region_id == Region.id)
        .group_by(Region.name, Repository.state)
    )
    found = {(name, state): count for name, state, count in counted}  # pyright: ignore
    for name, size in added:  # pyright: ignore
        yield "stored_bytes", (name,), float(size)
        for state in RepositoryState:
            yield "repositories", (name, state), found.get((name, state), 0)


def removals(asking: Asking) -> Iterator[Sample]:
    code = Removal.blocked["code"].astext
    rows = asking.session.execute(
        select(code, func.count()).where(Removal.state.in_(UNFINISHED)).group_by(code)
    ).all()
    yield "removals_waiting", (), sum(count for _, count in rows)  # pyright: ignore
    for why, count in rows:  # pyright: ignore
        if why is not None:
            yield "removals_blocked", (why,), count


def findings(asking: Asking) -> Iterator[Sample]:
    rows = asking.session.execute(
        select(Finding.code, func.count())
        .where(Finding.settled_at.is_(None))
        .group_by(Finding.code)
    )
    for code, count in rows:  # pyright: ignore
        yield "findings_open", (code,), count


def record(asking: Asking) -> Iterator[Sample]:
    found = inspecting.standing(asking.runtime)
    yield "record_entries", (), found.size
    yield "record_waiting_entries", (), found.waiting
    yield "record_oldest_waiting_seconds", (), _age(asking.now, found.oldest)
    yield "record_refused", (), float(found.refusal is not None)


def signs_of_life(asking: Asking) -> Iterator[Sample]:
    """On the database's clock, as they are given."""
    if not _is_there(asking, "heartbeats"):
        return
    rows = asking.session.execute(
        text(
            "select part, count(*) filter (where at > clock_timestamp() - :alive),"
            " extract(epoch from clock_timestamp() - max(at)) from heartbeats group by part"
        ),
        {"alive": ALIVE},
    )
    for part, alive, age in rows:  # pyright: ignore
        yield "processes_alive", (part,), alive
        yield "heartbeat_age_seconds", (part,), float(age)


def alerts(asking: Asking) -> Iterator[Sample]:
    if not _is_there(asking, "alerts"):
        return
    rows = asking.session.execute(
        text("select severe, count(*) from alerts where closed_at is null group by severe")
    )
    found = {severe: count for severe, count in rows}  # pyright: ignore  # noqa: C416
    for severe in (True, False):
        yield "alerts_open", (str(severe).lower(),), found.get(severe, 0)


def _is_there(asking: Asking, table: str) -> bool:
    found = asking.session.execute(text("select to_regclass(:name)"), {"name": f"public.{table}"})
    return found.scalar() is not None


def _age(now: datetime, since: datetime | None) -> float:
    """Seconds; 0 where there is nothing that could be old."""
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


READINGS = (
    Reading("tenants", tenants),
    Reading("runs", runs),
    Reading("proofs", proofs),
    Reading("drills", drills),
    Reading("oldest_drill", oldest_drill, SELDOM),
    Reading("queues", queues),
    Reading("regions", regions),
    Reading("stored", stored, SELDOM),
    Reading("removals", removals),
    Reading("findings", findings),
    Reading("record", record),
    Reading("signs_of_life", signs_of_life),
    Reading("alerts", alerts),
)
ROLE = Role.OPERATOR
