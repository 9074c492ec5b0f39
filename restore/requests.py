"""Asking for a restore, and for its undoing; what cannot be done is refused here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import AllowedPlace, Point, PointSource, Source
from backup.sources import kinds, manifest
from backup.sources.allowance import resolved
from backup.sources.directory import Directory
from backup.states import PlaceKind
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom.actors import Actor
from strongroom.errors import BadValue, NotFound, Refused
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record


@dataclass(frozen=True)
class Wish:
    """What somebody wants back."""

    point: UUID
    source: UUID
    destination: Destination
    target: Path | None = None  # for Destination.FOLDER
    paths: tuple[str, ...] = ()  # of a folder; empty: everything
    tables: tuple[str, ...] = ()  # "schema.table" of a database; empty: everything
    dry_run: bool = False
    undoes: UUID | None = None


def ask(session: Session, tenant: UUID, wish: Wish, *, by: Actor, at: datetime) -> Restore:
    """Queue a restore. Raises BadValue or NotFound for what makes no sense."""
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
        state=RestoreState.WAITING,
        asked_by=str(by),
        asked_at=at,
        due_at=at,
        undoes_id=wish.undoes,
    )
    session.add(row)
    record(session, row, old="", move=Move(by=by, at=at, reason=Reason("restore-asked")))
    return row


def undo(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    """Bring back exactly the state before a restore in place: itself a restore in place.

    Raises Refused for a restore that replaced nothing or did not end well.
    """
    done = session.get(Restore, restore_id)
    if done is None:
        raise NotFound(f"There is no restore {restore_id}. `strongroom restores list` shows all.")
    if done.destination is not Destination.IN_PLACE or done.dry_run:
        raise Refused("That restore replaced nothing, so there is nothing to undo.")
    if done.state is not RestoreState.DONE or done.safety_run_id is None:
        raise Refused(
            f"That restore is {done.state} and has no safety point, so it cannot be undone."
        )
    safety = session.get_one(Point, done.safety_run_id)
    wish = Wish(
        point=safety.id,
        source=done.source_id,
        destination=Destination.IN_PLACE,
        undoes=done.id,
    )
    return ask(session, done.tenant_id, wish, by=by, at=at)


def cancel(session: Session, restore_id: UUID, *, by: Actor, at: datetime) -> Restore:
    """Take back a restore that has not begun. Raises Refused for one that has."""
    row = session.get(Restore, restore_id)
    if row is None:
        raise NotFound(f"There is no restore {restore_id}. `strongroom restores list` shows all.")
    if row.state is not RestoreState.WAITING:
        raise Refused(f"That restore is {row.state}; only one that waits can be cancelled.")
    values = {"ended_at": at}
    move = Move(by=by, at=at, reason=Reason("restore-cancelled"), values=values)
    advance(session, row, RestoreState.CANCELLED, move)
    return row


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
