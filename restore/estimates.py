"""How long a restore will take, from what earlier ones took. Pure but for reading the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Point, PointSource
from backup.states import Outcome
from restore.models import Drill, Restore
from restore.states import DrillState, RestoreState

NEWEST = 5  # samples that count
GUESSED_RATE = 20 * 1024 * 1024.0  # bytes a second, where nothing was ever measured
GUESSED_LEAST = 10.0  # seconds


class Basis(StrEnum):
    """What an estimate rests on."""

    RESTORES = "restores"  # of the same source
    DRILLS = "drills"  # of the same tenant
    GUESS = "guess"


@dataclass(frozen=True)
class Sample:
    """One that was measured."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """Seconds, and what they rest on."""

    seconds: float
    basis: Basis


def estimate(size: int, samples: Sequence[Sample]) -> float | None:
    """Seconds for so many bytes; never less than the quickest took. None: nothing to go by."""
    known = [each for each in samples if each.seconds > 0]
    if not known:
        return None
    rate = sum(each.bytes for each in known) / sum(each.seconds for each in known)
    least = min(each.seconds for each in known)
    return max(least, size / rate) if rate > 0 else least


def of_restore(session: Session, row: Restore, size: int) -> Estimate:
    """To bring back so many bytes, with the safety point where one is taken first."""
    found, basis = estimate(size, _restores(session, row)), Basis.RESTORES
    if found is None:
        found, basis = estimate(size, _drills(session, row.tenant_id)), Basis.DRILLS
    if found is None:
        found, basis = max(GUESSED_LEAST, size / GUESSED_RATE), Basis.GUESS
    return Estimate(round(found + _safety(session, row), 1), basis)


def _restores(session: Session, row: Restore) -> list[Sample]:
    reports = session.execute(
        select(Restore.report)
        .where(
            Restore.source_id == row.source_id,
            Restore.dry_run.is_(False),
            Restore.state == RestoreState.DONE,
        )
        .order_by(Restore.id.desc())
        .limit(NEWEST)
    ).scalars()
    known = [each for each in reports if each and each.get("bytes") and each.get("bring_seconds")]
    return [Sample(int(each["bytes"]), float(each["bring_seconds"])) for each in known]


def _drills(session: Session, tenant: UUID) -> list[Sample]:
    rows = session.execute(
        select(Drill.bytes, Drill.restore_seconds)
        .where(Drill.tenant_id == tenant, Drill.state == DrillState.PASSED)
        .where(Drill.bytes.is_not(None), Drill.restore_seconds.is_not(None))
        .order_by(Drill.id.desc())
        .limit(NEWEST)
    )
    return [Sample(row.bytes, row.restore_seconds) for row in rows]


def _safety(session: Session, row: Restore) -> float:
    """What the last backup of the source took."""
    if str(row.destination) != "in-place":
        return 0.0
    seconds = session.execute(
        select(PointSource.seconds)
        .join(Point, Point.id == PointSource.point_id)
        .where(PointSource.source_id == row.source_id, PointSource.outcome == Outcome.COMPLETE)
        .order_by(Point.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    return seconds or 0.0
