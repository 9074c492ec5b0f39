"""What happens to accounts, on record: codes and ids, never an address of mail or a secret."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed, Ending, Entry

ACCOUNTS = "accounts"
# Every code, and how what it tells of ended.
CODES = {
    "account-made": Ending.DONE,
    "account-disabled": Ending.DONE,
    "password-set": Ending.DONE,
    "factors-reset": Ending.DONE,
    "role-given": Ending.DONE,
    "role-taken": Ending.DONE,
    "pin-right": Ending.DONE,
    "pin-wrong": Ending.REFUSED,
    "passkey-enrolled": Ending.DONE,
    "passkey-removed": Ending.DONE,
    "recovery-codes-made": Ending.DONE,
    "recovery-code-used": Ending.DONE,
    "totp-enrolled": Ending.DONE,
    "link-made": Ending.DONE,
    "link-used": Ending.DONE,
    "identity-linked": Ending.DONE,
    "signed-in": Ending.DONE,
    "sign-in-refused": Ending.REFUSED,
    "second-factor-given": Ending.DONE,
    "second-factor-refused": Ending.REFUSED,
    "stepped-up": Ending.DONE,
    "sessions-ended": Ending.DONE,
    "token-made": Ending.DONE,
    "contact-set": Ending.DONE,
    "download-asked": Ending.DONE,
    "download-fetched": Ending.DONE,
}


def note(
    session: Session,
    code: str,
    account: uuid.UUID | None,
    *,
    by: Actor,
    at: datetime,
    about: uuid.UUID | None = None,
) -> None:
    """One entry, `people.CODE`; in the same transaction as what it tells of."""
    deed = Deed(f"people.{code}", ACCOUNTS, account, about, ending=CODES[code])
    entries.note(session, deed, by=by, at=at)


def of_account(session: Session, account: uuid.UUID, *, most: int = 50) -> Sequence[Entry]:
    """The newest first."""
    return entries.on_subject(session, ACCOUNTS, account, most=most)
