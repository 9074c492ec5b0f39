"""The alerts: one row for each thing that is wrong, however many it is wrong with."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.alerts.deciding import Manner
from strongroom.db import Base
from strongroom.ids import new_id


class Alert(Base):
    """Something that needs an operator, from its first sight until it has been gone for a while."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index("uq_alerts_group", "group", unique=True, postgresql_where=text("closed_at is null")),
        Index(None, "closed_at"),
        CheckConstraint(
            "(snoozed_at is null) = (snoozed_until is null) and snoozed_until > snoozed_at",
            name="a_snooze_ends",
        ),
        CheckConstraint("told_level in (0, 1, 2)", name="known_level"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    group: Mapped[str]  # what is wrong and its cause or region; one open alert each
    code: Mapped[str]
    severe: Mapped[bool]
    manner: Mapped[Manner]
    count: Mapped[int]  # of tenants, or of whatever it is
    worst: Mapped[str]  # the one to look at first, by name; empty where there is nothing to name
    params: Mapped[dict[str, Any]]
    avoid: Mapped[uuid.UUID | None]  # a channel that is what is wrong
    opened_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # last seen to be wrong
    closed_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]
    told_level: Mapped[int] = mapped_column(default=0, server_default="0")  # 0: nobody was told
    told_count: Mapped[int] = mapped_column(default=0, server_default="0")  # what they were told
    told_severe: Mapped[bool] = mapped_column(default=False, server_default="false")
    tellings: Mapped[int] = mapped_column(default=0, server_default="0")
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None]
    acknowledged_why: Mapped[str | None]
    snoozed_at: Mapped[datetime | None]
    snoozed_until: Mapped[datetime | None]
    snoozed_by: Mapped[str | None]
    snoozed_why: Mapped[str | None]

    def __repr__(self) -> str:
        return f"<Alert {self.group}>"
