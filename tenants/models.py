"""Tenants, and the plan versions they are on."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base
from strongroom.ids import new_id


class PlanVersion(Base):
    """One version of a plan: immutable; a new one moves nobody."""

    __tablename__ = "plan_versions"
    __table_args__ = (UniqueConstraint("code", "version"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    code: Mapped[str]
    version: Mapped[int]
    name: Mapped[dict[str, Any]]  # by language
    body: Mapped[dict[str, Any]]  # backup.policy.EffectivePolicy
    made_at: Mapped[datetime]

    def __repr__(self) -> str:
        return f"<PlanVersion {self.code} v{self.version}>"


class Tenant(Base):
    """A customer of the company that runs Strongroom."""

    __tablename__ = "tenants"
    __table_args__ = (
        Index("uq_tenants_canary", "canary", unique=True, postgresql_where=text("canary")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    country: Mapped[str]  # ISO 3166-1 alpha-2
    zone: Mapped[str]  # IANA
    locale: Mapped[str]  # BCP 47
    pack: Mapped[str | None]  # the policy pack it is under
    keep_in: Mapped[list[str] | None]  # the only countries its data may lie in; None: anywhere
    own_schedule: Mapped[dict[str, Any] | None]  # times of its own: resolving.SCHEDULE says which
    plan_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("plan_versions.id"))
    # Broken on purpose every day, to see whether an alert comes: nobody's data, and no trouble.
    canary: Mapped[bool] = mapped_column(default=False, server_default="false")
    created_at: Mapped[datetime]

    def __repr__(self) -> str:
        return f"<Tenant {self.slug}>"
