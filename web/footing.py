"""What the platform itself stands on, and what is wrong with it: silence counts as wrong.

    beats, looks, rows that wait ─▶ read ─▶ faults (pure), worst first

Beside it stand the dumps of the control database and the record, each with its own codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import exists, func, literal, select, union_all
from sqlalchemy.orm import Session

from backup.models import Repository
from strongroom.audit import inspecting
from strongroom.db import Role
from strongroom.dispatch import CLOCKS_APART
from strongroom.heartbeats import SILENT, Heartbeat
from strongroom.lifecycle import database_now
from strongroom.looks import KEYS, REGION, Look, name_of
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime
from strongroom.signs_of_life import CARRIERS
from strongroom.worker import Queue
from web import duties, upkeep


class Part(StrEnum):
    """What has to run somewhere, in people's words."""

    DISPATCHER = "dispatcher"
    WORKER = "worker"  # of backups, copies, proofs, removals
    RESTORES = "restores"  # the workers that restores do not share
    UPKEEP = "upkeep"


# What has to run somewhere, so that the promises are kept, and the signs of life that say so.
PARTS: Mapping[Part, tuple[str, ...]] = {
    Part.DISPATCHER: ("dispatcher",),
    Part.WORKER: tuple(f"worker:{queue}" for queue in Queue if queue is not Queue.RESTORE),
    Part.RESTORES: (f"worker:{Queue.RESTORE}",),
    Part.UPKEEP: CARRIERS,
}
STUCK = timedelta(minutes=15)  # something waits for so long, and nothing of its kind is at work
LEAST_FREE = 2 << 30  # bytes below the workers' folder
UNSEEN = timedelta(minutes=3)  # nobody has looked at a region or the key store for so long


class FaultCode(StrEnum):
    """What is wrong with the platform; the worst first. The comment names what is said besides."""

    PART_SILENT = "part-silent"  # what: the part; since: its last sign, None for never
    KEYS_AWAY = "keys-away"  # since, failure
    REGION_AWAY = "region-away"  # what: the region; since, failure
    CLOCKS_APART = "clocks-apart"  # count: seconds
    REGION_CLOCK = "region-clock"  # what: the region; count: seconds
    DISK_LOW = "disk-low"  # what: the part; count: bytes that are free
    QUEUE_STUCK = "queue-stuck"  # what: the table; since: the oldest is due; count
    ROUND_FAILS = "round-fails"  # what: a part of the dispatcher's round
    UNSEEN = "unseen"  # what: the region or the keys; since: last looked at
    CONTROL_DUMP_LATE = "control-dump-late"
    ESCROW_INCOMPLETE = "escrow-incomplete"
    RECORD = "record"  # what: why it is not signed

    @property
    def severe(self) -> bool:
        """Backups or restores do not happen, or will not soon."""
        return RANK[self] <= RANK[FaultCode.QUEUE_STUCK]


