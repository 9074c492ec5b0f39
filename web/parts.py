"""A process of ours, put together with what every part brings along."""

from __future__ import annotations

from strongroom import runtime
from strongroom.runtime import Runtime
from strongroom.settings import Settings
from web import models

METADATA = models.METADATA  # a foreign key is resolved only when every model is known
TASKS = ("backup.tasks", "restore.tasks")  # only workers load them


def make_runtime(settings: Settings) -> Runtime:
    """A runtime that knows the tasks of all parts."""
    return runtime.make(settings, include=TASKS)
