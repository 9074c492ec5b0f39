"""How every tenant stands, read for all of them at once: a handful of queries, however many there are.

    rows ─▶ read ─▶ Health a tenant ─▶ troubles (pure) ─▶ what needs attention, worst first

What is needed of every tenant goes by index to its newest rows, so that a long history costs
nothing; what has to be counted is counted for the tenants that are shown (`count_points`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Row,
    Select,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from backup import schedule
from backup.models import (
    BackupRun,
    Copy,
    Finding,
    Healing,
    Point,
    PointSource,
    Policy,
    Proof,
    Removal,
    Repository,
    Rotation,
    Snapshot,
    Source,
)
from backup.states import (
    CopyState,
    HealingState,
    Level,
    Outcome,
    ProofState,
    RemovalState,
    RepositoryState,
    RotationState,
    RunState,
)
from restore.models import Drill, Restore
from restore.states import DrillState, RestoreState
from strongroom.db import among
from tenants.models import PlanVersion, Tenant


class Attention(StrEnum):
    """Why somebody has to look; the worst first. The comment names the parameters."""

    OVERDUE = "overdue"  # hours: no newer complete point than that many
    LAST_RUN_FAILED = "last-run-failed"  # failure, where the run left one
    PROOFS_FAILED = "proofs-failed"  # count: copies whose latest proof failed
    DRILLS_FAILED = "drills-failed"  # count: repositories whose last drill failed
    NOT_HEALED = "not-healed"  # count: repositories whose last healing left something lost
    QUARANTINED = "quarantined"  # count: work that took two workers down
    REPOSITORIES_FROZEN = "repositories-frozen"  # count
    LAST_POINT_PARTIAL = "last-point-partial"  # failure
    FINDINGS_OPEN = "findings-open"  # count: seen, and not settled by a person
    NO_SOURCES = "no-sources"
    COPIES_WAIT = "copies-wait"  # count: copies that could not be brought yet
    REMOVALS_BLOCKED = "removals-blocked"  # count

    @property
    def severe(self) -> bool:
        """Data may be missing or in danger, and it does not mend itself."""
        return RANK[self] <= RANK[Attention.REPOSITORIES_FROZEN]


UNHEALED = [HealingState.PARTLY, HealingState.FAILED]
RANK = {code: place for place, code in enumerate(Attention)}


@dataclass(frozen=True)
class Trouble:
    """One thing that needs attention."""

    code: Attention
    count: int | None = None  # how many of it, where that says something
    hours: int | None = None
    failure: Mapping[str, Any] | None = None  # code, params, message

    def __str__(self) -> str:
        return self.code if self.count is None else f"{self.code}: {self.count}"

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Trouble:
        return cls(**{**found, "code": Attention(found["code"])})


@dataclass(frozen=True)
class Working:
    """Something that goes on now, or waits to."""

    what: str  # "backup", "copy", "proof", "restore"
    state: str  # of the row; of a restore its phase, once it has one
    percent: int | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.state}"


@dataclass(frozen=True)
class Health:
    """One tenant, as far as it can be known without counting."""

    id: UUID
    slug: str
    name: str
    zone: str  # IANA
    plan: str  # its code
    plan_names: Mapping[str, str]  # by language
    newest: datetime | None  # when the newest complete point that is stored was taken
    stored: datetime | None  # when its first copy was; the RPO counts from here
    troubles: tuple[Trouble, ...] = ()
    working: tuple[Working, ...] = ()

    @property
    def place(self) -> int:
        """Of its worst trouble; behind all of them without any."""
        return min((RANK[each.code] for each in self.troubles), default=len(RANK))

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {
            "id": str(self.id),
            "newest": self.newest and self.newest.isoformat(),
            "stored": self.stored and self.stored.isoformat(),
            "troubles": [vars(each) for each in self.troubles],
            "working": [vars(each) for each in self.working],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Health:
        moments = {name: found[name] for name in ("newest", "stored")}
        return cls(
            **{
                **found,
                "id": UUID(found["id"]),
                **{name: each and datetime.fromisoformat(each) for name, each in moments.items()},
                "troubles": tuple(Trouble.from_json(each) for each in found["troubles"]),
                "working": tuple(Working(**each) for each in found["working"]),
            }
        )


@dataclass(frozen=True)
class Counts:
    """The points of one tenant that lie somewhere."""

    points: int = 0
    verified: int = 0  # every source read back or restored, in some region


@dataclass(frozen=True)
class Last:
    """What the last run of a tenant came to."""

    state: RunState | None
    outcome: Outcome | None  # of its point, if it made one
    failure: Mapping[str, Any] | None = field(default=None)


def read(session: Session, *, now: datetime, tenants: Sequence[UUID] | None = None) -> list[Health]:
    """All tenants by slug, without the canary; or only these."""
    rows = session.execute(_tenants(tenants)).all()
    counted = _counted(session, tenants)
    working = _working(session, tenants)
    return [
        Health(
            id=row.id,
            slug=row.slug,
            name=row.name,
            zone=row.zone,
            plan=row.code,
            plan_names=row.plan_names,
            newest=row.taken_at,
            stored=row.stored_at,
            troubles=troubles(row, counted.get(row.id, {}), now=now),
            working=tuple(working.get(row.id, ())),
        )
        for row in rows
    ]


def troubles(
    row: Row[Any], counted: Mapping[Attention, int], *, now: datetime
) -> tuple[Trouble, ...]:
    """What needs attention, worst first. Pure."""
    found = [Trouble(code, count=count) for code, count in counted.items()]
    if not row.has_sources:
        found.append(Trouble(Attention.NO_SOURCES))
    if schedule.is_overdue(row.stored_at, rpo_hours=row.rpo_hours, since=row.created_at, now=now):
        found.append(Trouble(Attention.OVERDUE, hours=row.rpo_hours))
    if row.state in (RunState.FAILED, RunState.QUARANTINED):
        found.append(Trouble(Attention.LAST_RUN_FAILED, failure=row.failure))
    elif row.outcome is Outcome.PARTIAL:
        found.append(Trouble(Attention.LAST_POINT_PARTIAL, failure=row.failure))
    return tuple(sorted(found, key=lambda each: RANK[each.code]))


def count_points(session: Session, tenants: Sequence[UUID]) -> dict[UUID, Counts]:
    """How many points each of these tenants has; those without any are left out.

    A point is verified as `retention.is_verified` has it: complete, not empty, and every source
    proven in some region.
    """
    parts = (
        select(
            PointSource.point_id,
            func.bool_or(Snapshot.verified_at.is_not(None)).label("proven"),
            func.max(Snapshot.bytes).label("bytes"),
        )
        .join(
            Snapshot,
            and_(
                Snapshot.tenant_id == PointSource.tenant_id,
                func.coalesce(Snapshot.origin_id, Snapshot.id) == PointSource.snapshot_id,
            ),
        )
        .where(
            among(PointSource.tenant_id, tenants),
            among(Snapshot.tenant_id, tenants),
            Snapshot.standing(),
        )
        .group_by(PointSource.point_id, PointSource.source_id)
        .subquery()
    )
    proofs = (
        select(
            parts.c.point_id,
            and_(func.bool_and(parts.c.proven), func.sum(parts.c.bytes) > 0).label("verified"),
        )
        .group_by(parts.c.point_id)
        .subquery()
    )
    standing = select(Copy.tenant_id, Copy.point_id).where(
        among(Copy.tenant_id, tenants), Copy.state != CopyState.REMOVED
    )
    good = and_(proofs.c.verified, Point.outcome == Outcome.COMPLETE)
    rows = session.execute(
        select(
            Point.tenant_id,
            func.count().label("points"),
            func.count().filter(good).label("verified"),
        )
        .outerjoin(proofs, proofs.c.point_id == Point.id)
        .where(
            among(Point.tenant_id, tenants),
            tuple_(Point.tenant_id, Point.id).in_(standing),
        )
        .group_by(Point.tenant_id)
    )
    return {row.tenant_id: Counts(row.points, row.verified) for row in rows}


def _tenants(tenants: Sequence[UUID] | None) -> Select[Any]:
    """Each tenant with its plan, its newest complete point and its last run."""
    # Scalar subqueries, not joins: the planner then walks back from the newest row and stops.
    newest = (
        select(Point.taken_at, _first_stored().label("stored_at"))
        .where(
            Point.tenant_id == Tenant.id,
            Point.outcome == Outcome.COMPLETE,
            _first_stored().is_not(None),
        )
        .order_by(Point.number.desc())
        .limit(1)
        .lateral("newest")
    )
    last = (
        select(BackupRun.state, BackupRun.failure, _outcome().label("outcome"))
        .where(BackupRun.tenant_id == Tenant.id, BackupRun.ended_at.is_not(None))
        .order_by(BackupRun.id.desc())  # ids sort by the time they were made
        .limit(1)
        .lateral("last")
    )
    rpo = (
        select(Policy.body["rpo_hours"].as_integer())
        .where(Policy.tenant_id == Tenant.id)
        .order_by(Policy.version.desc())
        .limit(1)
        .scalar_subquery()
    )
    sources = exists().where(Source.tenant_id == Tenant.id, Source.removed_at.is_(None))
    wanted = (
        select(
            Tenant.id,
            Tenant.slug,
            Tenant.name,
            Tenant.zone,
            Tenant.created_at,
            PlanVersion.code,
            PlanVersion.name.label("plan_names"),
            newest.c.taken_at,
            newest.c.stored_at,
            last.c.state,
            last.c.failure,
            last.c.outcome,
            rpo.label("rpo_hours"),
            sources.label("has_sources"),
        )
        .join(PlanVersion, PlanVersion.id == Tenant.plan_version_id)
        .outerjoin(newest, true())
        .outerjoin(last, true())
        .order_by(Tenant.slug)
    )
    if tenants is None:  # the canary fails on purpose
        return wanted.where(~Tenant.canary)  # pyright: ignore
    return wanted.where(among(Tenant.id, tenants))  # pyright: ignore


def _outcome() -> Any:
    """Of the run's point, which has its id."""
    return (
        select(Point.outcome)
        .where(Point.tenant_id == BackupRun.tenant_id, Point.id == BackupRun.id)
        .scalar_subquery()
    )


