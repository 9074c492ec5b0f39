"""Points that somebody needs for a while: retention lets none of them go meanwhile.

Who asks for a restore or a download says until when; nobody takes it back, it lapses. Asking and
planning removals exclude each other, so that a point is either wanted or going, never both.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from backup.clearing import stands
from backup.models import Copy, Point, PointSource, Removal
from backup.states import RemovalState
from strongroom.errors import Refused

GOING = (RemovalState.PLANNED, RemovalState.FORGOTTEN)


class PointGone(Refused):
    """No region has the data any more."""

    code = "point-gone"


class PointGoing(Refused):
    """The data are being removed."""

    code = "point-going"


def lock(session: Session, tenant: UUID, *, alone: bool) -> None:
    """To the end of the transaction: `alone` to plan removals, together with others to ask."""
    take = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
    session.execute(select(take(func.hashtextextended(f"removals:{tenant}", 0))))


def want(session: Session, part: PointSource, *, until: datetime) -> None:
    """Keep the data of this part for that long. Raises PointGone and PointGoing.

    The session may be that of a page: of a point it may change nothing but this.
    """
    lock(session, part.tenant_id, alone=False)
    require(session, part)
    session.execute(
        update(Point)
        .where(Point.id == part.point_id)
        .where(or_(Point.wanted_until.is_(None), Point.wanted_until < until))
        .values(wanted_until=until)
        .execution_options(synchronize_session=False)
    )


def require(session: Session, part: PointSource) -> None:
    """Raises PointGone or PointGoing unless the part's data are there to stay."""
    there = select(PointSource.id).where(PointSource.id == part.id, stands())
    if session.execute(there).first() is None:
        raise PointGone(
            "No region has what this point held of that source: it was removed, or is missing. "
            "Choose another point.",
        )
    going = (
        select(Removal.code)
        .join(Copy, Copy.id == Removal.copy_id)
        .where(
            Copy.point_id == part.point_id,
            Removal.state.in_(GOING),
            or_(Removal.source_id.is_(None), Removal.source_id == part.source_id),
        )
        .limit(1)
    )
    code = session.execute(going).scalar_one_or_none()
    if code is not None:
        raise PointGoing(
            "This point is being removed, as the plan says. Choose another point.", because=code
        )