RANK = {code: place for place, code in enumerate(FaultCode)}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the platform."""

    code: FaultCode
    what: str = ""
    since: datetime | None = None
    count: int | None = None
    failure: Mapping[str, Any] | None = None  # code, message

    def __str__(self) -> str:
        if self.code is FaultCode.RECORD:
            return self.what
        return f"{self.code}: {self.what}" if self.what else str(self.code)


@dataclass(frozen=True)
class Waiting:
    """What is due of one kind of work."""

    count: int
    oldest: datetime | None  # when it fell due
    busy: bool  # something of the kind is at work

    def stuck(self, now: datetime) -> bool:
        """Something waits for long, and nothing moves: a long queue that moves is none. Pure."""
        return self.oldest is not None and now - self.oldest > STUCK and not self.busy


@dataclass(frozen=True)
class Seen:
    """What is known at one moment."""

    now: datetime  # on the database's clock
    host: datetime
    signs: Sequence[Heartbeat]
    looks: Sequence[Look]
    queues: Mapping[str, Waiting]  # by table
    expected: frozenset[str] = frozenset()  # what has to be looked at
    settled: bool = True  # somebody has had the time for a first look


def read(session: Session, runtime: Runtime) -> Sequence[Fault]:
    """Everything that is wrong, worst first."""
    now = database_now(session)
    signs = session.execute(select(Heartbeat)).scalars().all()
    open_ = select(Region).where(Region.state == RegionState.OPEN)
    regions = session.execute(open_).scalars().all()
    newest = max((row.created_at for row in regions), default=runtime.now())
    seen = Seen(
        now=now,
        host=datetime.now(UTC),
        signs=signs,
        expected=frozenset({KEYS, *(name_of(row) for row in regions)}),
        # Where no part gives any sign of life, that is what is said.
        settled=bool(signs) and runtime.now() - newest > UNSEEN,
        looks=session.execute(select(Look)).scalars().all(),
        queues=queues(session, runtime.now()),
    )
    record = inspecting.standing(runtime).attention(runtime.now())
    found = [
        *faults(seen, business=runtime.now()),
        *(Fault(FaultCode(code)) for code in upkeep.standing(runtime).attention),
        *(Fault(FaultCode.RECORD, what=code) for code in record),
    ]
    return sorted(found, key=lambda each: RANK[each.code])


def faults(seen: Seen, *, business: datetime) -> Iterator[Fault]:
    """What is wrong by what was seen. Pure; `business` is the clock that due moments are on."""
    yield from _silent(seen)
    yield from _bad(seen)
    apart = abs(seen.now - seen.host)
    if apart > CLOCKS_APART:
        yield Fault(FaultCode.CLOCKS_APART, count=round(apart.total_seconds()))
    yield from _said(seen)
    for name, queue in seen.queues.items():
        if queue.stuck(business):
            yield Fault(FaultCode.QUEUE_STUCK, what=name, since=queue.oldest, count=queue.count)


def _silent(seen: Seen) -> Iterator[Fault]:
    """Of a part that says several things of itself each has to be heard, by whatever process."""
    last: dict[str, datetime] = {}
    for sign in seen.signs:
        last[sign.part] = max(sign.at, last.get(sign.part, sign.at))
    for part, names in PARTS.items():
        missed = [name for name in names if name not in last or seen.now - last[name] > SILENT]
        if missed:
            since = [last[name] for name in missed if name in last]
            yield Fault(FaultCode.PART_SILENT, what=part, since=min(since, default=None))


def _said(seen: Seen) -> Iterator[Fault]:
    """What processes that are there say of themselves."""
    alive = [sign for sign in seen.signs if seen.now - sign.at <= SILENT]
    for part, names in PARTS.items():
        mine = [sign for sign in alive if sign.part in names]
        free = min((s.facts["free_bytes"] for s in mine if "free_bytes" in s.facts), default=None)
        if free is not None and free < LEAST_FREE:
            yield Fault(FaultCode.DISK_LOW, what=part, count=free)
        for name in sorted({name for sign in mine for name in sign.facts.get("failing", ())}):
            yield Fault(FaultCode.ROUND_FAILS, what=name)


def _bad(seen: Seen) -> Iterator[Fault]:
    there = {look.what for look in seen.looks}
    if seen.expected and seen.settled:
        for what in sorted(seen.expected - there):
            yield Fault(FaultCode.UNSEEN, what=what.removeprefix(REGION))
    for look in seen.looks:
        code = FaultCode.KEYS_AWAY if look.what == KEYS else FaultCode.REGION_AWAY
        name = look.what.removeprefix(REGION)
        if look.bad_since is not None:
            yield Fault(code, what=name, since=look.bad_since, failure=look.failure)
        elif seen.now - look.at > UNSEEN:
            yield Fault(FaultCode.UNSEEN, what=name, since=look.at)
        if look.apart is not None and abs(look.apart) > CLOCKS_APART.total_seconds():
            yield Fault(FaultCode.REGION_CLOCK, what=name, count=round(abs(look.apart)))


def queues(session: Session, now: datetime) -> Mapping[str, Waiting]:
    """What is due and not yet taken up, by table; in one question."""
    asked = []
    for due in duties.DUES:
        kind = due.kind
        busy = exists().where(kind.state == kind.BUSY) if due.leased else _writing()
        asked.append(
            select(
                literal(kind.__tablename__).label("name"),
                func.count().label("waiting"),
                func.min(kind.due_at).label("oldest"),
                busy.label("busy"),
            ).where(kind.state.in_(due.waiting), kind.due_at <= now)
        )
    rows = session.execute(union_all(*asked))
    return {row.name: Waiting(row.waiting, row.oldest, row.busy) for row in rows}


def _writing() -> Any:
    """Somebody works in a repository: a removal takes hours, and its rows wait meanwhile."""
    return exists().where(Repository.lease_until > func.now())


def attention(runtime: Runtime) -> Sequence[Fault]:
    """`read`, for commands."""
    with runtime.database.session(Role.OPERATOR) as session:
        return read(session, runtime)
