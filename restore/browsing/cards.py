"""A point as people see it: what it is worth, where it lies, what proves it, how long it stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from backup import anomalies, expiry, ledger, retention
from backup.catalogue import Changes
from backup.facts import Why
from backup.ledger import Ledger
from backup.models import Copy, Finding, Point, PointSource, Removal, Snapshot, Source
from backup.retention import Setting, Verdict
from backup.states import CopyState, Outcome, RemovalState, Trigger
from restore.browsing import errors
from restore.models import Drill
from restore.states import DrillState
from strongroom.lifecycle import Reason
from strongroom.regions import Region

HELD = frozenset({Why.LEGAL_HOLD, Why.OBJECT_LOCK})
FROZEN = frozenset({Why.UNSETTLED, Why.CLOCK_BEHIND})
GOING = (RemovalState.PLANNED, RemovalState.FORGOTTEN)
Ids = Select[UUID]  # of points


@dataclass(frozen=True)
class Drilled:
    """The last rehearsed restore of a point from a region."""

    at: datetime
    passed: bool
    restore_seconds: float | None  # what a real restore would have taken


@dataclass(frozen=True)
class Held:
    """A point in one region."""

    region: str
    state: CopyState
    stored_at: datetime | None
    checked_at: datetime | None  # its structure; None: not, or not any more
    verified_at: datetime | None  # its data, read back; as old as the oldest part
    drilled: Drilled | None
    failure: str | None  # a code


@dataclass(frozen=True)
class OfSource:
    """What came of one source."""

    source: UUID
    name: str
    kind: str
    outcome: Outcome
    stored: bool  # it has data of this source, which were not removed
    listed: bool  # and they can be browsed
    changes: Changes | None  # None: not listed yet
    failure: str | None  # a code
    odd: Sequence[str]  # codes of what looked wrong about it and nobody accepted


@dataclass(frozen=True)
class Card:
    """One point."""

    id: UUID
    number: int
    taken_at: datetime
    local_date: date
    kind: Trigger
    cadences: Sequence[str]
    outcome: Outcome
    bytes: int
    added_bytes: int
    entries: int
    removed: bool  # no region has it any more: nothing can be restored
    going: str | None  # it is being removed: the code of the reason
    regions: Sequence[Held]
    sources: Sequence[OfSource]
    expires: date | None  # the first day on which it would go; None: not in sight, or gone
    kept_by: str | None  # the code of what keeps it until then
    reasons: Sequence[Reason]  # all that keeps it, strongest first
    findings: Sequence[str]  # open ones about this very point: codes

    @property
    def stored(self) -> Sequence[Held]:
        return [each for each in self.regions if each.state is CopyState.STORED]

    @property
    def held(self) -> bool:
        """By a person or a lock, whatever the plan says."""
        return any(reason.code in HELD for reason in self.reasons)

    @property
    def frozen(self) -> bool:
        """It stays until a person has looked at something."""
        return any(reason.code in FROZEN for reason in self.reasons)

    @property
    def checked_at(self) -> datetime | None:
        return _newest([each.checked_at for each in self.stored])

    @property
    def verified_at(self) -> datetime | None:
        return _newest([each.verified_at for each in self.stored])

    @property
    def is_safety(self) -> bool:
        """A restore made it first: it holds what that restore replaced, and no other source."""
        return self.kind is Trigger.SAFETY

    @property
    def shares_proofs(self) -> bool:
        """Some of its data were read back with an earlier point: the proof is older than the point."""
        dates = (self.verified_at, self.checked_at)
        return any(each is not None and each < self.taken_at for each in dates)

    @property
    def drilled(self) -> Drilled | None:
        """The last rehearsal that passed, in any region."""
        passed = [each.drilled for each in self.regions if each.drilled and each.drilled.passed]
        return max(passed, key=lambda each: each.at, default=None)

    @property
    def changes(self) -> Changes | None:
        """Of all its sources together; None while one of them is not listed."""
        counted = [each.changes for each in self.sources if each.stored]
        known = [each for each in counted if each is not None]
        if not known or len(known) < len(counted):
            return None
        return Changes(
            added=sum(each.added for each in known),
            removed=sum(each.removed for each in known),
            changed=sum(each.changed for each in known),
        )


def between(
    session: Session,
    known: Ledger,
    days: tuple[date, date],
    *,
    also: int | None = None,
    now: datetime,
) -> list[Card]:
    """The points of these local days, both included, oldest first; gone ones too. And one more, by
    its number, whatever its day."""
    wanted: ColumnElement[bool] = Point.local_date.between(*days)
    if also is not None:
        wanted = or_(wanted, Point.number == also)
    return _cards(session, known, wanted, now=now)


def card(session: Session, tenant: UUID, number: int, *, now: datetime) -> Card:
    """One point. Raises NotFound."""
    return one(session, ledger.read(session, tenant, now=now), number, now=now)


def one(session: Session, known: Ledger, number: int, *, now: datetime) -> Card:
    """The same, where the ledger was read already."""
    found = _cards(session, known, Point.number == number, now=now)
    if not found:
        raise errors.no_part()
    return found[0]


def _cards(
    session: Session, known: Ledger, wanted: ColumnElement[bool], *, now: datetime
) -> list[Card]:
    rows = session.execute(select(*_OF_POINT).where(wanted).order_by(Point.number)).all()
    ids = select(Point.id).where(wanted)  # a list of them would be written out six times
    setting = Setting(known.policy, now, known.zone, known.holds)
    decision = retention.decide(
        known.points, known.policy, now=now, zone=known.zone, holds=known.holds
    )
    around = _Around(
        regions=_regions(session, ids),
        sources=_sources(session, ids),
        going=_going(session, ids),
        findings=_findings(session, ids),
        verdicts={each.point.id: each for each in decision.verdicts},
        ends=expiry.after(decision, setting),
    )
    return [around.card(row) for row in rows]


_OF_POINT = (
    *(Point.id, Point.number, Point.taken_at, Point.local_date, Point.kind, Point.cadences),
    *(Point.outcome, Point.bytes, Point.added_bytes, Point.entries),
)


@dataclass(frozen=True)
class _Around:
    regions: Mapping[UUID, Sequence[Held]]
    sources: Mapping[UUID, Sequence[OfSource]]
    going: Mapping[UUID, str]
    findings: Mapping[UUID, Sequence[str]]
    verdicts: Mapping[UUID, Verdict]
    ends: Mapping[UUID, expiry.Expiry]

    def card(self, row: Any) -> Card:
        regions = self.regions.get(row.id, ())
        verdict, end = self.verdicts.get(row.id), self.ends.get(row.id)
        return Card(
            id=row.id,
            number=row.number,
            taken_at=row.taken_at,
            local_date=row.local_date,
            kind=row.kind,
            cadences=row.cadences,
            outcome=row.outcome,
            bytes=row.bytes,
            added_bytes=row.added_bytes,
            entries=row.entries,
            removed=bool(regions) and all(each.state is CopyState.REMOVED for each in regions),
            going=self.going.get(row.id),
            regions=regions,
            sources=self.sources.get(row.id, ()),
            expires=None if end is None else end.on,
            kept_by=None if end is None else str(end.because),
            reasons=() if verdict is None or not verdict.keep else verdict.reasons,
            findings=self.findings.get(row.id, ()),
        )


def _regions(session: Session, ids: Ids) -> Mapping[UUID, list[Held]]:
    proofs = _proofs(ids)
    rows = session.execute(
        select(
            *(Copy.point_id, Copy.repository_id, Copy.state, Copy.stored_at, Copy.failure),
            *(Region.name, proofs.c.checked_at, proofs.c.verified_at, proofs.c.unchecked),
            proofs.c.unverified,
        )
        .join(Region, Region.id == Copy.region_id)
        .outerjoin(
            proofs,
            and_(
                proofs.c.point_id == Copy.point_id,
                proofs.c.repository_id == Copy.repository_id,
            ),
        )
        .where(Copy.point_id.in_(ids))
        .order_by(Region.rank, Region.name)
    )
    drills = _drills(session, ids)
    found: dict[UUID, list[Held]] = {}
    for row in rows:
        stored = row.state is CopyState.STORED
        held = Held(
            region=row.name,
            state=row.state,
            stored_at=row.stored_at,
            checked_at=row.checked_at if stored and not row.unchecked else None,
            verified_at=row.verified_at if stored and not row.unverified else None,
            drilled=drills.get((row.point_id, row.repository_id)),
            failure=_code(row.failure),
        )
        found.setdefault(row.point_id, []).append(held)
    return found


def _proofs(ids: Ids) -> Any:
    """By point and repository, the oldest dates of its snapshots, and how many have none."""
    return (
        select(
            PointSource.point_id,
            Snapshot.repository_id,
            func.min(Snapshot.checked_at).label("checked_at"),
            func.min(Snapshot.verified_at).label("verified_at"),
            func.count().filter(Snapshot.checked_at.is_(None)).label("unchecked"),
            func.count().filter(Snapshot.verified_at.is_(None)).label("unverified"),
        )
        .join(
            Snapshot,
            func.coalesce(Snapshot.origin_id, Snapshot.id) == PointSource.snapshot_id,
        )
        .where(PointSource.point_id.in_(ids), Snapshot.standing())
        .group_by(PointSource.point_id, Snapshot.repository_id)
        .subquery()
    )


def _drills(session: Session, ids: Ids) -> Mapping[tuple[UUID, UUID], Drilled]:
    rows = session.execute(
        select(
            *(Drill.point_id, Drill.repository_id, Drill.ended_at, Drill.state),
            Drill.restore_seconds,
        )
        .where(
            Drill.point_id.in_(ids),
            Drill.state.in_([DrillState.PASSED, DrillState.FAILED]),
            Drill.ended_at.is_not(None),
        )
        .order_by(Drill.ended_at)
    )
    return {
        (row.point_id, row.repository_id): Drilled(
            row.ended_at, row.state is DrillState.PASSED, row.restore_seconds
        )
        for row in rows
    }


def _sources(session: Session, ids: Ids) -> Mapping[UUID, list[OfSource]]:
    odd = anomalies.marked(session, session.info["tenant"])
    stands = (
        select(func.coalesce(Snapshot.origin_id, Snapshot.id))
        .where(Snapshot.standing())
        .distinct()
        .subquery()
    )
    there = stands.c[0]
    rows = session.execute(
        select(
            *(PointSource.point_id, PointSource.source_id, PointSource.outcome),
            *(PointSource.snapshot_id, PointSource.failure, PointSource.catalogued_at),
            *(PointSource.changes, Source.name, Source.kind, there.label("there")),
        )
        .join(Source, Source.id == PointSource.source_id)
        .outerjoin(stands, there == PointSource.snapshot_id)
        .where(PointSource.point_id.in_(ids))
        .order_by(Source.name)
    )
    found: dict[UUID, list[OfSource]] = {}
    for row in rows:
        of_source = OfSource(
            source=row.source_id,
            name=row.name,
            kind=row.kind,
            outcome=row.outcome,
            stored=row.there is not None,
            listed=row.there is not None and row.catalogued_at is not None,
            changes=Changes(**row.changes) if row.changes else None,
            failure=_code(row.failure),
            odd=tuple(odd.get(row.snapshot_id, ())),
        )
        found.setdefault(row.point_id, []).append(of_source)
    return found


def _going(session: Session, ids: Ids) -> Mapping[UUID, str]:
    rows = session.execute(
        select(Copy.point_id, Removal.code)
        .join(Copy, Copy.id == Removal.copy_id)
        .where(
            Copy.point_id.in_(ids),
            Removal.source_id.is_(None),
            Removal.state.in_(GOING),
        )
    )
    return {row.point_id: row.code for row in rows}


def _findings(session: Session, ids: Ids) -> Mapping[UUID, list[str]]:
    rows = session.execute(
        select(Finding.point_id, Finding.code)
        .where(Finding.point_id.in_(ids), Finding.settled_at.is_(None))
        .order_by(Finding.first_seen_at)
    )
    found: dict[UUID, list[str]] = {}
    for row in rows:
        found.setdefault(row.point_id, []).append(row.code)
    return found


def _code(failure: Mapping[str, Any] | None) -> str | None:
    return None if not failure else str(failure.get("code", "failed"))


def _newest(moments: Sequence[datetime | None]) -> datetime | None:
    return max((each for each in moments if each is not None), default=None)
