"""Who does something: every service function takes one, every step and audit entry names one."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from typing import Self


class ActorKind(enum.StrEnum):
    """Where an act comes from."""

    SYSTEM = "system"  # a schedule, the reaper, a stage that follows another
    OPERATOR = "operator"  # whoever holds the local socket
    PERSON = "person"  # an account, signed in or by its token


@dataclass(frozen=True)
class Actor:
    """One who acts."""

    kind: ActorKind
    name: str  # "dispatcher", "worker", a system user's name, an account's id

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def of_person(cls, account: uuid.UUID) -> Self:
        """People are named by id in records: their names and addresses may change, or have to go."""
        return cls(ActorKind.PERSON, str(account))


DISPATCHER = Actor(ActorKind.SYSTEM, "dispatcher")
WORKER = Actor(ActorKind.SYSTEM, "worker")
