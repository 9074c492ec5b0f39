"""Regions: where copies lie. Everybody reads them; operators add them."""

from __future__ import annotations

import enum
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from strongroom import storage
from strongroom.db import Base
from strongroom.ids import new_id


class RegionState(enum.StrEnum):
    """Whether new copies go there."""

    OPEN = "open"
    CLOSED = "closed"  # an operator took it out of use; what lies there stays readable


class Region(Base):
    """One bucket at one provider in one place."""

    __tablename__ = "regions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    endpoint: Mapped[str]
    bucket: Mapped[str]
    location: Mapped[str]  # the provider's name of the place, signed into requests
    role_arn: Mapped[str]  # the role whose rights are cut to a tenant's prefix
    rank: Mapped[int]  # lower comes first when a tenant gets its regions
    latitude: Mapped[float | None]  # degrees north; None: not said, so no distance can be kept
    longitude: Mapped[float | None]  # degrees east
    country: Mapped[str | None]  # ISO 3166-1 alpha-2: under whose law the data lies
    provider: Mapped[str | None]  # who runs it, such as "aws"
    bandwidth: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")
    state: Mapped[RegionState] = mapped_column(default=RegionState.OPEN)
    created_at: Mapped[datetime]

    def address(self) -> storage.Region:
        """What the storage module needs to reach it."""
        return storage.Region(
            name=self.name,
            endpoint=self.endpoint,
            bucket=self.bucket,
            location=self.location,
            role_arn=self.role_arn,
        )

    def __repr__(self) -> str:
        return f"<Region {self.name}>"
