"""What each part registers: tasks, what falls due, what plans ahead."""

from __future__ import annotations

import backup.tasks
import restore.tasks
from strongroom import runtime
from strongroom.dispatch import Due, Planner
from strongroom.runtime import Runtime
from strongroom.settings import Settings
from web import models

METADATA = models.METADATA  # a foreign key is resolved only when every model is known
TASKS = ("backup.tasks", "restore.tasks")
DUES: tuple[Due, ...] = (*backup.tasks.DUES, *restore.tasks.DUES)
PLANNERS: tuple[Planner, ...] = (*backup.tasks.PLANNERS, *restore.tasks.PLANNERS)


def make_runtime(settings: Settings) -> Runtime:
    """A runtime that knows the tasks of all parts."""
    return runtime.make(settings, include=TASKS)
