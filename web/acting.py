"""For whom a command acts (decision 21), and what it may do.

With STRONGROOM_TOKEN it acts for that person, and may what their role may; a token is made on the
page of one's account. Without one, whoever can reach the platform's settings operates it, but once
there is a person who can sign in, some things are for people alone.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from strongroom.actors import Actor, ActorKind
from strongroom.db import Role
from strongroom.errors import BadValue, Refused
from strongroom.people import accounts, grants, sessions, signing_in
from strongroom.people.errors import NotAllowed, NotProven
from strongroom.people.models import SessionKind
from strongroom.people.rules import Action, Verdict, may
from strongroom.people.sessions import TOKEN_FRESH, Known
from strongroom.runtime import Runtime

TOKEN_VARIABLE = "STRONGROOM_TOKEN"  # noqa: S105 - a name; or its twin that names a file
REMEDIES = {
    Verdict.NO: "It is not for this role.",
    Verdict.SECOND_FACTOR: "Sign in with a second factor, and make a new token.",
    Verdict.STEP_UP: "The token is too old for this: make a new one on the page of your account.",
}


class TokenNeeded(Refused):
    """People sign in here, and this is for a person alone."""

    code = "token-needed"


def local() -> Actor:
    """Whoever has the local socket."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return Actor(ActorKind.OPERATOR, name)


def operating(platform: Runtime) -> Actor:
    """Who runs a command that operates. Raises NotProven or NotAllowed for a token that may not."""
    token = _token()
    if token is None:
        return local()
    with platform.database.session(Role.PEOPLE) as session:
        known = _known(platform, session, token)
        _require(platform, session, known, Action.OPERATE, None)
        return accounts.actor_of(known.account)


def acting(platform: Runtime, action: Action, *, tenant: UUID | None = None) -> Actor:
    """Who runs a command that is for people alone, once there are any. Raises Refused."""
    token = _token()
    with platform.database.session(Role.PEOPLE) as session:
        if token is not None:
            known = _known(platform, session, token)
            _require(platform, session, known, action, tenant)
            return accounts.actor_of(known.account)
        if accounts.anybody(session):
            raise TokenNeeded(
                f"People sign in on this platform, so this ({action}) is done by one of them: make a "
                f"token on the page of your account and set {TOKEN_VARIABLE}.",
                action=str(action),
            )
    return local()


def looking(platform: Runtime, action: Action) -> Actor:
    """Who looks at something: whoever has the local socket may; of people those who may. Raises
    Refused."""
    return local() if _token() is None else acting(platform, action)


def somebody(platform: Runtime, session: Session) -> Known:
    """The person whose token is set. Raises TokenNeeded without one."""
    token = _token()
    if token is None:
        raise TokenNeeded(
            f"This is done by a person: make a token on the page of your account and set "
            f"{TOKEN_VARIABLE}."
        )
    return _known(platform, session, token)


def allowed(
    platform: Runtime, session: Session, known: Known, action: Action, tenant: UUID | None
) -> Verdict:
    """What the rules say to this person, now."""
    role, scope = None, None
    if tenant is not None:
        row = accounts.membership(session, tenant, known.account.id)
        role = None if row is None else row.role
        scope = grants.standing(session, tenant, known.account.id, now=platform.now())
    person = signing_in.person(known, tenant=role, grant=scope)
    return may(person, action, now=platform.now(), fresh=TOKEN_FRESH)


def _require(
    platform: Runtime, session: Session, known: Known, action: Action, tenant: UUID | None
) -> None:
    verdict = allowed(platform, session, known, action, tenant)
    if verdict is not Verdict.YES:
        raise NotAllowed(
            f"{known.account.name} may not do this ({action}). {REMEDIES[verdict]}",
            action=str(action),
            verdict=str(verdict),
        )


def _known(platform: Runtime, session: Session, token: str) -> Known:
    known = sessions.find(session, token, now=platform.now())
    if known is None or known.session.kind is not SessionKind.TOKEN:
        raise NotProven(
            f"The token in {TOKEN_VARIABLE} has ended or was revoked. Make a new one on the page of "
            "your account.",
            code="token-ended",
        )
    return known


def _token() -> str | None:
    """From the variable, or the file that its twin names. Raises BadValue."""
    if TOKEN_VARIABLE in os.environ:
        return os.environ[TOKEN_VARIABLE].strip()
    named = os.environ.get(f"{TOKEN_VARIABLE}_FILE")
    if named is None:
        return None
    try:
        return Path(named).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"{TOKEN_VARIABLE}_FILE names {named}, which cannot be read.") from error
