"""A restore that is cancelled ends cleanly, whatever it is doing; too late is said, not half done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backup.restic import commands
from restore import folders, requests
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom.db import Role
from strongroom.errors import Refused
from strongroom.lifecycle import Step
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import A, in_front_of
from tests.cast import ADA, BEN, SourceDatabase
from tests.faults import Delay
from tests.platform.stack_cast import until
from tests.restore import killing
from tests.restore.asking import ask, beside, carry_out, current, faces, stored

FOR_EVER = Delay(600)


def cancel(runtime: Runtime, row: Restore) -> Restore:
    with runtime.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        return requests.cancel(session, row.id, by=BEN, at=runtime.now())


def steps(runtime: Runtime, row: Restore) -> list[tuple[str, str]]:
    with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        found = session.query(Step).filter_by(row_id=row.id).order_by(Step.id)
        return [(step.code, step.by) for step in found]


@contextmanager
def under_way(runtime: Runtime, row: Restore) -> Iterator[threading.Thread]:
    """Carried out beside us; ended when the block does."""
    worker = threading.Thread(target=carry_out, args=(runtime, row))
    worker.start()
    try:
        yield worker
    finally:
        worker.join(60)
        assert not worker.is_alive()


@pytest.fixture
def stuck(runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The region answers nothing any more once data are fetched."""
    with in_front_of(runtime, A) as proxy:
        for name in ("restore", "dump"):
            monkeypatch.setattr(commands, name, hanging(proxy, getattr(commands, name)))
        yield


def hanging(proxy: Any, real: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*given: Any, **more: Any) -> Any:
        proxy.fault = FOR_EVER
        return real(*given, **more)

    return wrapped


@pytest.mark.parametrize("to", [Destination.IN_PLACE, Destination.ASIDE])
@pytest.mark.usefixtures("stuck")
def test_a_folder_that_is_being_fetched(
    runtime: Runtime, acme: Tenant, tmp_path: Path, to: Destination
) -> None:
    folder = tmp_path / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    row = ask(runtime, stored(runtime, acme), source, to)
    before = faces(folder)

    with under_way(runtime, row):
        assert until(lambda: current(runtime, row).phase == "fetching")
        cancel(runtime, row)

    ended = current(runtime, row)
    assert (ended.state, ended.phase, ended.progress) == (RestoreState.CANCELLED, None, None)
    assert faces(folder) == before
    assert beside(folder) == set()
    assert ("restore-cancel-asked", str(BEN)) in steps(runtime, row)
    assert carry_out(runtime, row).state is RestoreState.CANCELLED


@pytest.fixture
def database(
    new_database: Callable[..., SourceDatabase], superuser: psycopg.Connection[Any]
) -> SourceDatabase:
    made = new_database()
    superuser.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(made.user)))
    return made


@pytest.mark.usefixtures("stuck")
def test_a_database_that_is_being_loaded(
    runtime: Runtime,
    acme: Tenant,
    database: SourceDatabase,
    superuser: psycopg.Connection[Any],
) -> None:
    source = cast.add_database(runtime, acme, database)
    row = ask(runtime, stored(runtime, acme), source, Destination.ASIDE)

    with under_way(runtime, row):
        assert until(lambda: current(runtime, row).phase == "loading")
        assert until(lambda: list(runtime.folder("clusters").glob("scratch-*")) != [])
        cancel(runtime, row)

    assert current(runtime, row).state is RestoreState.CANCELLED
    assert list(runtime.folder("clusters").glob("scratch-*")) == []
    like = superuser.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{database.name}_",)
    )
    assert like.fetchall() == []


def test_right_before_the_exchange_it_is_not_too_late(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    row = ask(runtime, stored(runtime, acme), source)
    (folder / "letters" / "0.txt").unlink()
    damaged, real = faces(folder), folders.vet

    def vet(*given: Any, **more: Any) -> Any:
        try:
            return real(*given, **more)
        finally:
            cancel(runtime, row)

    monkeypatch.setattr(folders, "vet", vet)
    ended = carry_out(runtime, row)

    assert ended.state is RestoreState.CANCELLED
    assert faces(folder) == damaged
    assert beside(folder) == set()


def test_once_the_exchange_has_begun_it_is_too_late_and_says_so(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    row = ask(runtime, stored(runtime, acme), source)
    real, refused = folders.in_place, []

    def in_place(*given: Any, **more: Any) -> Any:
        with pytest.raises(Refused) as caught:
            cancel(runtime, row)
        refused.append(caught.value.code)
        return real(*given, **more)

    monkeypatch.setattr(folders, "in_place", in_place)

    assert carry_out(runtime, row).state is RestoreState.DONE
    assert refused == ["too-late"]
    with pytest.raises(Refused, match="nothing to cancel"):
        cancel(runtime, row)


def test_one_whose_worker_died_stays_cancelled_and_leaves_nothing(
    runtime: Runtime, stack: Embedded, acme: Tenant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outside") / "srv" / "office"
    source = cast.add_folder(runtime, acme, folder)
    row = ask(runtime, stored(runtime, acme), source, Destination.ASIDE)
    killing.kill(runtime, stack, row, driver="dying_restorer.py", where="after fetching")
    assert beside(folder) != set()

    cancel(runtime, row)
    ended = carry_out(runtime, row)

    assert ended.state is RestoreState.CANCELLED
    assert beside(folder) == set()
    assert carry_out(runtime, row).state is RestoreState.CANCELLED


@pytest.mark.long
def test_a_database_whose_worker_died_stays_cancelled_and_leaves_nothing(
    runtime: Runtime,
    stack: Embedded,
    acme: Tenant,
    database: SourceDatabase,
    superuser: psycopg.Connection[Any],
) -> None:
    source = cast.add_database(runtime, acme, database)
    row = ask(runtime, stored(runtime, acme), source)
    where = "while it is loaded beside"
    killing.kill(runtime, stack, row, driver="dying_restorer.py", where=where)

    cancel(runtime, row)
    ended = carry_out(runtime, row)

    assert ended.state is RestoreState.CANCELLED
    like = superuser.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{database.name}_",)
    )
    assert like.fetchall() == []
    assert str(ADA) == ended.asked_by
