"""Sessions: an opaque random token at the person's side, its hash and everything else here.

The token changes whenever more was proven (first step, second step, step-up), so that one that was
planted or overheard before is worth nothing after.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from strongroom.actors import Actor, ActorKind
from strongroom.ids import new_id
from strongroom.people import record, tokens
from strongroom.people.models import (
    Account,
    OneTimeLink,
    OpenIdVisit,
    SessionKind,
    Stage,
    Tally,
    WebSession,
)

UNFINISHED = timedelta(minutes=15)  # to give the second proof, or to enrol
SEEN_EVERY = timedelta(minutes=1)  # a page that renews itself writes no row each time
KEPT = timedelta(days=30)  # ended sessions stay on the person's list so long
AGENT_MOST = 200
STRONG = frozenset({"otp", "hwk", "recovery", "link", "openid-mfa"})  # a second factor, or as good


@dataclass(frozen=True)
class Span:
    """How long a session may go on."""

    idle: timedelta
    absolute: timedelta


STAFF_SPAN = Span(timedelta(hours=2), timedelta(hours=12))
# Nobody loses a long restore out of sight: over 20 hours no warning is owed (WCAG 2.2.1).
MEMBER_SPAN = Span(timedelta(hours=21), timedelta(days=7))
TOKEN_SPAN = Span(timedelta(hours=12), timedelta(hours=12))
TOKEN_FRESH = timedelta(hours=1)  # a token is made by a step-up, which holds so long for it


@dataclass(frozen=True)
class Visit:
    """Where a request comes from."""

    now: datetime
    address: str = ""
    agent: str = ""


SESSIONS = Actor(ActorKind.SYSTEM, "sessions")  # who ended all of them has an entry of their own


@dataclass(frozen=True)
class Known:
    """A live session and whose it is."""

    session: WebSession
    account: Account

    @property
    def whole(self) -> bool:
        return self.session.stage is Stage.WHOLE

    @property
    def proven(self) -> bool:
        """Whether a second factor, or what stands for one, was proven in this session."""
        return bool(STRONG & set(self.session.proofs))


def begin(
    db: Session,
    account: Account,
    visit: Visit,
    *,
    stage: Stage,
    proofs: Sequence[str],
    kind: SessionKind = SessionKind.BROWSER,
) -> tuple[WebSession, str]:
    """A new session, and its token, which is nowhere else."""
    token = tokens.new_token()
    span = span_of(account, kind)
    row = WebSession(
        id=new_id(),
        account_id=account.id,
        kind=kind,
        stage=stage,
        hashed=tokens.hashed(token),
        proofs=list(proofs),
        agent=_printable(visit.agent)[:AGENT_MOST],
        address=visit.address,
        made_at=visit.now,
        seen_at=visit.now,
        ends_at=visit.now + (span.absolute if stage is Stage.WHOLE else UNFINISHED),
    )
    db.add(row)
    db.flush()
    if kind is SessionKind.TOKEN:
        _note(db, "token-made", account.id, visit.now, about=row.id)
    return row, token


def find(db: Session, token: str, *, now: datetime) -> Known | None:
    """The live session of this token: not ended, not idle too long, not revoked, not disabled."""
    wanted = (
        select(WebSession, Account)
        .join(Account, Account.id == WebSession.account_id)
        .where(
            WebSession.hashed == tokens.hashed(token),
            Account.disabled_at.is_(None),
            *_live(now),
        )
    )
    row = db.execute(wanted).one_or_none()
    if row is None:
        return None
    known = Known(row.WebSession, row.Account)
    if now - known.session.seen_at >= SEEN_EVERY:
        known.session.seen_at = now
    return known


def still(db: Session, session_id: uuid.UUID, *, now: datetime) -> Known | None:
    """The session of this id, if it goes on: for who began something long, and may have got a new
    token since."""
    wanted = (
        select(WebSession, Account)
        .join(Account, Account.id == WebSession.account_id)
        .where(WebSession.id == session_id, Account.disabled_at.is_(None), *_live(now))
    )
    row = db.execute(wanted).one_or_none()
    return None if row is None else Known(row.WebSession, row.Account)


def prove(db: Session, known: Known, proofs: Sequence[str], *, stage: Stage, now: datetime) -> str:
    """More was proven: the session gets a new token, and the old one is worth nothing.

    Proving a second factor is a step-up as well.
    """
    row = known.session
    whole = row.stage is Stage.WHOLE
    token = tokens.new_token()
    row.hashed = tokens.hashed(token)
    row.proofs = sorted({*row.proofs, *proofs})
    if not whole:
        span = span_of(known.account, row.kind)
        row.ends_at = now + (span.absolute if stage is Stage.WHOLE else UNFINISHED)
        row.stage = stage
    if {"otp", "hwk", "recovery"} & set(proofs):
        row.stepped_up_at = now
        code = "stepped-up" if whole else "second-factor-given"
        _note(db, code, row.account_id, now, about=row.id)
    row.challenge = row.challenge_until = None
    row.seen_at = now
    db.flush()
    return token


def revoke(db: Session, account: uuid.UUID, session_id: uuid.UUID, *, now: datetime) -> bool:
    """False when this person has no such session that goes on."""
    done = db.execute(
        update(WebSession)
        .where(
            WebSession.id == session_id,
            WebSession.account_id == account,
            WebSession.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(WebSession.id)
    )
    gone = done.first() is not None
    if gone:
        _note(db, "sessions-ended", account, now, about=session_id)
    return gone


def revoke_all(
    db: Session, account: uuid.UUID, *, now: datetime, but: uuid.UUID | None = None
) -> None:
    """All sessions of a person, tokens of the command line included; one may be spared."""
    wanted = update(WebSession).where(
        WebSession.account_id == account, WebSession.revoked_at.is_(None)
    )
    if but is not None:
        wanted = wanted.where(WebSession.id != but)
    if db.execute(wanted.values(revoked_at=now).returning(WebSession.id)).first() is not None:
        record.note(db, "sessions-ended", account, by=SESSIONS, at=now, about=but)


def _note(
    db: Session, code: str, account: uuid.UUID, now: datetime, *, about: uuid.UUID | None
) -> None:
    record.note(db, code, account, by=Actor.of_person(account), at=now, about=about)


def live(db: Session, account: uuid.UUID, *, now: datetime) -> Sequence[WebSession]:
    """Those that go on, the newest first."""
    wanted = select(WebSession).where(WebSession.account_id == account, *_live(now))
    return db.execute(wanted.order_by(WebSession.made_at.desc())).scalars().all()


def clear(db: Session, *, now: datetime) -> None:
    """Rows that nobody needs any more; asked for at each sign-in."""
    db.execute(delete(WebSession).where(WebSession.ends_at < now - KEPT))
    db.execute(delete(OpenIdVisit).where(OpenIdVisit.ends_at < now))
    db.execute(delete(OneTimeLink).where(OneTimeLink.ends_at < now - KEPT))
    db.execute(delete(Tally).where(Tally.until < now - timedelta(days=1)))


def span_of(account: Account, kind: SessionKind) -> Span:
    if kind is SessionKind.TOKEN:
        return TOKEN_SPAN
    return STAFF_SPAN if account.staff is not None else MEMBER_SPAN


def _live(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        WebSession.revoked_at.is_(None),
        WebSession.ends_at > now,
        or_(
            and_(Account.staff.is_not(None), WebSession.seen_at > now - STAFF_SPAN.idle),
            and_(Account.staff.is_(None), WebSession.seen_at > now - MEMBER_SPAN.idle),
            WebSession.kind == SessionKind.TOKEN,
        ),
        Account.id == WebSession.account_id,
    )


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())
