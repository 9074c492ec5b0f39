"""Sign-in with an identity provider: OpenID Connect, authorization code with PKCE (RFC 7636, 9700).

Only issuer and subject say who somebody is: an address of mail that a provider vouches for opens
nothing. An identity is linked by the person, from a session of theirs. State, nonce and verifier lie
in a row, bound to the browser that was sent away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.ids import new_id
from strongroom.people import record, tokens
from strongroom.people.errors import BadAccount, NotProven
from strongroom.people.models import Account, Identity, OpenIdVisit
from strongroom.people.providers import Provider

PATIENCE = timedelta(minutes=10)
SECONDS = 5.0  # for one answer of the provider
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]  # never none, never one with a shared secret
LEEWAY = 60  # seconds between the clocks

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Endpoints:
    """Where the provider is to be asked."""

    authorization: str
    token: str
    keys: str


@dataclass(frozen=True)
class Proved:
    """What the provider says of somebody."""

    subject: str
    two: bool  # a second factor was proven there


def discover(provider: Provider) -> Endpoints:
    """Raises NotProven when the provider cannot be relied on."""
    found = _get(f"{provider.issuer}/.well-known/openid-configuration")
    if str(found.get("issuer", "")).rstrip("/") != provider.issuer:
        raise _failed(provider, "it names another issuer")
    try:
        return Endpoints(
            found["authorization_endpoint"], found["token_endpoint"], found["jwks_uri"]
        )
    except KeyError as error:
        raise _failed(provider, "its configuration is not whole") from error


def send(
    db: Session,
    provider: Provider,
    ends: Endpoints,
    *,
    browser: str,
    back: str,
    link: Account | None,
    now: datetime,
) -> str:
    """The address to send the browser to; `browser` is the token in its cookie."""
    state, nonce, verifier = (tokens.new_token() for _ in range(3))
    db.add(
        OpenIdVisit(
            id=new_id(),
            hashed=tokens.hashed(state),
            browser=tokens.hashed(browser),
            provider=provider.name,
            nonce=nonce,
            verifier=verifier,
            account_id=None if link is None else link.id,
            ends_at=now + PATIENCE,
        )
    )
    address, _ = _client(provider, back).create_authorization_url(
        ends.authorization, state=state, nonce=nonce, code_verifier=verifier
    )
    return str(address)


def back(
    db: Session, provider: Provider, state: str, *, browser: str, now: datetime
) -> OpenIdVisit | None:
    """The visit that this state is of, used up; None for another browser's, an old or a used one."""
    taken = (
        delete(OpenIdVisit)
        .where(
            OpenIdVisit.hashed == tokens.hashed(state),
            OpenIdVisit.browser == tokens.hashed(browser),
            OpenIdVisit.provider == provider.name,
            OpenIdVisit.ends_at > now,
        )
        .returning(OpenIdVisit)
    )
    return db.execute(taken).scalar_one_or_none()


def exchange(provider: Provider, visit: OpenIdVisit, code: str, *, back: str) -> Proved:
    """The code for a token, and the token for what it says; no database meanwhile. NotProven."""
    ends = discover(provider)
    try:
        answer = _client(provider, back).fetch_token(
            ends.token, code=code, code_verifier=visit.verifier, timeout=SECONDS
        )
        claims = read_token(provider, str(answer["id_token"]), _get(ends.keys), visit.nonce)
    except (AuthlibBaseError, JoseError, requests.RequestException, KeyError, ValueError) as error:
        raise _failed(provider, type(error).__name__) from error
    return Proved(str(claims["sub"]), provider.proved_two(dict(claims)))


def read_token(
    provider: Provider, text: str, keys: Mapping[str, Any], nonce: str
) -> dict[str, Any]:
    """The claims of an ID token that is good. Raises JoseError or ValueError."""
    token = jwt.decode(text, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
    registry = jwt.JWTClaimsRegistry(
        leeway=LEEWAY,
        iss={"essential": True, "values": [provider.issuer, f"{provider.issuer}/"]},
        aud={"essential": True, "value": provider.client_id},
        sub={"essential": True},
        exp={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    registry.validate(token.claims)
    if token.claims.get("azp", provider.client_id) != provider.client_id:
        raise ValueError("the token is for another client")
    return token.claims


def owner(db: Session, provider: Provider, subject: str) -> Account | None:
    """Whose identity it is; None for nobody's and for a disabled account's."""
    wanted = (
        select(Account)
        .join(Identity, Identity.account_id == Account.id)
        .where(
            Identity.issuer == provider.issuer,
            Identity.subject == subject,
            Account.disabled_at.is_(None),
        )
    )
    return db.execute(wanted).scalar_one_or_none()


def link(
    db: Session, account: Account, provider: Provider, subject: str, *, by: Actor, now: datetime
) -> None:
    """From now on it opens this account. Raises BadAccount when it opens another."""
    known = owner(db, provider, subject)
    if known is not None and known.id == account.id:
        return
    try:
        with db.begin_nested():
            db.add(
                Identity(
                    id=new_id(),
                    account_id=account.id,
                    issuer=provider.issuer,
                    subject=subject,
                    linked_at=now,
                )
            )
    except IntegrityError as error:
        raise BadAccount(
            f"This identity at {provider.label} belongs to another account.", code="identity-taken"
        ) from error
    record.note(db, "identity-linked", account.id, by=by, at=now)


def _client(provider: Provider, back: str) -> Any:
    return OAuth2Session(
        provider.client_id,
        provider.client_secret,
        scope="openid",
        redirect_uri=back,
        code_challenge_method="S256",
    )


def _get(address: str) -> dict[str, Any]:
    try:
        answer = requests.get(address, timeout=SECONDS, allow_redirects=False)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except (requests.RequestException, ValueError) as error:
        log.warning("an identity provider does not answer", error=type(error).__name__)
        raise NotProven(
            "The identity provider does not answer as it should. Try again, or sign in another way.",
            code="openid-failed",
        ) from error
    return found


def _failed(provider: Provider, why: str) -> NotProven:
    log.warning("a sign-in with a provider failed", provider=provider.name, why=why)
    return NotProven(
        f"The sign-in with {provider.label} did not work. Try again, or sign in another way.",
        code="openid-failed",
    )
