"""Who does something: every service function takes one, every step and audit entry names one."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ActorKind(enum.StrEnum):
    """Where an act comes from."""

    SYSTEM = "system"  # a schedule, the reaper, a stage that follows another
    OPERATOR = "operator"  # whoever holds the local socket or an operator's account


@dataclass(frozen=True)
class Actor:
    """One who acts."""

    kind: ActorKind
    name: str  # "dispatcher", "worker", a system user's name

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


DISPATCHER = Actor(ActorKind.SYSTEM, "dispatcher")
WORKER = Actor(ActorKind.SYSTEM, "worker")