def said_why(failure: Any) -> Any:
    """A failure is on record; a column that was emptied may hold JSON's null, which is no NULL."""
    return failure["code"].astext.is_not(None)


def _first_stored() -> Any:
    """A late copy in a further region makes the data no newer."""
    return (
        select(func.min(Copy.stored_at))
        .where(
            Copy.tenant_id == Point.tenant_id,
            Copy.point_id == Point.id,
            Copy.state != CopyState.REMOVED,
        )
        .scalar_subquery()
    )


def _counted(session: Session, tenants: Sequence[UUID] | None) -> dict[UUID, dict[Attention, int]]:
    """What is in a state it should not stay in, by tenant and code."""
    mended = _proven_since()
    stored = exists().where(
        Copy.tenant_id == Proof.tenant_id,
        Copy.id == Proof.copy_id,
        Copy.state == CopyState.STORED,
    )
    waits = and_(Copy.state == CopyState.WAITING, said_why(Copy.failure))
    blocked = and_(
        Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
        Removal.blocked["code"].astext != "object-lock",
    )
    kinds: list[tuple[Attention, Any, Any]] = [
        (Attention.COPIES_WAIT, Copy, waits),
        (
            Attention.PROOFS_FAILED,
            Proof,
            and_(Proof.state == ProofState.FAILED, stored, ~mended),
        ),
        (Attention.REMOVALS_BLOCKED, Removal, blocked),
        (Attention.REPOSITORIES_FROZEN, Repository, Repository.state == RepositoryState.FROZEN),
        (Attention.QUARANTINED, BackupRun, BackupRun.state == RunState.QUARANTINED),
        (Attention.QUARANTINED, Copy, Copy.state == CopyState.QUARANTINED),
        (Attention.QUARANTINED, Proof, Proof.state == ProofState.QUARANTINED),
        (Attention.QUARANTINED, Restore, Restore.state == RestoreState.QUARANTINED),
        (Attention.QUARANTINED, Drill, Drill.state == DrillState.QUARANTINED),
        (Attention.QUARANTINED, Healing, Healing.state == HealingState.QUARANTINED),
        (Attention.QUARANTINED, Rotation, Rotation.state == RotationState.QUARANTINED),
        (Attention.FINDINGS_OPEN, Finding, Finding.settled_at.is_(None)),
        (Attention.DRILLS_FAILED, Drill, and_(Drill.state == DrillState.FAILED, _last(Drill))),
        (Attention.NOT_HEALED, Healing, and_(Healing.state.in_(UNHEALED), _last(Healing))),
    ]
    rows = session.execute(
        union_all(*(_count(code, kind, wrong, tenants) for code, kind, wrong in kinds))
    )
    found: dict[UUID, dict[Attention, int]] = {}
    for code, tenant_id, count in rows:  # pyright: ignore
        of_tenant = found.setdefault(tenant_id, {})
        of_tenant[Attention(code)] = of_tenant.get(Attention(code), 0) + count
    return found


