"""The lifecycles of a backup: the states, and the steps allowed between them."""

from __future__ import annotations

import enum


class RunState(enum.StrEnum):
    """A run makes one point and ends when it is stored in one region."""

    QUEUED = "queued"
    MAKING = "making"
    STORED = "stored"
    FAILED = "failed"  # given up: nothing of it can be restored
    QUARANTINED = "quarantined"  # took two workers down; waits for a person


RUN_STEPS = {
    RunState.QUEUED: frozenset({RunState.MAKING, RunState.FAILED}),
    RunState.MAKING: frozenset(
        {RunState.STORED, RunState.FAILED, RunState.QUEUED, RunState.QUARANTINED}
    ),
    RunState.STORED: frozenset[RunState](),
    RunState.FAILED: frozenset[RunState](),
    RunState.QUARANTINED: frozenset({RunState.QUEUED, RunState.FAILED}),
}


class CopyState(enum.StrEnum):
    """A point in one region."""

    WAITING = "waiting"
    COPYING = "copying"
    STORED = "stored"
    REMOVED = "removed"  # retention let it go
    QUARANTINED = "quarantined"


COPY_STEPS = {
    # Stored at once where what had vanished lies there again.
    CopyState.WAITING: frozenset({CopyState.COPYING, CopyState.STORED, CopyState.REMOVED}),
    CopyState.COPYING: frozenset({CopyState.STORED, CopyState.WAITING, CopyState.QUARANTINED}),
    CopyState.STORED: frozenset({CopyState.REMOVED, CopyState.WAITING}),
    CopyState.REMOVED: frozenset[CopyState](),
    CopyState.QUARANTINED: frozenset({CopyState.WAITING, CopyState.REMOVED}),
}


class ProofState(enum.StrEnum):
    """One attempt to show that a copy is what it should be."""

    WAITING = "waiting"
    PROVING = "proving"
    PASSED = "passed"
    FAILED = "failed"
    QUARANTINED = "quarantined"


PROOF_STEPS = {
    ProofState.WAITING: frozenset({ProofState.PROVING}),
    ProofState.PROVING: frozenset(
        {ProofState.PASSED, ProofState.FAILED, ProofState.WAITING, ProofState.QUARANTINED}
    ),
    ProofState.PASSED: frozenset[ProofState](),
    ProofState.FAILED: frozenset[ProofState](),
    ProofState.QUARANTINED: frozenset({ProofState.WAITING, ProofState.FAILED}),
}


class RemovalState(enum.StrEnum):
    """Letting a copy go, down to the last object version."""

    PLANNED = "planned"
    FORGOTTEN = "forgotten"  # its snapshots are gone; its packs may still lie there
    GONE = "gone"  # pruned, and the old object versions swept
    SPARED = "spared"  # something holds it again


REMOVAL_STEPS = {
    RemovalState.PLANNED: frozenset({RemovalState.FORGOTTEN, RemovalState.SPARED}),
    RemovalState.FORGOTTEN: frozenset({RemovalState.GONE}),
    RemovalState.GONE: frozenset[RemovalState](),
    RemovalState.SPARED: frozenset({RemovalState.PLANNED}),
}


class RepositoryState(enum.StrEnum):
    """A repository: one tenant, one region, one epoch."""

    NEW = "new"  # named, not yet made
    READY = "ready"
    FROZEN = "frozen"  # something is there that no act of ours explains: nothing is removed
    COMING = "coming"  # the next epoch, being filled: nothing rests on it yet
    RETIRED = "retired"  # a later epoch counts; this one still opens
    CLOSED = "closed"  # what opens it was destroyed; what lies there goes as locks allow
    DESTROYED = "destroyed"  # nothing of it lies there any more


# The epoch that counts; one a tenant and region.
CURRENT = (RepositoryState.NEW, RepositoryState.READY, RepositoryState.FROZEN)
SHUT = (RepositoryState.CLOSED, RepositoryState.DESTROYED)  # nothing opens it any more
REPOSITORY_STEPS = {
    RepositoryState.NEW: frozenset({RepositoryState.READY}),
    RepositoryState.READY: frozenset({RepositoryState.FROZEN, RepositoryState.RETIRED}),
    RepositoryState.FROZEN: frozenset({RepositoryState.READY, RepositoryState.RETIRED}),
    RepositoryState.COMING: frozenset({RepositoryState.READY, RepositoryState.RETIRED}),
    RepositoryState.RETIRED: frozenset({RepositoryState.CLOSED}),
    RepositoryState.CLOSED: frozenset({RepositoryState.DESTROYED}),
    RepositoryState.DESTROYED: frozenset[RepositoryState](),
}


