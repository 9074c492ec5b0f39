"""Asking for a restore, and for its undoing; what cannot be done is refused here."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backup import wanted
from backup.models import AllowedPlace, PointSource, Source
from backup.sources import kinds, manifest
from backup.sources.allowance import resolved
from backup.sources.directory import Directory
from backup.states import PlaceKind
from restore import approvals, counting, undoing
from restore.going import FINAL
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.actors import Actor
from strongroom.errors import BadValue, NotFound, Refused
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record

OPEN = (RestoreState.ASKED, RestoreState.WAITING, RestoreState.RUNNING)
WANTED = timedelta(days=1)  # for so long a restore keeps its point from being removed
REASON_MOST = 500  # signs
MOST_OPEN = 50  # restores of a tenant that wait or are under way


class TooManyRestores(Refused):
    """More than can be carried out, or looked over."""

    code = "too-many-restores"


def ask(session: Session, tenant: UUID, wish: Wish, *, by: Actor, at: datetime) -> Restore:
    """Queue a restore, or put it before a second person where the plan wants one.

    Raises BadValue or NotFound for what makes no sense, PointGone or PointGoing for a point that
    retention has let go, TooManyRestores.
    """
    source = session.get(Source, wish.source)
    if source is None:
        raise NotFound("There is no such source.")
    _check(source, wish)
    if wish.target is not None:
        _require_nobody_elses(session, tenant, wish.target)
    stored = session.execute(
        select(PointSource).where(
            PointSource.point_id == wish.point,
            PointSource.source_id == wish.source,
            PointSource.snapshot_id.is_not(None),
        )
    ).scalar_one_or_none()
    if stored is None:
        raise NotFound(
            f"The point holds nothing of {source.name}. Choose another point.",
            code="nothing-stored",
        )
    _require_tables(stored, wish)
    if not wish.dry_run and wish.undoes is None:  # the way back is never too much
        _require_room(session, tenant)
    state = RestoreState.WAITING
    if approvals.needed(session, wish, stored):
        state = RestoreState.ASKED
    waits = approvals.LASTS if state is RestoreState.ASKED else timedelta(0)
    wanted.want(session, stored, until=at + waits + WANTED)
    row = Restore(
        id=new_id(),
        tenant_id=tenant,
        point_id=wish.point,
        source_id=wish.source,
        destination=wish.destination,
        target=None if wish.target is None else str(wish.target),
        paths=["/" + "/".join(Path(path).parts[1:]) for path in wish.paths],
        tables=list(wish.tables),
        dry_run=wish.dry_run,
        state=state,
        asked_by=str(by),
        asked_at=at,
        due_at=at,
        undoes_id=wish.undoes,
        plan_id=wish.plan,
        reason=_plain_reason(wish.reason),
    )
    session.add(row)
    record(session, row, old="", move=Move(by=by, at=at, reason=Reason("restore-asked")))
    return row


def _require_room(session: Session, tenant: UUID) -> None:
    counting.lock(session, tenant)
    open_ = select(func.count()).where(
        Restore.tenant_id == tenant, Restore.dry_run.is_(False), Restore.state.in_(OPEN)
    )
    if session.execute(open_).scalar_one() >= MOST_OPEN:
        raise TooManyRestores(
            f"{MOST_OPEN} restores wait or are under way already. Wait until some have ended, or "
            "cancel what is not needed."
        )


def undo(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    """Bring back exactly the state before a restore in place: itself a restore in place.

    Raises Refused for a restore that replaced nothing, did not end well, or lies too far back.
    """
    done = found(session, restore_id)
    return ask(session, done.tenant_id, undoing.wish_of(session, done, now=at), by=by, at=at)


def cancel(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    """Take back a restore: at once if it has not begun, else its worker ends it and clears away.

    Raises Refused for one that has ended, or whose last step has begun.
    """
    row = found(session, restore_id, lock=True)
    begun = row.state is RestoreState.RUNNING or row.phase is not None
    if row.state in OPEN and not begun:
        values = {"ended_at": at}
        move = Move(by=by, at=at, reason=Reason("restore-cancelled"), values=values)
        advance(session, row, RestoreState.CANCELLED, move)
        return row
    if row.state not in OPEN:
        raise Refused(f"That restore is {row.state}, so there is nothing to cancel.", code="ended")
    if row.phase in FINAL:
        raise Refused(
            "The restored data are taking their place at this moment; it is too late to cancel. "
            "What was replaced is kept, and can be brought back.",
            code="too-late",
        )
    if row.cancel_asked_at is None:
        row.cancel_asked_at, row.cancel_asked_by = at, str(by)
        if row.state is RestoreState.WAITING:
            row.due_at, row.nudged_at = at, None
        reason = Reason("restore-cancel-asked")
        record(session, row, old=row.state, move=Move(by=by, at=at, reason=reason))
    return row


def found(session: Session, restore_id: UUID, *, lock: bool = False) -> Restore:
    """Raises NotFound, also for another tenant's."""
    row = session.get(Restore, restore_id, with_for_update=lock, populate_existing=lock)
    if row is None:
        raise NotFound(f"There is no restore {restore_id}. `strongroom restores list` shows all.")
    return row


