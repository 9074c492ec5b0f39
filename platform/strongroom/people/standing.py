"""Whether somebody whom a record names may still do something: asked when nobody of theirs is there.

Between asking for something and its being done a role may be taken away, a grant may end, an account
may be disabled.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from strongroom.actors import ActorKind
from strongroom.people import accounts, grants
from strongroom.people.models import Account
from strongroom.people.rules import Action, Person, Verdict, may


def may_still(
    session: Session, actor: str, tenant: uuid.UUID, action: Action, *, now: datetime
) -> bool:
    """By the rows as of now, whether or not their proof is still fresh; `actor` as records name it.

    The session is of the role PEOPLE and bound to the tenant. Who has the local socket, and the
    platform itself, may what they may at any time.
    """
    kind, _, name = actor.partition(":")
    if kind != ActorKind.PERSON:
        return True
    account = session.get(Account, uuid.UUID(name))
    if account is None or account.disabled_at is not None:
        return False
    row = accounts.membership(session, tenant, account.id)
    person = Person(
        account=account.id,
        staff=account.staff,
        tenant=None if row is None else row.role,
        grant=grants.standing(session, tenant, account.id, now=now),
        proven=True,
    )
    return may(person, action, now=now) is not Verdict.NO
