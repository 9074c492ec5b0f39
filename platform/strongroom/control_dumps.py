"""Sealed dumps of the control database in the regions' buckets, and those who are never to return."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base
from strongroom.ids import new_id


class ControlDump(Base):
    """One sealed dump in one region, registered with the day it goes."""

    __tablename__ = "control_dumps"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    region_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("regions.id"))
    key: Mapped[str]  # the object's
    version_id: Mapped[str | None]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class Tombstone(Base):
    """A tenant that was destroyed: whatever is brought back from a dump, this one is not."""

    __tablename__ = "tombstones"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # the tenant's
    destroyed_at: Mapped[datetime]
