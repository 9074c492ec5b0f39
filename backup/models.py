"""The rows of backup: what is backed up, when, what came of it, where it lies, what proves it."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Index, UniqueConstraint, and_
from sqlalchemy.orm import Mapped, mapped_column

from backup import on_record, states
from backup.schedule import SlotKind
from backup.states import (
    CURRENT,
    ActKind,
    CopyState,
    Decision,
    HealingState,
    Level,
    Outcome,
    PlaceKind,
    ProofState,
    RemovalState,
    RepositoryState,
    RotationKind,
    RotationState,
    RunState,
    SlotOutcome,
    Trigger,
)
from strongroom.db import Base, OfTenant, refers
from strongroom.lifecycle import Leased, Lived, Work


class Policy(OfTenant, Base):
    """What is in force for a tenant: immutable; the highest version counts."""

    __tablename__ = "policies"
    __constraints__ = (UniqueConstraint("tenant_id", "version"),)

    version: Mapped[int]
    body: Mapped[dict[str, Any]]  # backup.policy.EffectivePolicy
    zone: Mapped[str]  # IANA; local dates and slots are counted in it
    cites: Mapped[str]  # where the values come from: "plan business v3"
    made_at: Mapped[datetime]


class Source(OfTenant, Base):
    """One thing of a tenant that is backed up."""

    __tablename__ = "sources"
    __constraints__ = (UniqueConstraint("tenant_id", "name"),)

    kind: Mapped[str]
    name: Mapped[str]
    options: Mapped[dict[str, Any]]
    ceiling_days: Mapped[int | None]  # data of this source may never be older, whatever the plan
    transit: Mapped[bool] = mapped_column(default=False, server_default="false")  # to be sent on
    added_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]

    def __repr__(self) -> str:
        return f"<Source {self.name}>"


class AllowedPlace(OfTenant, Base):
    """An entry of the operator's allow-list: what sources of a tenant may name."""

    __tablename__ = "allowed_places"
    __constraints__ = (UniqueConstraint("tenant_id", "kind", "value"),)

    kind: Mapped[PlaceKind]
    value: Mapped[str]  # an absolute folder, or host or host:port
    added_by: Mapped[str]
    added_at: Mapped[datetime]


class Repository(OfTenant, Lived, Leased, Base):
    """One restic repository of one tenant in one region; its lease is the mutex, not restic's lock."""

    __tablename__ = "repositories"
    __constraints__ = (
        UniqueConstraint("tenant_id", "region_id", "epoch"),
        Index("ix_repositories_due", "due_at", postgresql_where="due_at is not null"),
    )
    STEPS = states.REPOSITORY_STEPS
    ON_RECORD = on_record.REPOSITORIES

    region_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("regions.id"))
    epoch: Mapped[int]
    prefix: Mapped[str]  # t/<tenant>/r/<repository>/
    state: Mapped[RepositoryState] = mapped_column(default=RepositoryState.NEW)
    key_hint: Mapped[str | None]  # id of the low-cost key file
    polynomial: Mapped[int | None] = mapped_column(BigInteger)  # of the chunker; one a tenant
    credentials_until: Mapped[datetime | None]  # delete rights given out live until then
    unclean: Mapped[bool] = mapped_column(default=False)  # a writer died: repair the index first
    pruned_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # its object locks are looked at then; None: it has none
    nudged_at: Mapped[datetime | None]
    looked_at: Mapped[datetime | None]  # when strange keys and objects were last looked for
    read_until: Mapped[datetime | None]  # who reads without a lease may do so until then
    created_at: Mapped[datetime]

    @classmethod
    def counts(cls) -> ColumnElement[bool]:
        """It is of the epoch in use: not one that is being filled, nor one that was left."""
        return cls.state.in_(CURRENT)


class Schedule(OfTenant, Base):
    """When a tenant is backed up: one row a cadence."""

    __tablename__ = "schedules"
    __constraints__ = (
        UniqueConstraint("tenant_id", "cadence"),
        Index("ix_schedules_next_at", "next_at"),
    )

    cadence: Mapped[SlotKind]
    last_at: Mapped[datetime]  # slots up to here have a row
    next_at: Mapped[datetime]