def _proven_since() -> Any:
    """A proof looks at a whole repository: a later one there of the level, or of all data, counts."""
    later, theirs, mine = aliased(Proof), aliased(Copy), aliased(Copy)
    return (
        select(later.id)
        .join(theirs, and_(theirs.tenant_id == later.tenant_id, theirs.id == later.copy_id))
        .join(mine, and_(mine.tenant_id == theirs.tenant_id, mine.id == Proof.copy_id))
        .where(
            later.tenant_id == Proof.tenant_id,
            mine.repository_id == theirs.repository_id,
            later.state == ProofState.PASSED,
            later.ended_at > Proof.ended_at,
            or_(later.level == Proof.level, later.level == Level.DATA),
        )
        .correlate(Proof)
        .exists()
    )


def _last(kind: Any) -> Any:
    """None of its repository has ended since; what lay in an epoch that was left is over."""
    later = kind.__table__.alias("later")
    return ~exists().where(
        later.c.tenant_id == kind.tenant_id,
        later.c.repository_id == kind.repository_id,
        later.c.ended_at > kind.ended_at,
    ) & kind.repository_id.in_(select(Repository.id).where(Repository.counts()))


def _count(code: Attention, kind: Any, wrong: Any, tenants: Sequence[UUID] | None) -> Select[Any]:
    """How many rows of a kind are wrong, by tenant; a copied or proven thing once."""
    what = func.count(kind.copy_id.distinct()) if kind is Proof else func.count()
    wanted = select(literal(code.value), kind.tenant_id, what).where(wrong)
    if tenants is not None:
        wanted = wanted.where(among(kind.tenant_id, tenants))
    return wanted.group_by(kind.tenant_id)  # pyright: ignore


