"""The end of a delivery: nobody gets anything from that moment, and then nothing is left of it.

Its key goes with the step to ENDING, in one statement; what lies in regions is removed after that,
and once more when nobody can hold a right to write there any longer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from backup.making import failure_of
from restore.delivery import shipping
from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState, End
from strongroom.actors import WORKER, Actor
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.lifecycle import Move, Overtaken, Reason, advance, database_now
from strongroom.runtime import Runtime

LATER = timedelta(minutes=5)  # until a region that is away is asked again
REASONS = {End.EXPIRED: "delivery-expired", End.FAILED: "workers-lost"}

log = structlog.get_logger(__name__)


def values(end: End, *, at: datetime) -> dict[str, Any]:
    """What every move to an end sets: the key is gone, and what lies somewhere falls due."""
    return {
        "ended_as": end,
        "ended_at": at,
        "sealed": None,
        "head": None,
        "link_hash": None,
        "progress": None,
        "due_at": at,
        "nudged_at": None,
        "owner": None,
        "lease_until": None,
    }


def end(
    session: Session, row: Delivery, as_: End, reason: Reason, *, by: Actor, at: datetime
) -> None:
    """Nobody gets anything from now on. Raises Overtaken, or WrongTurn for what has ended."""
    new = values(as_, at=at)
    if as_ is End.FAILED and row.failure is None:
        new |= {"failure": {"code": reason.code, "params": dict(reason.params)}}
    if row.state is DeliveryState.PROPOSED:  # nothing was made
        advance(session, row, DeliveryState.ENDED, Move(by=by, at=at, reason=reason, values=new))
        return
    new |= {"fence": Delivery.fence + 1}  # a worker that makes it is to stop
    advance(session, row, DeliveryState.ENDING, Move(by=by, at=at, reason=reason, values=new))


def carry_out(runtime: Runtime, tenant: UUID, delivery_id: UUID) -> None:
    """What fell due: end what has expired or lost its workers, and remove what has ended."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get(Delivery, delivery_id)
    if row is None or row.due_at > runtime.now():
        return
    try:
        if row.state is DeliveryState.ENDING:
            _remove(runtime, row)
        elif row.state in EXPIRES:
            _expire(runtime, row)
    except Overtaken as error:
        log.info("a delivery ended otherwise", delivery=str(row.id), error=error.message)


EXPIRES = {
    DeliveryState.PROPOSED: End.EXPIRED,
    DeliveryState.READY: End.EXPIRED,
    DeliveryState.REDEEMED: End.EXPIRED,
    DeliveryState.QUARANTINED: End.FAILED,
}


def _expire(runtime: Runtime, row: Delivery) -> None:
    as_ = EXPIRES[row.state]
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        found = session.get_one(Delivery, row.id)
        reason = Reason(REASONS[as_])
        end(session, found, as_, reason, by=WORKER, at=runtime.now())
    if found.state is DeliveryState.ENDING:
        _remove(runtime, found)


def _remove(runtime: Runtime, row: Delivery) -> None:
    """May be done twice, and by two: what is gone is gone."""
    now = runtime.now()
    try:
        kept = shipping.remove(runtime, row)
    except StrongroomError as error:
        log.warning("an artefact could not be removed yet", delivery=str(row.id), error=error.code)
        _later(runtime, row, {"due_at": now + LATER, "failure": failure_of(error)})
        return
    if kept:
        log.warning("an artefact stayed", delivery=str(row.id), found=kept[0].found)
        _later(runtime, row, {"due_at": now + LATER})
        return
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        found = session.get_one(Delivery, row.id)
        left = timedelta(0)
        if found.write_until is not None:
            left = found.write_until - database_now(session)
        if left > timedelta(0):  # somebody who was stopped may still write: look again then
            found.due_at, found.nudged_at = now + left, None
        else:
            advance(session, found, DeliveryState.ENDED, Move(WORKER, now, Reason("removed")))


def _later(runtime: Runtime, row: Delivery, new: dict[str, Any]) -> None:
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        found = session.get_one(Delivery, row.id)
        found.nudged_at = None
        for name, each in new.items():
            setattr(found, name, each)
