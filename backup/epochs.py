"""After a loss: rows of the day before a switch name an epoch that a later one replaced."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import rota
from backup.models import Copy, Removal, Repository, Rota, Snapshot
from backup.states import CopyState, RemovalState, RepositoryState
from strongroom.actors import Actor
from strongroom.lifecycle import Move, Reason, advance

OPEN = (RemovalState.PLANNED, RemovalState.SPARED)
REPLACED = "epoch-replaced"


def leave(session: Session, old: Repository, new: Repository, *, by: Actor, now: datetime) -> None:
    """The later epoch counts. Nothing is believed to lie in it before it was seen there: copies
    wait, and what is adopted from it makes them whole again."""
    move = Move(by=by, at=now, reason=Reason(REPLACED, {"epoch": new.epoch}))
    values = {"due_at": None, "nudged_at": None}
    retiring = Move(by=by, at=now, reason=move.reason, values=values)
    advance(session, old, RepositoryState.RETIRED, retiring)
    session.execute(
        update(Snapshot)
        .where(Snapshot.repository_id == old.id, Snapshot.standing())
        .values(lost_at=now, checked_at=None, verified_at=None)
    )
    copies = session.execute(
        select(Copy).where(Copy.repository_id == old.id, Copy.state == CopyState.STORED)
    ).scalars()
    waiting = Move(by=by, at=now, reason=move.reason, values={"stored_at": None, "due_at": now})
    for copy in copies.all():
        advance(session, copy, CopyState.WAITING, waiting)
    session.execute(update(Copy).where(Copy.repository_id == old.id).values(repository_id=new.id))
    session.execute(
        update(Removal)
        .where(Removal.repository_id == old.id, Removal.state.in_(OPEN))
        .values(repository_id=new.id)
    )
    there = select(Rota.level).where(Rota.repository_id == new.id)
    session.execute(
        update(Rota)
        .where(Rota.repository_id == old.id, Rota.level.not_in(there))
        .values(repository_id=new.id, passed_at=None, planned_at=None)
    )
    session.flush()
    rota.begin(session, new.tenant_id, now=now)
