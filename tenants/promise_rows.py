"""The rows of the promise register: what packs said, who confirmed what, how promises stood by day."""

from __future__ import annotations

import enum
import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from strongroom.db import Base
from strongroom.ids import new_id


class State(enum.StrEnum):
    """How a promise stands."""

    KEPT = "kept"  # and the evidence was seen
    AT_RISK = "at-risk"  # it will be broken unless somebody acts
    BROKEN = "broken"
    CANNOT_BE_PROVEN = "cannot-be-proven"  # nothing to see, or nothing that could show it
    NOT_BUILT = "not-built"  # the platform does not do it yet


class PackVersion(Base):
    """A policy pack as it was found, once for each change: immutable."""

    __tablename__ = "pack_versions"
    __table_args__ = (UniqueConstraint("pack", "version"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    pack: Mapped[str]
    version: Mapped[int]
    sha256: Mapped[str]  # of what it says, in its canonical form, without its dates
    effective: Mapped[str]  # a date, or why there is none: packs.UNPUBLISHED, packs.NOT_ENTERED
    revised: Mapped[str]
    noted_at: Mapped[datetime]


class Attestation(Base):
    """Somebody confirmed, with a document, a promise that no software can enforce."""

    __tablename__ = "promise_attestations"
    __table_args__ = (Index(None, "promise", "at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    promise: Mapped[str]  # its id
    document: Mapped[str]  # the file's name; the file itself stays where it is
    sha256: Mapped[str]  # of the document, hexadecimal
    owner: Mapped[str]  # who answers for it, in words
    entered_by: Mapped[str]  # an actor
    at: Mapped[datetime]


class Standing(Base):
    """How a promise stood when it was last looked at by the process that looks at all of them."""

    __tablename__ = "promise_standing"

    promise: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[State]
    tenants: Mapped[int]  # under the pack
    evidence: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class Reading(Base):
    """How a promise stood on one day: the worst that was seen of it."""

    __tablename__ = "promise_readings"
    __table_args__ = (UniqueConstraint("day", "promise"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    day: Mapped[date]  # UTC
    pack: Mapped[str]
    promise: Mapped[str]
    state: Mapped[State]
    evidence: Mapped[dict[str, Any]]
    at: Mapped[datetime]