def _plain_reason(text: str | None) -> str | None:
    """One line that plays no tricks; None for nothing. Raises BadValue for a novel."""
    words = "".join(sign if sign.isprintable() else " " for sign in text or "").strip()
    if len(words) > REASON_MOST:
        raise BadValue(f"A reason has at most {REASON_MOST} characters.", code="reason-too-long")
    return words or None


def _require_tables(stored: PointSource, wish: Wish) -> None:
    """Each of them, by the manifest that was taken with the dump."""
    if not wish.tables or stored.manifest is None:
        return
    known = {each.title for each in manifest.from_json(json.dumps(stored.manifest)).tables}
    lacking = [table for table in wish.tables if table not in known]
    if lacking:
        raise NotFound(
            f"The point has no table {', '.join(lacking)}. Choose from the tables it has.",
            code="table-not-in-point",
            tables=lacking,
        )


def _require_nobody_elses(session: Session, tenant: UUID, target: Path) -> None:
    """Nothing of one tenant lands in what another one backs up."""
    roots = session.execute(
        select(AllowedPlace.value).where(
            AllowedPlace.kind == PlaceKind.ROOT, AllowedPlace.tenant_id != tenant
        )
    ).scalars()
    place = resolved(target)
    if any(place.is_relative_to(resolved(Path(root))) for root in roots):
        raise Refused(
            f"{target} lies in a folder of another tenant. Name one elsewhere.",
            code="folder-of-another-tenant",
            folder=str(target),
        )


def _check(source: Source, wish: Wish) -> None:
    parsed = kinds.parse(source.kind, source.options)
    folder = isinstance(parsed, Directory)
    if wish.tables and folder:
        raise BadValue(f"{source.name} is a folder and has no tables; choose with --path.")
    if wish.paths and not folder:
        raise BadValue(f"{source.name} is a database and has no paths; choose with --table.")
    if wish.tables and wish.destination is Destination.FOLDER:
        raise BadValue(
            "Into a folder goes the whole dump, from which `pg_restore --table` takes what is "
            "wanted. Or restore the tables aside."
        )
    if any("\0" in name for name in (*wish.paths, *wish.tables)):
        raise BadValue("No name has a zero byte in it. Choose from what the point shows.")
    for table in wish.tables:
        if table.count(".") != 1:
            raise BadValue(f"{table!r} is no table. Write SCHEMA.TABLE, like public.invoices.")
    for path in wish.paths:
        parts = Path(path).parts
        if not path.startswith("/") or ".." in parts or len(parts) < 2:
            raise BadValue(
                f"{path!r} is no path within the source. Write it from / on, as `browse` shows it."
            )
    if (wish.destination is Destination.FOLDER) != (wish.target is not None):
        raise BadValue("A folder is named exactly when the restore goes to a folder.")
    if wish.target is not None and not wish.target.is_absolute():
        raise BadValue(f"The folder {wish.target} is to be absolute: write it from / on.")