class Slot(OfTenant, Base):
    """A moment at which a backup was due, and what became of it."""

    __tablename__ = "slots"
    __constraints__ = (
        *(refers("schedule_id", "schedules"), refers("run_id", "backup_runs")),
        UniqueConstraint("tenant_id", "schedule_id", "at"),
        Index(None, "tenant_id", "local_date"),
    )

    schedule_id: Mapped[uuid.UUID]
    at: Mapped[datetime]
    local_date: Mapped[date]
    outcome: Mapped[SlotOutcome]
    run_id: Mapped[uuid.UUID | None]


class BackupRun(OfTenant, Work, Base):
    """One attempt to make a point; the point gets the run's id, so there can be only one."""

    __tablename__ = "backup_runs"
    __constraints__ = (
        refers("policy_id", "policies"),
        refers("only_source_id", "sources"),
        Index("ix_backup_runs_due", "due_at", postgresql_where="state in ('queued', 'making')"),
        Index(None, "tenant_id", "local_date"),
    )
    STEPS = states.RUN_STEPS
    ON_RECORD = on_record.RUNS
    WAITING = RunState.QUEUED
    BUSY = RunState.MAKING
    QUARANTINE = RunState.QUARANTINED

    state: Mapped[RunState] = mapped_column(default=RunState.QUEUED)
    trigger: Mapped[Trigger]
    policy_id: Mapped[uuid.UUID]
    cadences: Mapped[list[str]]  # the schedules it serves; empty for manual and safety
    local_date: Mapped[date]
    full: Mapped[bool]  # every file is read again, and the data proved
    only_source_id: Mapped[uuid.UUID | None]  # of a safety point: just what is to be replaced
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]  # source, percent, bytes; written at most once a second


class Point(OfTenant, Base):
    """A restore point: one moment of one tenant."""

    __tablename__ = "points"
    __constraints__ = (refers("id", "backup_runs"), UniqueConstraint("tenant_id", "number"))

    number: Mapped[int]
    outcome: Mapped[Outcome]
    kind: Mapped[Trigger]
    taken_at: Mapped[datetime]  # when the run began, on the platform's clock
    first_seen_at: Mapped[datetime]  # when it was recorded; retention counts from here
    local_date: Mapped[date]
    cadences: Mapped[list[str]]
    bytes: Mapped[int] = mapped_column(BigInteger)
    added_bytes: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[int]
    pinned_until: Mapped[datetime | None]
    wanted_until: Mapped[datetime | None]  # somebody restores from it: backup.wanted
    policy_id: Mapped[uuid.UUID]

    def __repr__(self) -> str:
        return f"<Point {self.number}>"


class Snapshot(OfTenant, Base):
    """One source in one repository at one moment; several points may share it."""

    __tablename__ = "snapshots"
    __constraints__ = (
        refers("source_id", "sources"),
        refers("repository_id", "repositories"),
        refers("origin_id", "snapshots"),
        UniqueConstraint("tenant_id", "repository_id", "restic_id"),
        Index(None, "tenant_id", "origin_id"),
    )

    source_id: Mapped[uuid.UUID]
    repository_id: Mapped[uuid.UUID]
    origin_id: Mapped[uuid.UUID | None]  # the snapshot it was copied from
    restic_id: Mapped[str]
    taken_at: Mapped[datetime]
    bytes: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int]
    added_bytes: Mapped[int] = mapped_column(BigInteger)
    checked_at: Mapped[datetime | None]  # structure
    verified_at: Mapped[datetime | None]  # data read back or restored
    forgotten_at: Mapped[datetime | None]  # retention let it go
    lost_at: Mapped[datetime | None]  # seen to be missing from the bucket, and not back since

    @classmethod
    def standing(cls) -> ColumnElement[bool]:
        """It should lie in its repository, and was not seen to be missing."""
        return and_(cls.forgotten_at.is_(None), cls.lost_at.is_(None))


class PointSource(OfTenant, Base):
    """What one run made of one source."""

    __tablename__ = "point_sources"
    __constraints__ = (
        refers("point_id", "backup_runs"),
        refers("source_id", "sources"),
        refers("snapshot_id", "snapshots"),
        UniqueConstraint("tenant_id", "point_id", "source_id"),
        Index(None, "tenant_id", "snapshot_id"),
    )

    point_id: Mapped[uuid.UUID]  # the run's id is the point's
    source_id: Mapped[uuid.UUID]
    outcome: Mapped[Outcome]
    snapshot_id: Mapped[uuid.UUID | None]
    manifest: Mapped[dict[str, Any] | None]  # of a database, from the dump's own snapshot
    failure: Mapped[dict[str, Any] | None]
    seconds: Mapped[float]
    catalogued_at: Mapped[datetime | None]  # when its paths went into the catalogue
    changes: Mapped[dict[str, Any] | None]  # against the point before: catalogue.Changes
    cleared_at: Mapped[datetime | None]  # it is gone, and so is what only it had in the catalogue