def _working(session: Session, tenants: Sequence[UUID] | None) -> dict[UUID, list[Working]]:
    """What goes on, by tenant; the oldest first."""
    wanted: list[tuple[str, Any, Any]] = [
        ("backup", BackupRun, [RunState.QUEUED, RunState.MAKING]),
        ("copy", Copy, [CopyState.COPYING]),
        ("proof", Proof, [ProofState.PROVING]),
        ("restore", Restore, [RestoreState.WAITING, RestoreState.RUNNING]),
        ("drill", Drill, [DrillState.RUNNING]),
        ("healing", Healing, [HealingState.WAITING, HealingState.HEALING]),
        ("key change", Rotation, [RotationState.WAITING, RotationState.ROTATING]),
    ]
    found: dict[UUID, list[Working]] = {}
    for what, kind, states in wanted:
        query = select(kind).where(kind.state.in_(states)).order_by(kind.id)
        if tenants is not None:
            query = query.where(among(kind.tenant_id, tenants))
        for row in session.execute(query).scalars():
            found.setdefault(row.tenant_id, []).append(_work(what, row))
    return found


def _work(what: str, row: Any) -> Working:
    progress = getattr(row, "progress", None) or {}
    phase = getattr(row, "phase", None)
    return Working(what, str(phase or row.state), progress.get("percent"))
