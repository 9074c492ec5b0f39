"""The lifecycle of a restore."""

from __future__ import annotations

import enum


class RestoreState(enum.StrEnum):
    """From being asked for to lying where it was wanted."""

    ASKED = "asked"  # a second person has to allow it
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # nothing of the live data was changed, unless the failure says so
    DECLINED = "declined"  # the second person said no
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


RESTORE_STEPS = {
    RestoreState.ASKED: frozenset(
        {RestoreState.WAITING, RestoreState.DECLINED, RestoreState.CANCELLED}
    ),
    RestoreState.WAITING: frozenset({RestoreState.RUNNING, RestoreState.CANCELLED}),
    RestoreState.RUNNING: frozenset(
        {
            RestoreState.DONE,
            RestoreState.FAILED,
            RestoreState.CANCELLED,
            RestoreState.WAITING,
            RestoreState.QUARANTINED,
        }
    ),
    RestoreState.DONE: frozenset[RestoreState](),
    RestoreState.FAILED: frozenset[RestoreState](),
    RestoreState.DECLINED: frozenset[RestoreState](),
    RestoreState.CANCELLED: frozenset[RestoreState](),
    RestoreState.QUARANTINED: frozenset({RestoreState.WAITING, RestoreState.FAILED}),
}


class Destination(enum.StrEnum):
    """Where restored data goes."""

    ASIDE = "aside"  # beside the live data, under a new name
    IN_PLACE = "in-place"  # instead of the live data, which is set aside
    FOLDER = "folder"  # a folder an operator named


class DrillState(enum.StrEnum):
    """A rehearsal of a restore: into a throw-away place, compared, timed, cleaned up."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"  # what came back is not what was there; the report says where
    QUARANTINED = "quarantined"


DRILL_STEPS = {
    DrillState.WAITING: frozenset({DrillState.RUNNING}),
    DrillState.RUNNING: frozenset(
        {DrillState.PASSED, DrillState.FAILED, DrillState.WAITING, DrillState.QUARANTINED}
    ),
    DrillState.PASSED: frozenset[DrillState](),
    DrillState.FAILED: frozenset[DrillState](),
    DrillState.QUARANTINED: frozenset({DrillState.WAITING, DrillState.FAILED}),
}