class Copy(OfTenant, Work, Base):
    """A point in one region."""

    __tablename__ = "copies"
    __constraints__ = (
        refers("point_id", "points"),
        refers("repository_id", "repositories"),
        UniqueConstraint("tenant_id", "point_id", "region_id"),
        Index("ix_copies_due", "due_at", postgresql_where="state in ('waiting', 'copying')"),
    )
    STEPS = states.COPY_STEPS
    ON_RECORD = on_record.COPIES
    WAITING = CopyState.WAITING
    BUSY = CopyState.COPYING
    QUARANTINE = CopyState.QUARANTINED

    point_id: Mapped[uuid.UUID]
    region_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("regions.id"))
    repository_id: Mapped[uuid.UUID]
    state: Mapped[CopyState] = mapped_column(default=CopyState.WAITING)
    stored_at: Mapped[datetime | None]


class Proof(OfTenant, Work, Base):
    """One attempt to prove a copy."""

    __tablename__ = "proofs"
    __constraints__ = (
        refers("copy_id", "copies"),
        Index("ix_proofs_due", "due_at", postgresql_where="state in ('waiting', 'proving')"),
        Index(None, "tenant_id", "copy_id"),
    )
    STEPS = states.PROOF_STEPS
    ON_RECORD = on_record.PROOFS
    WAITING = ProofState.WAITING
    BUSY = ProofState.PROVING
    QUARANTINE = ProofState.QUARANTINED

    copy_id: Mapped[uuid.UUID]
    level: Mapped[Level]
    state: Mapped[ProofState] = mapped_column(default=ProofState.WAITING)
    asked_by: Mapped[str] = mapped_column(server_default="worker")  # "rota" for its turn
    ended_at: Mapped[datetime | None]
    seconds: Mapped[float | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    found: Mapped[dict[str, Any] | None]


class Rota(OfTenant, Base):
    """When one kind of proof is due for one repository, whatever is backed up meanwhile."""

    __tablename__ = "rotas"
    __constraints__ = (
        refers("repository_id", "repositories"),
        UniqueConstraint("tenant_id", "repository_id", "level"),
        Index("ix_rotas_due_at", "due_at"),
    )

    repository_id: Mapped[uuid.UUID]
    level: Mapped[Level]
    due_at: Mapped[datetime]
    planned_at: Mapped[datetime | None]  # when the last one was put in the queue
    passed_at: Mapped[datetime | None]  # when the last one passed


class Healing(OfTenant, Work, Base):
    """One attempt to mend a repository in which damage was seen."""

    __tablename__ = "healings"
    __constraints__ = (
        refers("repository_id", "repositories"),
        Index("ix_healings_due", "due_at", postgresql_where="state in ('waiting', 'healing')"),
        Index(
            "uq_healings_open",
            "tenant_id",
            "repository_id",
            unique=True,
            postgresql_where="state in ('waiting', 'healing', 'quarantined')",
        ),
    )
    STEPS = states.HEALING_STEPS
    ON_RECORD = on_record.HEALINGS
    WAITING = HealingState.WAITING
    BUSY = HealingState.HEALING
    QUARANTINE = HealingState.QUARANTINED

    repository_id: Mapped[uuid.UUID]
    state: Mapped[HealingState] = mapped_column(default=HealingState.WAITING)
    seen: Mapped[dict[str, Any]]  # the damage, as the proof or the scrub said it
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any] | None]  # what was done, and what is lost: points and paths


class Finding(OfTenant, Base):
    """Something seen that a person has to look at; open until settled."""

    __tablename__ = "findings"
    __constraints__ = (
        *(refers("repository_id", "repositories"), refers("point_id", "backup_runs")),
        refers("source_id", "sources"),
        Index(
            "uq_findings_open",
            "tenant_id",
            "code",
            "subject",
            unique=True,
            postgresql_where="settled_at is null",
        ),
    )

    repository_id: Mapped[uuid.UUID | None]
    point_id: Mapped[uuid.UUID | None]
    source_id: Mapped[uuid.UUID | None]
    code: Mapped[str]
    subject: Mapped[str]  # tells findings of one code apart: an object's key, a restic id, a source
    params: Mapped[dict[str, Any]]
    freezes: Mapped[bool]  # while it is open nothing of the tenant is removed
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]
    decision: Mapped[Decision | None]
    note: Mapped[str | None]


