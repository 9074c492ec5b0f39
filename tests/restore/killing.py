"""Work of this part carried out in a process of its own, which kills itself on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from restore.models import Drill, Restore
from strongroom.db import Role
from strongroom.dispatch import find_lost, put_back
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tests.platform.stack_cast import processes_of, until

ROOT = Path(__file__).parents[2]


def kill(
    runtime: Runtime, stack: Embedded, row: Drill | Restore, *, driver: str, where: str
) -> None:
    """Have the driver (a file beside this one) die there; then the dispatcher notices.

    What the process writes lies below the home of the runtime's keys.
    """
    home = runtime.settings.keys.parent
    published = json.loads(stack.home.stack.read_text())
    published |= {"home": str(home), "databases": dict(runtime.settings.databases)}
    (home / "published.json").write_text(json.dumps(published))
    words = [str(home / "published.json"), str(row.tenant_id), str(row.id), where]
    died = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(driver)), *words],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert until(lambda: not processes_of(runtime.folder("clusters")))
    with runtime.database.session(Role.DISPATCHER) as session:
        [lost] = find_lost(session, type(row))
        put_back(session, lost, now=runtime.now())
