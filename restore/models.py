"""A restore as a row."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from restore import on_record
from restore.states import DRILL_STEPS, RESTORE_STEPS, Destination, DrillState, RestoreState
from strongroom.db import Base, OfTenant, refers
from strongroom.lifecycle import Work


class Restore(OfTenant, Work, Base):
    """One source of one point brought back, or some of its paths or tables.

    With `dry_run` it is a plan: it says what it would do, and changes nothing. The restore that
    somebody confirmed cites it, and there is one at most.
    """

    __tablename__ = "restores"
    __constraints__ = (
        refers("point_id", "points"),
        refers("source_id", "sources"),
        refers("safety_run_id", "backup_runs"),
        refers("undoes_id", "restores"),
        refers("plan_id", "restores"),
        UniqueConstraint("tenant_id", "plan_id"),
        Index(None, "tenant_id", "source_id"),
        Index("ix_restores_due", "due_at", postgresql_where="state in ('waiting', 'running')"),
    )
    STEPS = RESTORE_STEPS
    ON_RECORD = on_record.RESTORES
    WAITING = RestoreState.WAITING
    BUSY = RestoreState.RUNNING
    QUARANTINE = RestoreState.QUARANTINED

    point_id: Mapped[uuid.UUID]
    source_id: Mapped[uuid.UUID]
    destination: Mapped[Destination]
    target: Mapped[str | None]  # the folder, for Destination.FOLDER
    paths: Mapped[list[str]]  # empty: everything
    tables: Mapped[list[str]]  # "schema.table"; empty: everything
    dry_run: Mapped[bool]
    state: Mapped[RestoreState] = mapped_column(default=RestoreState.WAITING)
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    phase: Mapped[str | None]  # how far it is: restore.going says which there are
    region: Mapped[str | None]  # where the data came from
    safety_run_id: Mapped[uuid.UUID | None]
    undoes_id: Mapped[uuid.UUID | None]
    plan_id: Mapped[uuid.UUID | None]
    reason: Mapped[str | None]  # why, in the words of who asked
    decided_by: Mapped[str | None]  # the second person, where the plan wants one
    decided_at: Mapped[datetime | None]
    cancel_asked_by: Mapped[str | None]  # while it ran
    cancel_asked_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]  # restore.progress.Told
    report: Mapped[dict[str, Any] | None]  # what was restored, and where it lies


class Drill(OfTenant, Work, Base):
    """Every source of one point restored from one region into a throw-away place, and compared."""

    __tablename__ = "drills"
    __constraints__ = (
        refers("point_id", "points"),
        refers("repository_id", "repositories"),
        Index("ix_drills_due", "due_at", postgresql_where="state in ('waiting', 'running')"),
        Index(None, "tenant_id", "repository_id"),
    )
    STEPS = DRILL_STEPS
    ON_RECORD = on_record.DRILLS
    WAITING = DrillState.WAITING
    BUSY = DrillState.RUNNING
    QUARANTINE = DrillState.QUARANTINED

    point_id: Mapped[uuid.UUID]
    repository_id: Mapped[uuid.UUID]
    state: Mapped[DrillState] = mapped_column(default=DrillState.WAITING)
    asked_by: Mapped[str]  # "rota", or who asked
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    seconds: Mapped[float | None]  # from taking the point to the last comparison
    restore_seconds: Mapped[float | None]  # of that, what a real restore would have taken
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    report: Mapped[dict[str, Any] | None]  # each source: what was compared, what differed
