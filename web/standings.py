"""The rows of the picture: how each tenant stood when it was last taken."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base


class Picture(Base):
    """When it was taken; one row."""

    __tablename__ = "pictures"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    seconds: Mapped[float]  # that taking it took
    until: Mapped[date]  # the last day of the cells


class Standing(Base):
    """One tenant: `web.health.Health`, and what it is sorted and chosen by.

    A copy of what operators may read anyhow, written for all tenants at once, and nobody else's:
    therefore no table of a tenant.
    """

    __tablename__ = "standings"

    tenant: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slug: Mapped[str]
    plan: Mapped[str]
    place: Mapped[int]  # of its worst trouble in RANK; len(RANK) without any
    troubles: Mapped[list[str]]  # codes, worst first
    regions: Mapped[list[str]]  # names
    body: Mapped[dict[str, Any]]
    cells: Mapped[str]  # a letter a day, the newest last: web.days.LETTERS
