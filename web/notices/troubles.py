"""What is wrong now, as groups: how every tenant stands, and the platform's own parts.

What is read is what was *expected* and did not come: plans that were not kept, parts that gave no sign
of life, work that nobody took. A part of the look that fails is named as such, and what it would have
seen counts as not looked at (`Look.unseen`): an alert is never closed by blindness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from strongroom import heartbeats
from strongroom.alerts.deciding import Trouble
from strongroom.audit import inspecting
from strongroom.db import Role
from strongroom.dispatch import CLOCKS_APART
from strongroom.lifecycle import database_now
from strongroom.looks import REGION
from strongroom.looks import Look as LookedAt
from strongroom.notices import channels, outbox
from strongroom.notices.models import Message
from strongroom.notices.states import MessageState, ReaderKind
from strongroom.runtime import Runtime
from strongroom.worker import Queue
from tenants.models import Tenant
from web import footing, health, upkeep
from web.footing import FaultCode
from web.health import Attention, Health
from web.notices import canary

BAD_FOR = timedelta(seconds=60)  # a region that did not answer once may just have been slow
LOST_SINCE = timedelta(days=1)  # messages to people that were given up
PARTS = ("dispatcher", *(f"worker:{queue}" for queue in Queue))
FOOTING = (FaultCode.KEYS_AWAY, FaultCode.DISK_LOW, FaultCode.ROUND_FAILS, FaultCode.UNSEEN)
BY_CAUSE = frozenset({Attention.LAST_RUN_FAILED, Attention.LAST_POINT_PARTIAL})

log = structlog.get_logger(__name__)


@dataclass
class Look:
    """What one look found."""

    troubles: list[Trouble] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)  # beginnings of groups


@dataclass(frozen=True)
class Part:
    """One part of the look."""

    sees: tuple[str, ...]  # beginnings of the groups that it tells of
    act: Callable[[], Iterable[Trouble]]


def look(parts: Sequence[Part]) -> Look:
    """Everything; a part that fails stops no other."""
    found = Look()
    for part in parts:
        try:
            found.troubles += part.act()
        except Exception:  # an edge: what cannot be seen is itself told
            log.exception("the watch could not look at a part", sees=part.sees)
            found.unseen += part.sees
            found.troubles.append(
                Trouble(f"watch.blind:{part.sees[0]}", "watch.blind", severe=True)
            )
    return found


def of_platform(runtime: Runtime, *, settled: bool) -> list[Part]:
    """All of it, from rows: what has to be asked over the network others look at (`looks`).

    Not settled yet: we have just started, and the other parts may still be about to.
    """
    now = runtime.now()

    def read(act: Callable[[Session], Iterable[Trouble]]) -> Callable[[], Iterable[Trouble]]:
        def reading() -> Iterable[Trouble]:
            with runtime.database.session(Role.OPERATOR) as session:
                return act(session)

        return reading

    return [
        Part(("tenants.",), read(partial(of_tenants, now=now))),
        *([Part(("part.",), read(of_parts))] if settled else []),
        Part(("region.",), read(of_regions)),
        Part(("queue.",), read(partial(of_queues, now=now))),
        Part(("notices.",), read(partial(of_notices, now=now))),
        Part(("canary",), read(partial(canary.troubles, now=now))),
        Part(("platform.",), partial(of_upkeep, runtime)),
        *([Part(("footing.",), read(partial(of_footing, runtime=runtime)))] if settled else []),
        Part(("record.",), partial(of_record, runtime)),
    ]


def of_tenants(session: Session, *, now: datetime) -> list[Trouble]:
    """However many tenants: one trouble for each kind and cause."""
    kept_out = set(session.execute(select(Tenant.id).where(Tenant.canary)).scalars())
    standing = [each for each in health.read(session, now=now) if each.id not in kept_out]
    return grouped(standing)


def grouped(standing: Iterable[Health]) -> list[Trouble]:
    """Pure. The worst tenant is the one whose newest complete point is the oldest."""
    concerned: dict[str, list[tuple[Health, health.Trouble]]] = {}
    for tenant in standing:
        for trouble in tenant.troubles:
            concerned.setdefault(_group(trouble), []).append((tenant, trouble))
    return [_trouble(group, found) for group, found in concerned.items()]


def _group(trouble: health.Trouble) -> str:
    code = f"tenants.{trouble.code}"
    cause = (trouble.failure or {}).get("code")
    return f"{code}:{cause}" if trouble.code in BY_CAUSE and cause else code


def _trouble(group: str, found: Sequence[tuple[Health, health.Trouble]]) -> Trouble:
    worst = min(found, key=lambda each: (each[0].newest is not None, each[0].newest, each[0].slug))[
        0
    ]
    code = found[0][1].code
    return Trouble(
        group=group,
        code=f"tenants.{code}",
        severe=code.severe,
        count=len(found),
        worst=worst.slug,
        params={"newest": None if worst.newest is None else worst.newest.isoformat()},
    )


def of_parts(session: Session) -> list[Trouble]:
    """Parts that were heard of once, or ought to have been, and are silent now."""
    return silent(heartbeats.ages(session))


def silent(ages: Mapping[str, timedelta]) -> list[Trouble]:
    """Pure. Workers of all queues that are silent at once are one trouble."""
    if not ages:
        return []
    missed = [part for part in PARTS if ages.get(part, timedelta.max) > heartbeats.SILENT]
    kinds: dict[str, list[str]] = {}
    for part in missed:
        kinds.setdefault(part.partition(":")[0], []).append(part)
    return [
        Trouble(f"part.silent:{kind}", "part.silent", severe=True, count=len(each), worst=each[0])
        for kind, each in kinds.items()
    ]


def of_regions(session: Session) -> list[Trouble]:
    """Those that have not given back what was stored there for a while, or whose clock is off."""
    now, found = database_now(session), list[Trouble]()
    for row in _looked_at(session):
        name = row.what.removeprefix(REGION)
        if row.bad_since is not None and now - row.bad_since >= BAD_FOR:
            found.append(Trouble(f"region.silent:{name}", "region.silent", severe=True))
        if row.apart is not None and abs(row.apart) > CLOCKS_APART.total_seconds():
            params = {"seconds": round(abs(row.apart))}
            group = f"region.clock:{name}"
            found.append(Trouble(group, "region.clock", severe=True, params=params))
    return found


def unsure_of_regions(session: Session) -> list[str]:
    """Beginnings of groups of which nothing can be said: bad, but not for long; not looked at lately."""
    now, rows = database_now(session), _looked_at(session)
    if not rows:
        return ["region."]
    short = [row for row in rows if row.bad_since is not None and now - row.bad_since < BAD_FOR]
    old = [row for row in rows if now - row.at > footing.UNSEEN]
    silent = [f"region.silent:{row.what.removeprefix(REGION)}" for row in (*short, *old)]
    # A region that is away does not say what time it is.
    dumb = [row for row in rows if row.apart is None or row in old]
    return silent + [f"region.clock:{row.what.removeprefix(REGION)}" for row in dumb]


def _looked_at(session: Session) -> Sequence[LookedAt]:
    return session.execute(select(LookedAt).where(LookedAt.what.startswith(REGION))).scalars().all()


def of_queues(session: Session, *, now: datetime) -> list[Trouble]:
    """Queues that stand, as the console has it; all of them stand still for one cause."""
    stuck = {name: each for name, each in footing.queues(session, now).items() if each.stuck(now)}
    if not stuck:
        return []
    worst = max(stuck, key=lambda name: stuck[name].count)
    count = sum(each.count for each in stuck.values())
    return [Trouble("queue.stuck", "queue.stuck", severe=True, count=count, worst=worst)]


def of_notices(session: Session, *, now: datetime) -> list[Trouble]:
    """Channels that nothing gets through to, messages to people that were given up, and none at all."""
    known = {row.id: row for row in channels.in_use(session)}
    found = [
        Trouble(
            f"notices.stuck:{known[each.channel].name}",
            "notices.stuck",
            severe=True,
            count=each.failed + each.waiting,
            worst=known[each.channel].name,
            params={"code": each.code},
            avoid=each.channel,
        )
        for each in outbox.stuck(session)
        if each.channel in known
    ]
    lost = select(func.count()).where(
        Message.state == MessageState.FAILED,
        Message.reader_kind == ReaderKind.ACCOUNT,
        Message.ended_at > now - LOST_SINCE,
    )
    count = session.execute(lost).scalar_one()
    if count:
        found.append(Trouble("notices.lost", "notices.lost", severe=False, count=count))
    if not known:
        found.append(Trouble("notices.no-channel", "notices.no-channel", severe=True))
    return found


def of_upkeep(runtime: Runtime) -> list[Trouble]:
    """Dumps of the control database and escrow wraps."""
    codes = upkeep.standing(runtime).attention
    return [Trouble(f"platform.{code}", f"platform.{code}", severe=True) for code in codes]


def of_footing(session: Session, *, runtime: Runtime) -> list[Trouble]:
    """What the platform stands on, as the console says it; what is told above is left out."""
    return [
        Trouble(
            f"footing.{fault.code}:{fault.what}",
            f"footing.{fault.code}",
            severe=fault.code.severe,
            worst=fault.what,
        )
        for fault in footing.read(session, runtime)
        if fault.code in FOOTING
    ]


def of_record(runtime: Runtime) -> list[Trouble]:
    """The record is not signed, or late."""
    codes = inspecting.standing(runtime).attention(runtime.now())
    return [Trouble(f"record.unsound:{code}", "record.unsound", severe=True) for code in codes]
