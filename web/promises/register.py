"""The register: every promise of every pack, with its state and what that rests on.

packs ─▶ read ─▶ a Row a promise: what it says, its state, what was seen, who confirmed it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from strongroom.db import NoDatabaseUrl, Role
from strongroom.errors import NotFound, StrongroomError
from strongroom.runtime import Runtime
from tenants import packs
from tenants.models import Tenant
from tenants.packs import Kind, Pack, Promise
from tenants.promise_rows import Attestation, Standing, State
from web.promises import backups, house, letting_go, persons
from web.promises.measuring import ALWAYS, MEASURES, NOT_BUILT, Look, Seen, judged

MEASURED_BY = (backups, house, letting_go, persons)  # importing them makes MEASURES whole
WORST = (State.BROKEN, State.AT_RISK, State.CANNOT_BE_PROVEN, State.NOT_BUILT, State.KEPT)
FAILED = "could-not-look"
LIVE_MOST = 300  # tenants: beyond, a page shows what was kept
FRESH = timedelta(minutes=30)  # what was kept is shown for so long

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Confirmed:
    """The last word of who answers for it."""

    owner: str
    document: str
    sha256: str  # of the document
    at: datetime
    until: datetime  # it holds so long

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Confirmed:
        at, until = (datetime.fromisoformat(said[name]) for name in ("at", "until"))
        return cls(said["owner"], said["document"], said["sha256"], at, until)

    def to_json(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "document": self.document,
            "sha256": self.sha256,
            "at": self.at.isoformat(),
            "until": self.until.isoformat(),
        }


@dataclass(frozen=True)
class Row:
    """One promise, as it stands."""

    pack: Pack
    promise: Promise
    state: State
    tenants: int  # under the pack
    seen: Seen | None = None  # None: nothing measures it
    confirmed: Confirmed | None = None

    @property
    def evidence(self) -> dict[str, Any]:
        """Plain JSON, the same for the page, the command and the statement."""
        found: dict[str, Any] = {"kind": str(self.promise.kind), "tenants": self.tenants}
        if self.seen is not None:
            found |= {"measure": self.promise.measure, **self.seen.to_json()}
        if self.promise.kind is Kind.ATTESTED:
            found["confirmed"] = None if self.confirmed is None else self.confirmed.to_json()
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "pack": self.pack.name,
            "id": self.promise.id,
            "state": str(self.state),
            "evidence": self.evidence,
        }


def known(runtime: Runtime) -> dict[str, Pack]:
    """All packs by name. Raises BadPack."""
    return packs.known(runtime.settings.packs)


def read(runtime: Runtime, *, pack: str | None = None, only: str | None = None) -> list[Row]:
    """All promises, or those of one pack, or one alone. Raises NotFound, BadPack."""
    every = known(runtime)
    chosen = [packs.named(every, pack)] if pack is not None else list(every.values())
    now = runtime.now()
    found: list[Row] = []
    with _sessions(runtime) as (session, people):
        confirmed = _confirmed(session)
        under = _tenants(session)
        for each in chosen:
            look = Look(runtime, session, people, each, now)
            seen: dict[str, Seen] = {}  # several promises may rest on one measure
            for promise in each.promises:
                if only in (None, promise.id):
                    said = confirmed.get(promise.id)
                    found.append(_row(look, promise, said, under.get(each.name, 0), seen))
    if only is not None and not found:
        raise NotFound(
            f"There is no promise {only!r}. `strongroom promises` lists all.",
            code="unknown-promise",
        )
    return found


@dataclass(frozen=True)
class Shown:
    """Rows for a page, and of when they are."""

    rows: list[Row]
    at: datetime


def shown(runtime: Runtime, *, pack: str | None = None, only: str | None = None) -> Shown:
    """As `read`, for a page that nobody waits for: looked at now while tenants are few, else what
    was last kept, if that is fresh."""
    now = runtime.now()
    every = known(runtime)
    with runtime.database.session(Role.OPERATOR) as session:
        few = sum(_tenants(session).values()) <= LIVE_MOST
        kept = {} if few else _kept(session, since=now - FRESH)
    wanted = [
        (each, promise)
        for name, each in every.items()
        for promise in each.promises
        if pack in (None, name) and only in (None, promise.id)
    ]
    if few or not wanted or any(promise.id not in kept for _, promise in wanted):
        return Shown(read(runtime, pack=pack, only=only), now)
    rows = [_of_kept(each, promise, kept[promise.id]) for each, promise in wanted]
    return Shown(rows, min(kept[promise.id].at for _, promise in wanted))


def named(runtime: Runtime, promise: str) -> Row:
    """One promise. Raises NotFound."""
    return read(runtime, only=promise)[0]


def needs_attention(rows: list[Row]) -> bool:
    return any(row.state in (State.BROKEN, State.AT_RISK) for row in rows)


def of_confirmation(confirmed: Confirmed | None, *, now: datetime) -> State:
    """What a confirmation is worth: none shows nothing, one that has run out is a risk. Pure."""
    if confirmed is None or confirmed.at > now:
        return State.CANNOT_BE_PROVEN
    return State.KEPT if now < confirmed.until else State.AT_RISK


def together(*states: State) -> State:
    """The worst of them. Pure."""
    return min(states, key=WORST.index)


def _row(
    look: Look,
    promise: Promise,
    attested: Attestation | None,
    tenants: int,
    measured: dict[str, Seen],
) -> Row:
    if promise.measure == NOT_BUILT:
        return Row(look.pack, promise, State.NOT_BUILT, tenants)
    confirmed = _held(promise, attested)
    seen = None
    if promise.measure and (tenants or promise.measure in ALWAYS):
        if promise.measure not in measured:
            measured[promise.measure] = _looked(look, promise)
        seen = measured[promise.measure]
    states = [] if seen is None else [judged(seen)]
    if promise.kind is Kind.ATTESTED:
        states.append(of_confirmation(confirmed, now=look.now))
    if not tenants or not states:
        states = [State.CANNOT_BE_PROVEN]  # nobody is under the pack: there is nothing to see
    return Row(look.pack, promise, together(*states), tenants, seen, confirmed)


def _kept(session: Session, *, since: datetime) -> dict[str, Standing]:
    rows = session.execute(select(Standing).where(Standing.at >= since)).scalars()
    return {row.promise: row for row in rows}


def _of_kept(pack: Pack, promise: Promise, row: Standing) -> Row:
    said = row.evidence
    seen = Seen.from_json(said) if "good" in said else None
    confirmed = said.get("confirmed")
    held = None if confirmed is None else Confirmed.from_json(confirmed)
    return Row(pack, promise, row.state, row.tenants, seen, held)


def _looked(look: Look, promise: Promise) -> Seen:
    """What a measure saw. One that fails shows nothing, and stops no other."""
    measure = MEASURES.get(promise.measure)
    if measure is None:
        return Seen(note="unknown-measure")
    try:
        with look.session.begin_nested():
            return measure(look)
    except (StrongroomError, SQLAlchemyError, OSError) as error:
        log.exception("a promise could not be measured", promise=promise.id, error=str(error))
        return Seen(note=FAILED)


def _held(promise: Promise, row: Attestation | None) -> Confirmed | None:
    if row is None:
        return None
    until = row.at + timedelta(days=promise.every_days)
    return Confirmed(row.owner, row.document, row.sha256, row.at, until)


def _confirmed(session: Session) -> Mapping[str, Attestation]:
    """The newest of each promise."""
    rows = session.execute(
        select(Attestation)
        .ext(distinct_on(Attestation.promise))
        .order_by(Attestation.promise, Attestation.at.desc(), Attestation.id.desc())
    ).scalars()
    return {row.promise: row for row in rows}


def _tenants(session: Session) -> dict[str, int]:
    rows = session.execute(
        select(Tenant.pack, func.count()).where(Tenant.pack.is_not(None)).group_by(Tenant.pack)
    )
    return {str(pack): count for pack, count in rows}


@contextmanager
def _sessions(runtime: Runtime) -> Iterator[tuple[Session, Session | None]]:
    """One that sees tenants, and where this process has the right, one that sees accounts."""
    with runtime.database.session(Role.OPERATOR) as session:
        try:
            runtime.database.engine(Role.PEOPLE)
        except NoDatabaseUrl:
            yield session, None
            return
        with runtime.database.session(Role.PEOPLE) as people:
            yield session, people
