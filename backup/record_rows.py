"""What was last written of each signed record, so that an older one put in its place is noticed."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base, OfTenant


class KeyRecord(OfTenant, Base):
    """One record in one region, as we wrote it."""

    __tablename__ = "key_records"
    __constraints__ = (UniqueConstraint("tenant_id", "region_id", "subject_id"),)

    region_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("regions.id"))
    subject_id: Mapped[uuid.UUID]  # the repository; of the tenant's own record the tenant
    serial: Mapped[int]  # one more with each writing
    sha256: Mapped[str]  # of the whole object
    written_at: Mapped[datetime]
    checked_at: Mapped[datetime]  # when it was last seen to lie there as it should
