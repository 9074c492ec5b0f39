"""Recovery codes: ten, shown once, each good once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.people import record, tokens
from strongroom.people.models import Account, RecoveryCode

COUNT = 10


def make(session: Session, account: Account, *, by: Actor, now: datetime) -> list[str]:
    """New ones, in the place of all before; they are stored nowhere."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    codes = [tokens.new_code() for _ in range(COUNT)]
    session.add_all(
        RecoveryCode(
            id=new_id(),
            account_id=account.id,
            hashed=tokens.hashed(tokens.plain_code(code)),
            made_at=now,
        )
        for code in codes
    )
    record.note(session, "recovery-codes-made", account.id, by=by, at=now)
    return codes


def use(session: Session, account: Account, typed: str, *, by: Actor, now: datetime) -> bool:
    """Whether it was one, and not used before; it is now."""
    taken = session.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.account_id == account.id,
            RecoveryCode.hashed == tokens.hashed(tokens.plain_code(typed)),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.id)
    ).first()
    if taken is None:
        return False
    record.note(session, "recovery-code-used", account.id, by=by, at=now)
    return True


def left(session: Session, account: Account) -> int:
    """How many are still good."""
    wanted = select(func.count()).where(
        RecoveryCode.account_id == account.id, RecoveryCode.used_at.is_(None)
    )
    return session.execute(wanted).scalar_one()