class Rotation(OfTenant, Work, Base):
    """One change of a key, from being asked for to the end of the old one."""

    __tablename__ = "rotations"
    __constraints__ = (
        refers("repository_id", "repositories"),
        Index("ix_rotations_due", "due_at", postgresql_where="state in ('waiting', 'rotating')"),
    )
    STEPS = states.ROTATION_STEPS
    ON_RECORD = on_record.ROTATIONS
    WAITING = RotationState.WAITING
    BUSY = RotationState.ROTATING
    QUARANTINE = RotationState.QUARANTINED

    kind: Mapped[RotationKind]
    repository_id: Mapped[uuid.UUID | None]  # None: of the tenant's KEK
    state: Mapped[RotationState] = mapped_column(default=RotationState.WAITING)
    stage: Mapped[str | None]  # the last one that was carried out whole
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any] | None]


class ObjectLock(OfTenant, Base):
    """Until when an object version may not be removed by anybody, as we set it."""

    __tablename__ = "object_locks"
    __constraints__ = (
        refers("repository_id", "repositories"),
        UniqueConstraint("tenant_id", "repository_id", "key"),
    )

    repository_id: Mapped[uuid.UUID]
    key: Mapped[str]  # relative to the repository's prefix
    version_id: Mapped[str]
    until: Mapped[datetime]


class Pack(OfTenant, Base):
    """One pack of a repository, and when it was last read back whole."""

    __tablename__ = "packs"
    __constraints__ = (
        refers("repository_id", "repositories"),
        UniqueConstraint("tenant_id", "repository_id", "name"),
    )

    repository_id: Mapped[uuid.UUID]
    name: Mapped[str]  # its SHA-256
    bytes: Mapped[int] = mapped_column(BigInteger)
    read_at: Mapped[datetime]
    whole: Mapped[bool]  # what was read hashed to the name


class Removal(OfTenant, Lived, Base):
    """A copy that is to go, why, and how far that is."""

    __tablename__ = "removals"
    __constraints__ = (
        refers("copy_id", "copies"),
        refers("repository_id", "repositories"),
        refers("policy_id", "policies"),
        UniqueConstraint("tenant_id", "copy_id", "source_id", postgresql_nulls_not_distinct=True),
        Index("ix_removals_due", "due_at", postgresql_where="state in ('planned', 'forgotten')"),
    )
    STEPS = states.REMOVAL_STEPS
    ON_RECORD = on_record.REMOVALS

    copy_id: Mapped[uuid.UUID]
    source_id: Mapped[uuid.UUID | None]  # only this source's data; None: the whole copy
    repository_id: Mapped[uuid.UUID]
    policy_id: Mapped[uuid.UUID]  # the policy that let it go
    code: Mapped[str]
    params: Mapped[dict[str, Any]]
    state: Mapped[RemovalState] = mapped_column(default=RemovalState.PLANNED)
    due_at: Mapped[datetime]
    nudged_at: Mapped[datetime | None]
    blocked: Mapped[dict[str, Any] | None]  # why it has not gone yet


class Hold(OfTenant, Base):
    """While it stands, nothing of the tenant is removed."""

    __tablename__ = "holds"

    reason: Mapped[str]
    until: Mapped[datetime | None]
    placed_by: Mapped[str]
    placed_at: Mapped[datetime]
    released_by: Mapped[str | None]
    released_at: Mapped[datetime | None]


class Act(OfTenant, Base):
    """Something we did that makes object versions noncurrent; open until its versions are recorded."""

    __tablename__ = "acts"
    __constraints__ = (
        refers("repository_id", "repositories"),
        Index(None, "tenant_id", "repository_id"),
    )

    repository_id: Mapped[uuid.UUID]
    kind: Mapped[ActKind]
    keys: Mapped[list[str]]  # exactly these objects, or prefixes that end in "/"
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ActVersion(OfTenant, Base):
    """One object version or delete marker that a recorded act of ours made noncurrent."""

    __tablename__ = "act_versions"
    __constraints__ = (
        refers("act_id", "acts"),
        UniqueConstraint("tenant_id", "act_id", "key", "version_id"),
    )

    act_id: Mapped[uuid.UUID]
    key: Mapped[str]
    version_id: Mapped[str]
    swept_at: Mapped[datetime | None]
