"""What each part registers: what falls due, what plans ahead.

Apart from `parts`: who only asks for something is there at once, without the tasks of all parts.
"""

from __future__ import annotations

import backup.tasks
import restore.tasks
from strongroom.dispatch import Due, Planner

DUES: tuple[Due, ...] = (*backup.tasks.DUES, *restore.tasks.DUES)
PLANNERS: tuple[Planner, ...] = (*backup.tasks.PLANNERS, *restore.tasks.PLANNERS)
