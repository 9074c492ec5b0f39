"""Who of a tenant is told: the people in it who may act for it, and whoever asked for something."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.actors import ActorKind
from strongroom.notices import outbox
from strongroom.notices.outbox import Notice, Reader
from strongroom.notices.states import ReaderKind
from strongroom.people.models import Membership
from strongroom.people.rules import ADMINS


def tell_admins(
    session: Session,
    tenant: uuid.UUID,
    kind: str,
    about: str,
    params: Mapping[str, Any],
    *,
    refusable: bool,
    now: datetime,
) -> None:
    """Each owner and admin, once for this act (`about` names it). The session is the tenant's."""
    wanted = select(Membership.account_id).where(
        Membership.tenant_id == tenant, Membership.role.in_(ADMINS)
    )
    notices = [
        Notice(
            key=f"{kind}:{about}:{account}",
            kind=kind,
            reader=Reader(ReaderKind.ACCOUNT, account),
            params=params,
            refusable=refusable,
        )
        for account in session.execute(wanted.order_by(Membership.account_id)).scalars()
    ]
    outbox.put(session, notices, now=now, tenant=tenant)


def tell_who_asked(
    session: Session,
    tenant: uuid.UUID,
    asked_by: str,
    kind: str,
    about: str,
    params: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """The person who asked, if it was one of the tenant: operators and schedules are told nothing."""
    account = account_of(asked_by)
    if account is None:
        return
    there = select(Membership.id).where(
        Membership.tenant_id == tenant, Membership.account_id == account
    )
    if session.execute(there).first() is None:
        return
    notice = Notice(
        key=f"{kind}:{about}:{account}",
        kind=kind,
        reader=Reader(ReaderKind.ACCOUNT, account),
        params=params,
        refusable=True,
    )
    outbox.put(session, [notice], now=now, tenant=tenant)


def account_of(actor: str) -> uuid.UUID | None:
    """Of a person, as rows name who acts; None for everybody else."""
    kind, _, name = actor.partition(":")
    if kind != ActorKind.PERSON:
        return None
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
