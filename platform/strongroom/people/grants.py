"""Support grants: staff have no standing access to what is a tenant's; somebody gives it, for a while.

Asked with a reason, a scope and an end; decided by the tenant, or by another operator; never by who
asked. The tenant sees each, and every move leaves a step. What was given ends by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from strongroom import lifecycle
from strongroom.actors import Actor
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason
from strongroom.notices import people
from strongroom.people import accounts
from strongroom.people.errors import NotAllowed
from strongroom.people.models import Account, GrantState, SupportGrant
from strongroom.people.rules import GrantScope, widest

LONGEST = timedelta(days=7)
REASON_LEAST, REASON_MOST = 10, 1000


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    scope: GrantScope
    reason: str
    until: datetime


@dataclass(frozen=True)
class Decider:
    """Who says yes or no."""

    account: Account
    for_tenant: bool  # as its owner or admin; else as a second operator


def ask(
    session: Session, tenant: uuid.UUID, account: Account, wish: Wish, *, now: datetime
) -> SupportGrant:
    """Raises BadValue. The session is bound to the tenant."""
    _check(wish, now)
    row = SupportGrant(
        id=new_id(),
        tenant_id=tenant,
        account_id=account.id,
        scope=wish.scope,
        reason=wish.reason.strip(),
        state=GrantState.ASKED,
        asked_at=now,
        until=wish.until,
    )
    session.add(row)
    session.flush()
    lifecycle.record(session, row, old="none", move=Move(accounts.actor_of(account), now))
    _tell(session, row, "grant.asked", now)
    return row


def decide(session: Session, row: SupportGrant, by: Decider, *, yes: bool, now: datetime) -> None:
    """Raises NotAllowed for whoever asked, BadValue for what has ended, WrongTurn when decided."""
    if by.account.id == row.account_id:
        raise NotAllowed(
            "Who asked for a grant cannot decide on it. The tenant does, or another operator.",
            code="own-grant",
        )
    if yes and row.until <= now:
        raise BadValue("This grant would have ended already; it has to be asked for anew.")
    values = {"decided_by": by.account.id, "decided_at": now, "for_tenant": by.for_tenant}
    state = GrantState.OPEN if yes else GrantState.DECLINED
    reason = Reason("by-tenant" if by.for_tenant else "by-operator")
    move = Move(accounts.actor_of(by.account), now, reason, values=values)
    lifecycle.advance(session, row, state, move)
    if yes:
        _tell(session, row, "grant.open", now)


def _tell(session: Session, row: SupportGrant, kind: str, now: datetime) -> None:
    """The tenant's owners and admins, whoever decided: nobody may have this kept from them."""
    params = {"until": row.until.isoformat(), "reason": row.reason, "scope": str(row.scope)}
    people.tell_admins(session, row.tenant_id, kind, str(row.id), params, refusable=False, now=now)


def end(session: Session, row: SupportGrant, *, by: Actor, now: datetime) -> None:
    """Before its time. Raises WrongTurn for one that is not open."""
    lifecycle.advance(session, row, GrantState.ENDED, Move(by, now))


def standing(
    session: Session, tenant: uuid.UUID, account: uuid.UUID, *, now: datetime
) -> GrantScope | None:
    """The widest that this person has in this tenant, at this moment."""
    wanted = select(SupportGrant.scope).where(
        SupportGrant.tenant_id == tenant, SupportGrant.account_id == account, *_stands(now)
    )
    return widest(list(session.execute(wanted).scalars()))


def of_tenant(session: Session, tenant: uuid.UUID) -> Sequence[tuple[SupportGrant, Account]]:
    """All there were, the newest first, with who asked."""
    wanted = (
        select(SupportGrant, Account)
        .join(Account, Account.id == SupportGrant.account_id)
        .where(SupportGrant.tenant_id == tenant)
        .order_by(SupportGrant.asked_at.desc(), SupportGrant.id)
    )
    return [(row.SupportGrant, row.Account) for row in session.execute(wanted)]


def of_all(session: Session) -> Sequence[tuple[SupportGrant, Account]]:
    """Those asked for or open, over all tenants, the oldest first."""
    wanted = (
        select(SupportGrant, Account)
        .join(Account, Account.id == SupportGrant.account_id)
        .where(SupportGrant.state.in_([GrantState.ASKED, GrantState.OPEN]))
        .order_by(SupportGrant.asked_at, SupportGrant.id)
    )
    return [(row.SupportGrant, row.Account) for row in session.execute(wanted)]


def found(session: Session, grant_id: uuid.UUID, tenant: uuid.UUID | None = None) -> SupportGrant:
    """Raises NotFound, also for a grant of another tenant."""
    wanted = select(SupportGrant).where(SupportGrant.id == grant_id)
    if tenant is not None:
        wanted = wanted.where(SupportGrant.tenant_id == tenant)
    row = session.execute(wanted).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no grant {grant_id}.", code="unknown-grant")
    return row


def stands(row: SupportGrant, *, now: datetime) -> bool:
    """Whether it opens anything at this moment. Pure."""
    return row.state is GrantState.OPEN and now < row.until


def _stands(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return SupportGrant.state == GrantState.OPEN, SupportGrant.until > now


def _check(wish: Wish, now: datetime) -> None:
    if not REASON_LEAST <= len(wish.reason.strip()) <= REASON_MOST:
        raise BadValue(
            f"A grant needs a reason of {REASON_LEAST} to {REASON_MOST} characters; the tenant "
            "reads it.",
            code="grant-reason",
        )
    if not now < wish.until <= now + LONGEST:
        raise BadValue(
            f"A grant ends in the future, at most {LONGEST.days} days from now.", code="grant-end"
        )
