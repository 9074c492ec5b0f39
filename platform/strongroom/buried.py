"""Rows of those who are never to return."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base


class Tombstone(Base):
    """A tenant that was destroyed: whatever is brought back from a dump, this one is not."""

    __tablename__ = "tombstones"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # the tenant's
    destroyed_at: Mapped[datetime]
