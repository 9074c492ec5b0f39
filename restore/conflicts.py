"""What stands in the way of a restore, or should be known before it is confirmed: as of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backup.models import BackupRun, Point, PointSource, Snapshot, Source
from backup.states import Outcome, RunState, Trigger
from restore.browsing import cards
from restore.browsing.cards import Card, OfSource
from restore.models import Restore
from restore.states import Destination, RestoreState

SOON = timedelta(days=3)
UNDER_WAY = (RestoreState.ASKED, RestoreState.WAITING, RestoreState.RUNNING)


class Code(StrEnum):
    """What it is; the comment names the parameters."""

    POINT_GONE = "point-gone"
    POINT_GOING = "point-going"
    SOURCE_GONE = "source-gone"
    RESTORE_UNDER_WAY = "restore-under-way"  # restore
    BACKUP_UNDER_WAY = "backup-under-way"
    POINT_EXPIRES = "point-expires"  # on
    POINT_PARTIAL = "point-partial"
    LOOKED_ODD = "looked-odd"
    NOT_VERIFIED = "not-verified"
    NEWER_VERIFIED = "newer-verified"  # number
    NEWER_UNVERIFIED = "newer-unverified"  # number
    SOURCE_RETIRED = "source-retired"
    ASIDE_BEFORE = "aside-before"  # count


STOPS = frozenset({Code.POINT_GONE, Code.POINT_GOING})  # nothing is restored


@dataclass(frozen=True)
class Conflict:
    """One thing to know."""

    code: Code
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        return self.code in STOPS


def of(session: Session, row: Restore, source: Source, *, now: datetime) -> list[Conflict]:
    """Of a plan; the worst first."""
    number = session.get_one(Point, row.point_id).number
    card = cards.card(session, row.tenant_id, number, now=now)
    part = next((each for each in card.sources if each.source == source.id), None)
    found = _of_point(card, part, today=now.date())
    if (row.report or {}).get("source_gone"):
        found.append(Conflict(Code.SOURCE_GONE))
    found += _of_work(session, row)
    if row.undoes_id is None:
        found += _of_newer(session, source, number)
    if source.removed_at is not None:
        found.append(Conflict(Code.SOURCE_RETIRED))
    order = list(Code)
    return sorted(found, key=lambda each: order.index(each.code))


def _of_point(card: Card, part: OfSource | None, *, today: date) -> list[Conflict]:
    """Pure."""
    if part is None or not part.stored:
        return [Conflict(Code.POINT_GONE)]
    found = []
    if card.going is not None:
        found.append(Conflict(Code.POINT_GOING))
    if card.expires is not None and card.expires <= today + SOON:
        found.append(Conflict(Code.POINT_EXPIRES, {"on": card.expires}))
    if part.outcome is Outcome.PARTIAL:
        found.append(Conflict(Code.POINT_PARTIAL))
    if part.odd:
        found.append(Conflict(Code.LOOKED_ODD))
    if card.verified_at is None and card.kind is not Trigger.SAFETY:
        found.append(Conflict(Code.NOT_VERIFIED))
    return found


def _of_work(session: Session, row: Restore) -> list[Conflict]:
    others = select(Restore.id).where(
        Restore.source_id == row.source_id,
        Restore.dry_run.is_(False),
        Restore.state.in_(UNDER_WAY),
    )
    found = [
        Conflict(Code.RESTORE_UNDER_WAY, {"restore": other})
        for other in session.execute(others.limit(1)).scalars()
    ]
    making = select(BackupRun.id).where(BackupRun.state == RunState.MAKING).limit(1)
    if row.destination is Destination.IN_PLACE and session.execute(making).first() is not None:
        found.append(Conflict(Code.BACKUP_UNDER_WAY))
    if row.destination is Destination.ASIDE:
        count = session.execute(
            select(func.count()).where(
                Restore.source_id == row.source_id,
                Restore.dry_run.is_(False),
                Restore.destination == Destination.ASIDE,
                Restore.state == RestoreState.DONE,
            )
        ).scalar_one()
        found += [Conflict(Code.ASIDE_BEFORE, {"count": count})] if count else []
    return found


def _of_newer(session: Session, source: Source, number: int) -> list[Conflict]:
    rows = session.execute(
        select(Point.number, func.bool_or(Snapshot.verified_at.is_not(None)).label("verified"))
        .join(PointSource, PointSource.point_id == Point.id)
        .join(Snapshot, func.coalesce(Snapshot.origin_id, Snapshot.id) == PointSource.snapshot_id)
        .where(
            PointSource.source_id == source.id,
            PointSource.outcome == Outcome.COMPLETE,
            Point.number > number,
            Point.kind != Trigger.SAFETY,
            Snapshot.standing(),
        )
        .group_by(Point.number)
        .order_by(Point.number.desc())
        .limit(50)
    ).all()
    return newer([(row.number, row.verified) for row in rows])


def newer(points: Sequence[tuple[int, bool]]) -> list[Conflict]:
    """Of numbers, the newest first, and whether each is verified. Pure."""
    verified = next((number for number, is_verified in points if is_verified), None)
    if verified is not None:
        return [Conflict(Code.NEWER_VERIFIED, {"number": verified})]
    return [Conflict(Code.NEWER_UNVERIFIED, {"number": points[0][0]})] if points else []
