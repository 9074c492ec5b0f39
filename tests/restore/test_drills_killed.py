"""kill -9 of a rehearsed restore, wherever: the next attempt ends it, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backup.models import Point
from restore.models import Drill
from restore.states import DrillState
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests import cast
from tests.cast import SourceDatabase
from tests.restore import drilling, killing
from tests.restore.asking import faces, stored
from tests.restore.dying_rehearser import WHERE

Kill = Callable[[Drill, str], None]


@pytest.fixture
def kill(runtime: Runtime, stack: Embedded) -> Kill:
    """Carry a drill out in another process, which dies there; the dispatcher notices."""

    def carry_out_and_die(row: Drill, where: str) -> None:
        killing.kill(runtime, stack, row, driver="dying_rehearser.py", where=where)

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


@pytest.mark.parametrize(
    "where",
    [pytest.param(each, marks=pytest.mark.long if "compared" in each else ()) for each in WHERE],
)
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
