"""kill -9 of a rehearsed restore, wherever: the next attempt ends it, and nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.models import Point
from restore.models import Drill
from restore.states import DrillState
from strongroom.db import Role
from strongroom.dispatch import find_lost, put_back
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests import cast
from tests.cast import SourceDatabase
from tests.platform.stack_cast import processes_of, until
from tests.restore import drilling
from tests.restore.asking import faces, stored
from tests.restore.dying_rehearser import WHERE

DRIVER = Path(__file__).with_name("dying_rehearser.py")
ROOT = Path(__file__).parents[2]
Kill = Callable[[Drill, str], None]


@pytest.fixture
def kill(runtime: Runtime, stack: Embedded, tmp_path: Path) -> Kill:
    """Carry a drill out in another process, which dies there; the dispatcher notices."""
    published = json.loads(stack.home.stack.read_text())
    published |= {"home": str(tmp_path), "databases": dict(runtime.settings.databases)}
    (tmp_path / "published.json").write_text(json.dumps(published))

    def carry_out_and_die(row: Drill, where: str) -> None:
        words = [str(tmp_path / "published.json"), str(row.tenant_id), str(row.id), where]
        died = subprocess.run(
            [sys.executable, str(DRIVER), *words],
            check=False,
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": "/usr/bin:/bin"},
            capture_output=True,
        )
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        assert until(lambda: not processes_of(runtime.folder("clusters")))
        with runtime.database.session(Role.DISPATCHER) as session:
            [lost] = find_lost(session, Drill)
            put_back(session, lost, now=runtime.now())

    return carry_out_and_die


@pytest.fixture
def point(
    runtime: Runtime,
    acme: Tenant,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[..., SourceDatabase],
) -> Point:
    cast.add_folder(runtime, acme, tmp_path_factory.mktemp("srv") / "office", name="a-folder")
    cast.add_database(runtime, acme, new_database(), name="b-database")
    return stored(runtime, acme)


@pytest.mark.parametrize("where", WHERE)
def test_the_next_attempt_clears_up_and_passes(
    runtime: Runtime, acme: Tenant, point: Point, kill: Kill, where: str
) -> None:
    row = drilling.ask(runtime, acme, point)

    kill(row, where)
    if where != "before it is written down":  # by then all is cleared up already
        assert drilling.left(runtime) != []
    ended = drilling.carry_out(runtime, row)

    drilling.passed(ended)
    assert drilling.left(runtime) == []


def test_one_that_takes_two_workers_down_is_quarantined_and_the_next_one_sweeps(
    runtime: Runtime, acme: Tenant, point: Point, kill: Kill
) -> None:
    row = drilling.ask(runtime, acme, point)
    kill(row, "while a folder is compared")
    kill(row, "while a folder is compared")
    assert drilling.current(runtime, row).state is DrillState.QUARANTINED
    assert drilling.left(runtime) != []

    drilling.passed(drilling.drill(runtime, acme, point))
    assert faces(runtime.folder("drills")) == {}
