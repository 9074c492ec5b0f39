"""Which steps of a backup's lifecycles the record tells of, when the system takes them by itself.

What a person or an operator asks for is on record whatever it is. None: not worth an entry.
"""

from __future__ import annotations

from backup.states import (
    CopyState,
    HealingState,
    ProofState,
    RemovalState,
    RepositoryState,
    RotationState,
    RunState,
)
from strongroom.audit.leaves import Ending

RUNS = {
    RunState.QUEUED: None,
    RunState.MAKING: None,
    RunState.STORED: None,
    RunState.FAILED: Ending.FAILED,
    RunState.QUARANTINED: Ending.FAILED,
}
COPIES = {
    CopyState.WAITING: None,
    CopyState.COPYING: None,
    CopyState.STORED: None,
    CopyState.REMOVED: None,  # the removal tells of it
    CopyState.QUARANTINED: Ending.FAILED,
}
PROOFS = {
    ProofState.WAITING: None,
    ProofState.PROVING: None,
    ProofState.PASSED: None,
    ProofState.FAILED: Ending.FAILED,
    ProofState.QUARANTINED: Ending.FAILED,
}
REMOVALS = {
    RemovalState.PLANNED: None,  # it may be spared yet
    RemovalState.FORGOTTEN: Ending.DONE,
    RemovalState.GONE: Ending.DONE,
    RemovalState.SPARED: None,
}
REPOSITORIES = {
    RepositoryState.NEW: None,
    RepositoryState.READY: Ending.DONE,
    RepositoryState.FROZEN: Ending.DONE,
    RepositoryState.COMING: None,
    RepositoryState.RETIRED: Ending.DONE,
    RepositoryState.CLOSED: Ending.DONE,
    RepositoryState.DESTROYED: Ending.DONE,
}
HEALINGS = {
    HealingState.WAITING: None,
    HealingState.HEALING: None,
    HealingState.HEALED: Ending.DONE,
    HealingState.PARTLY: Ending.FAILED,
    HealingState.FAILED: Ending.FAILED,
    HealingState.QUARANTINED: Ending.FAILED,
}
ROTATIONS = {
    RotationState.WAITING: Ending.DONE,
    RotationState.ROTATING: None,
    RotationState.DONE: Ending.DONE,
    RotationState.FAILED: Ending.FAILED,
    RotationState.QUARANTINED: Ending.FAILED,
}
