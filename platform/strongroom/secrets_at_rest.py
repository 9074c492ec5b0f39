"""Secrets as rows: wrapped by the tenant's key, bound to what they are for."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom.db import Base, OfTenant
from strongroom.errors import NotFound
from strongroom.keys import Context, KeyProvider, Wrapped


class Secret(OfTenant, Base):
    """One wrapped secret of a repository or a source."""

    __tablename__ = "secrets"
    __constraints__ = (UniqueConstraint("tenant_id", "subject_id", "purpose", "generation"),)

    subject_id: Mapped[uuid.UUID]
    purpose: Mapped[str]
    generation: Mapped[int] = mapped_column(default=1, server_default="1")
    pending: Mapped[bool] = mapped_column(default=False, server_default="false")
    provider: Mapped[str]
    key_id: Mapped[str]
    key_version: Mapped[int]
    algorithm: Mapped[str]
    nonce: Mapped[bytes]
    ciphertext: Mapped[bytes]
    created_at: Mapped[datetime]


@dataclass(frozen=True)
class Vault:
    """Seals and opens secrets with one key provider."""

    provider: KeyProvider

    def seal(self, session: Session, secret: bytes, context: Context, *, now: datetime) -> None:
        """Store the secret wrapped; it must be the only one of its subject and purpose."""
        wrapped = self.provider.wrap(secret, context)
        session.add(
            Secret(
                tenant_id=context.tenant,
                subject_id=context.subject,
                purpose=context.purpose,
                provider=wrapped.provider,
                key_id=wrapped.key_id,
                key_version=wrapped.key_version,
                algorithm=wrapped.algorithm,
                nonce=wrapped.nonce,
                ciphertext=wrapped.ciphertext,
                created_at=now,
            )
        )

    def open(self, session: Session, context: Context) -> bytes:
        """The secret in the clear; raises NotFound, KeyMissing or WrongContext."""
        row = _row(session, context)
        if row is None:
            raise NotFound(f"There is no {context.purpose} stored for {context.subject}.")
        wrapped = Wrapped(
            row.provider, row.key_id, row.key_version, row.algorithm, row.nonce, row.ciphertext
        )
        return self.provider.unwrap(wrapped, context)


def vault_has(session: Session, context: Context) -> bool:
    """Whether a secret is stored for this."""
    return _row(session, context) is not None


def _row(session: Session, context: Context) -> Secret | None:
    return session.execute(
        select(Secret).where(
            Secret.tenant_id == context.tenant,
            Secret.subject_id == context.subject,
            Secret.purpose == context.purpose,
            Secret.pending.is_(False),
        )
    ).scalar_one_or_none()
