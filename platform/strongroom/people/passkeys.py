"""Passkeys (WebAuthn, level 2): registered while signed in, then a second factor and a step-up.

The challenge lies in the session's row and is used up by the answer, right or wrong. What an
authenticator says is checked against our own origin: a page elsewhere cannot ask in our name.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import webauthn
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.people import record
from strongroom.people.models import Account, Passkey
from strongroom.people.sessions import Known

PATIENCE = timedelta(minutes=5)
NAME_MOST = 60
MOST = 20  # passkeys of one person


@dataclass(frozen=True)
class Site:
    """Who we are to an authenticator."""

    origin: str  # https://backup.example.org

    @property
    def id(self) -> str:
        return urlsplit(self.origin).hostname or ""


def ask_to_register(session: Session, site: Site, known: Known, *, now: datetime) -> str:
    """The options for `navigator.credentials.create`, as JSON."""
    account = known.account
    options = webauthn.generate_registration_options(
        rp_id=site.id,
        rp_name="Strongroom",
        user_id=account.id.bytes,
        user_name=account.email,
        user_display_name=account.name,
        challenge=_challenge(known, now),
        exclude_credentials=_descriptors(of_account(session, account)),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )
    return webauthn.options_to_json(options)


def register(
    session: Session,
    site: Site,
    known: Known,
    answer: Mapping[str, Any],
    *,
    name: str,
    by: Actor,
    now: datetime,
) -> bool:
    """Whether the authenticator's answer is good; its key is stored then."""
    challenge = _used_up(known, now)
    taken = of_account(session, known.account)
    if challenge is None or len(taken) >= MOST:
        return False
    try:
        found = webauthn.verify_registration_response(
            credential=dict(answer),
            expected_challenge=challenge,
            expected_rp_id=site.id,
            expected_origin=site.origin,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return False
    wanted = select(Passkey.id).where(Passkey.credential == found.credential_id)
    if session.execute(wanted).first() is not None:
        return False
    row = Passkey(
        id=new_id(),
        account_id=known.account.id,
        credential=found.credential_id,
        public_key=found.credential_public_key,
        count=found.sign_count,
        name="".join(each for each in name if each.isprintable()).strip()[:NAME_MOST] or "passkey",
        made_at=now,
    )
    session.add(row)
    session.flush()
    record.note(session, "passkey-enrolled", known.account.id, by=by, at=now, about=row.id)
    return True


def ask_to_prove(session: Session, site: Site, known: Known, *, now: datetime) -> str:
    """The options for `navigator.credentials.get`, as JSON."""
    options = webauthn.generate_authentication_options(
        rp_id=site.id,
        challenge=_challenge(known, now),
        allow_credentials=_descriptors(of_account(session, known.account)),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return webauthn.options_to_json(options)


def prove(
    session: Session, site: Site, known: Known, answer: Mapping[str, Any], *, now: datetime
) -> bool:
    """Whether one of this person's authenticators signed the challenge just now."""
    challenge = _used_up(known, now)
    row = _answering(session, known, answer)
    if challenge is None or row is None:
        return False
    try:
        found = webauthn.verify_authentication_response(
            credential=dict(answer),
            expected_challenge=challenge,
            expected_rp_id=site.id,
            expected_origin=site.origin,
            credential_public_key=row.public_key,
            credential_current_sign_count=row.count,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return False
    row.count, row.used_at = found.new_sign_count, now
    session.flush()
    return True


def of_account(session: Session, account: Account) -> Sequence[Passkey]:
    wanted = select(Passkey).where(Passkey.account_id == account.id).order_by(Passkey.made_at)
    return session.execute(wanted).scalars().all()


def remove(
    session: Session, account: Account, passkey_id: Any, *, by: Actor, now: datetime
) -> bool:
    """False when this person has no such passkey."""
    gone = session.execute(
        delete(Passkey)
        .where(Passkey.account_id == account.id, Passkey.id == passkey_id)
        .returning(Passkey.id)
    ).first()
    if gone is None:
        return False
    record.note(session, "passkey-removed", account.id, by=by, at=now, about=gone.id)
    return True


def _answering(session: Session, known: Known, answer: Mapping[str, Any]) -> Passkey | None:
    try:
        credential = webauthn.base64url_to_bytes(str(answer["id"]))
    except (KeyError, ValueError, TypeError):
        return None
    wanted = select(Passkey).where(
        Passkey.account_id == known.account.id, Passkey.credential == credential
    )
    return session.execute(wanted.with_for_update()).scalar_one_or_none()


def _challenge(known: Known, now: datetime) -> bytes:
    challenge = secrets.token_bytes(32)
    known.session.challenge, known.session.challenge_until = challenge, now + PATIENCE
    return challenge


def _used_up(known: Known, now: datetime) -> bytes | None:
    row = known.session
    challenge, until = row.challenge, row.challenge_until
    row.challenge = row.challenge_until = None
    return challenge if until is not None and now < until else None


def _descriptors(rows: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=row.credential) for row in rows]
