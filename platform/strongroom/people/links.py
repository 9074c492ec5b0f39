"""One-time links: how a person comes to their first password, without mail.

A link is shown once to whoever asked for it, and opens once. One that was made without a person (the
first of all) is good only while nobody can sign in.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from strongroom.actors import Actor, ActorKind
from strongroom.ids import new_id
from strongroom.people import accounts, record, tokens
from strongroom.people.errors import NotProven
from strongroom.people.models import Account, LinkPurpose, OneTimeLink

LIFE = {LinkPurpose.INVITE: timedelta(days=3), LinkPurpose.SIGN_IN: timedelta(hours=12)}


def make(
    session: Session,
    account: Account,
    purpose: LinkPurpose,
    *,
    by: Actor,
    now: datetime,
) -> str:
    """Its token, which is stored nowhere; links made before for the same are void."""
    session.execute(
        delete(OneTimeLink).where(
            OneTimeLink.account_id == account.id, OneTimeLink.used_at.is_(None)
        )
    )
    token = tokens.new_token()
    session.add(
        OneTimeLink(
            id=new_id(),
            account_id=account.id,
            purpose=purpose,
            hashed=tokens.hashed(token),
            first=by.kind is not ActorKind.PERSON and purpose is LinkPurpose.INVITE,
            made_at=now,
            made_by=str(by),
            ends_at=now + LIFE[purpose],
        )
    )
    record.note(session, "link-made", account.id, by=by, at=now)
    return token


def redeem(session: Session, token: str, *, now: datetime) -> tuple[OneTimeLink, Account]:
    """Use it up. Raises NotProven, the same for every reason."""
    wanted = (
        select(OneTimeLink, Account)
        .join(Account, Account.id == OneTimeLink.account_id)
        .where(OneTimeLink.hashed == tokens.hashed(token))
        .with_for_update(of=OneTimeLink)
    )
    row = session.execute(wanted).one_or_none()
    taken = accounts.anybody(session)
    if row is None or not _good(row.OneTimeLink, row.Account, taken=taken, now=now):
        raise NotProven(
            "This link does not open anything: it was used, has ended, or was replaced by a newer "
            "one. Ask whoever gave it to you for another.",
            code="link-closed",
        )
    row.OneTimeLink.used_at = now
    session.flush()
    return row.OneTimeLink, row.Account


def _good(link: OneTimeLink, account: Account, *, taken: bool, now: datetime) -> bool:
    if link.used_at is not None or link.ends_at <= now or account.disabled_at is not None:
        return False
    return not (link.first and taken)
