"""The second way to every repository: its password sealed to a key that only people hold together."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base, OfTenant
from strongroom.ids import new_id


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
    """One repository password sealed to an escrow key; deletable, never locked."""

    __tablename__ = "escrow_wraps"
    __constraints__ = (UniqueConstraint("tenant_id", "subject_id", "generation", "key_id"),)

    subject_id: Mapped[uuid.UUID]  # the repository
    generation: Mapped[int]  # of the password, as in `secrets`
    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("escrow_keys.id"))
    sealed: Mapped[bytes]
    made_at: Mapped[datetime]
