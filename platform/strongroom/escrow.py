"""The second way to every repository: its password sealed to a key that only people hold together.

The service seals and cannot open. A wrap is bound to its tenant, subject and purpose like the
secret itself, and can be deleted at any time: it is never locked. Passwords of sources have wraps
as well, so that after the loss of the key store the next backup works too.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint, delete, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom import sealed_boxes
from strongroom.db import Base, OfTenant
from strongroom.errors import Refused
from strongroom.ids import new_id
from strongroom.keys import Context
from strongroom.secrets_at_rest import Secret, Vault


class EscrowKey(Base):
    """The public half of an escrow key; the private half is split among people, off line."""

    __tablename__ = "escrow_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    public: Mapped[bytes]  # X25519, 32 bytes
    threshold: Mapped[int]  # so many shares bring the private half back
    shares: Mapped[int]  # of so many that were given out
    made_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]  # new wraps use another key


class EscrowWrap(OfTenant, Base):
    """One secret sealed to an escrow key; deletable, never locked."""

    __tablename__ = "escrow_wraps"
    __constraints__ = (UniqueConstraint("tenant_id", "subject_id", "generation", "key_id"),)

    subject_id: Mapped[uuid.UUID]  # the repository or source
    generation: Mapped[int]  # of the password, as in `secrets`
    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("escrow_keys.id"))
    sealed: Mapped[bytes]
    made_at: Mapped[datetime]


@dataclass(frozen=True)
class Coverage:
    """How much of what should have a wrap has one."""

    key: EscrowKey
    wanted: int  # secrets in use
    covered: int

    @property
    def complete(self) -> bool:
        return self.covered >= self.wanted


def wanted_for(tenant: uuid.UUID) -> bool:
    """Whether this tenant's passwords are to have wraps.

    A tenant promised cryptographic erase has none and recovers through its provider. No policy pack
    can promise that yet; when one can, it is asked here and nowhere else.
    """
    return tenant is not None


def in_use(session: Session) -> Sequence[EscrowKey]:
    """The keys that new wraps are made for."""
    rows = select(EscrowKey).where(EscrowKey.retired_at.is_(None)).order_by(EscrowKey.made_at)
    return session.execute(rows).scalars().all()


def introduce(session: Session, key: EscrowKey, *, replace: bool, now: datetime) -> None:
    """Use this key from now on. Raises Refused when there is one and it is not to be replaced.

    Wraps for a retired key stay until every secret has one for a key in use.
    """
    others = in_use(session)
    if others and not replace:
        raise Refused(
            f"There is an escrow key in use already ({others[0].id}). Its shares stay good. To have "
            "another one instead, say --replace; the old shares then open only older dumps.",
            code="escrow-key-there",
        )
    ids = [other.id for other in others]
    session.execute(update(EscrowKey).where(EscrowKey.id.in_(ids)).values(retired_at=now))
    session.add(key)
    session.flush()


def complete(session: Session, vault: Vault, tenant: uuid.UUID, *, now: datetime) -> int:
    """Make the wraps that the tenant lacks, and drop those nothing needs; gives how many were made.

    Raises KeyMissing when a secret does not open any more.
    """
    if not wanted_for(tenant):
        session.execute(delete(EscrowWrap).where(EscrowWrap.tenant_id == tenant))
        return 0
    keys = in_use(session)
    secrets = _secrets(session, tenant)
    have = {
        (row.subject_id, row.generation, row.key_id)
        for row in session.execute(
            select(EscrowWrap).where(EscrowWrap.tenant_id == tenant)
        ).scalars()
    }
    made = 0
    for secret in secrets:
        for key in keys:
            if (secret.subject_id, secret.generation, key.id) not in have:
                session.add(_wrapped(session, vault, secret, key, now=now))
                made += 1
    session.flush()
    if keys:
        _drop_stale(session, tenant, secrets, keys)
    return made


def coverage(session: Session) -> list[Coverage]:
    """For each key in use, over all tenants; read as an operator."""
    wanted = session.execute(
        select(func.count()).select_from(Secret).where(Secret.pending.is_(False))
    ).scalar_one()
    found = []
    for key in in_use(session):
        covered = session.execute(
            select(func.count())
            .select_from(Secret)
            .join(
                EscrowWrap,
                (EscrowWrap.tenant_id == Secret.tenant_id)
                & (EscrowWrap.subject_id == Secret.subject_id)
                & (EscrowWrap.generation == Secret.generation),
            )
            .where(Secret.pending.is_(False), EscrowWrap.key_id == key.id)
        ).scalar_one()
        found.append(Coverage(key, wanted, covered))
    return found


def of_subject(session: Session, tenant: uuid.UUID, subject: uuid.UUID) -> Sequence[EscrowWrap]:
    """The wraps of one secret, the newest generation first."""
    return (
        session.execute(
            select(EscrowWrap)
            .where(EscrowWrap.tenant_id == tenant, EscrowWrap.subject_id == subject)
            .order_by(EscrowWrap.generation.desc(), EscrowWrap.made_at.desc())
        )
        .scalars()
        .all()
    )


def unseal(private: bytes, sealed: bytes, context: Context) -> bytes:
    """The secret, with the private half that shares gave back. Raises BoxClosed."""
    return sealed_boxes.unseal(private, sealed, bound=context.encoded())


def _secrets(session: Session, tenant: uuid.UUID) -> Sequence[Secret]:
    return (
        session.execute(select(Secret).where(Secret.tenant_id == tenant, Secret.pending.is_(False)))
        .scalars()
        .all()
    )


def _wrapped(
    session: Session, vault: Vault, secret: Secret, key: EscrowKey, *, now: datetime
) -> EscrowWrap:
    plain = vault.open_row(session, secret)
    return EscrowWrap(
        id=new_id(),
        tenant_id=secret.tenant_id,
        subject_id=secret.subject_id,
        generation=secret.generation,
        key_id=key.id,
        sealed=sealed_boxes.seal(key.public, plain, bound=secret.context.encoded()),
        made_at=now,
    )


def _drop_stale(
    session: Session,
    tenant: uuid.UUID,
    secrets: Sequence[Secret],
    keys: Sequence[EscrowKey],
) -> None:
    """Of old generations, of retired keys, of subjects that have no secret any more."""
    current = {(secret.subject_id, secret.generation) for secret in secrets}
    wanted = {key.id for key in keys}
    rows = session.execute(select(EscrowWrap).where(EscrowWrap.tenant_id == tenant)).scalars()
    stale = [
        row.id
        for row in rows
        if (row.subject_id, row.generation) not in current or row.key_id not in wanted
    ]
    session.execute(delete(EscrowWrap).where(EscrowWrap.id.in_(stale)))
