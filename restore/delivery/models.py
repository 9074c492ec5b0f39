"""A delivery as a row."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from restore import on_record
from restore.delivery.states import DELIVERY_STEPS, DeliveryState, End, Kind
from strongroom.db import Base, OfTenant, refers
from strongroom.lifecycle import Work


class Delivery(OfTenant, Work, Base):
    """Part of one source of one point, made into one artefact for one person in one session."""

    __tablename__ = "deliveries"
    __constraints__ = (
        refers("point_id", "points"),
        refers("source_id", "sources"),
        Index("ix_deliveries_due", "due_at", postgresql_where="state <> 'ended'"),
        Index(None, "tenant_id", "asker_id", "asked_at"),
        CheckConstraint(
            "(state in ('ending', 'ended')) = (ended_as is not null)", name="ended_somehow"
        ),
        CheckConstraint("ended_as is null or sealed is null", name="no_key_after_the_end"),
    )
    STEPS = DELIVERY_STEPS
    ON_RECORD = on_record.DELIVERIES
    WAITING = DeliveryState.WAITING
    BUSY = DeliveryState.RUNNING
    QUARANTINE = DeliveryState.QUARANTINED

    point_id: Mapped[uuid.UUID]
    source_id: Mapped[uuid.UUID]
    kind: Mapped[Kind]
    paths: Mapped[list[str]]  # of a folder; empty: everything
    tables: Mapped[list[str]]  # "schema.table"; empty: everything
    name: Mapped[str]  # of the file that the person gets
    expected_bytes: Mapped[int] = mapped_column(BigInteger)  # about so many, for the progress
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.PROPOSED)
    ended_as: Mapped[End | None]
    asker_id: Mapped[uuid.UUID]  # the account
    web_session_id: Mapped[uuid.UUID]  # which stays the same when its cookie changes
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]  # phase and bytes; written at most once a second
    region: Mapped[str | None]  # where the artefact lies
    regions: Mapped[list[str]] = mapped_column(default=list)  # all that were ever written to
    object_key: Mapped[str | None]
    version_id: Mapped[str | None]
    write_until: Mapped[datetime | None]  # on the database's clock: who wrote it may until then
    size: Mapped[int | None] = mapped_column(BigInteger)  # bytes, opened
    sha256: Mapped[str | None]  # hexadecimal, of what is served
    sealed: Mapped[dict[str, Any] | None]  # the artefact's key, wrapped by the tenant's
    head: Mapped[bytes | None]  # `sealing.Head`, closed by that key
    made_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    link_hash: Mapped[bytes | None]  # SHA-256 of the token in the address; one, made once
    redeemed_at: Mapped[datetime | None]
    served_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    sent: Mapped[dict[str, Any] | None]  # the ranges that were served: `ranges.Sent`
    report: Mapped[dict[str, Any] | None]  # what is in it, and what was left out