class Outcome(enum.StrEnum):
    """What a point, or one source of it, is worth."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class Trigger(enum.StrEnum):
    """Why a run was made."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    SAFETY = "safety"  # before a restore in place


class SlotOutcome(enum.StrEnum):
    """What became of a moment at which a backup was due."""

    RUN = "run"
    MISSED = "missed"


class Level(enum.StrEnum):
    """How deep a proof goes."""

    STRUCTURE = "structure"  # index, snapshots and trees are whole
    SHARE = "share"  # by rota: the packs whose turn it is were read back
    DATA = "data"  # every pack the point needs was read back
    DRILL = "drill"  # restored and compared


class HealingState(enum.StrEnum):
    """Bringing a damaged repository back to what it should hold."""

    WAITING = "waiting"
    HEALING = "healing"
    HEALED = "healed"  # everything is there again, and was checked
    PARTLY = "partly"  # the report names the points and paths that no region has any more
    FAILED = "failed"  # given up, with the reason
    QUARANTINED = "quarantined"


HEALING_STEPS = {
    # Healed without us where somebody brought back what was gone.
    HealingState.WAITING: frozenset({HealingState.HEALING, HealingState.HEALED}),
    HealingState.HEALING: frozenset(
        {
            HealingState.HEALED,
            HealingState.PARTLY,
            HealingState.FAILED,
            HealingState.WAITING,
            HealingState.QUARANTINED,
        }
    ),
    HealingState.HEALED: frozenset[HealingState](),
    HealingState.PARTLY: frozenset[HealingState](),
    HealingState.FAILED: frozenset[HealingState](),
    HealingState.QUARANTINED: frozenset({HealingState.WAITING, HealingState.FAILED}),
}


class RotationKind(enum.StrEnum):
    """What is made new."""

    KEK = "kek"  # the tenant's key: everything it wraps is wrapped again
    PASSWORD = "password"  # noqa: S105 - a kind: of one repository
    EPOCH = "epoch"  # a new repository, by copy; the old one is destroyed


class RotationState(enum.StrEnum):
    """Making a key new; `stage` says how far it is, and each stage may be repeated."""

    WAITING = "waiting"
    ROTATING = "rotating"
    DONE = "done"
    FAILED = "failed"  # the old key is as good as before
    QUARANTINED = "quarantined"


ROTATION_STEPS = {
    RotationState.WAITING: frozenset({RotationState.ROTATING}),
    RotationState.ROTATING: frozenset(
        {
            RotationState.DONE,
            RotationState.FAILED,
            RotationState.WAITING,
            RotationState.QUARANTINED,
        }
    ),
    RotationState.DONE: frozenset[RotationState](),
    RotationState.FAILED: frozenset[RotationState](),
    RotationState.QUARANTINED: frozenset({RotationState.WAITING, RotationState.FAILED}),
}


class Decision(enum.StrEnum):
    """What became of something that a person had to look at."""

    ACCEPTED = "accepted"  # it is as it should be: go on as before
    REJECTED = "rejected"  # it is wrong: what it spoiled counts for nothing
    GONE = "gone"  # it was not seen again


class ActKind(enum.StrEnum):
    """What of ours makes object versions noncurrent."""

    LOCK_RELEASE = "lock-release"
    FORGET = "forget"
    PRUNE = "prune"
    KEY_CHANGE = "key-change"
    HEAL = "heal"
    REPEAT = "repeat"  # an upload that was sent again, with the same bytes
    ACCEPTED = "accepted"  # nobody knows whose it was, and a person let it pass


class PlaceKind(enum.StrEnum):
    """What an entry of the allow-list permits."""

    ROOT = "root"  # a folder, and everything below it
    HOST = "host"  # a database server
