"""A run makes one whole point, or none that counts."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from backup import ledger, retention, runs
from backup.models import Copy, Point, PointSource, Proof
from backup.states import CopyState, Outcome, ProofState, RunState
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants import sourcing
from tenants.models import Tenant
from tenants.sourcing import NewSource
from tests.backup.vaults import A, digest, restored, set_policy, vault, vaults
from tests.cast import (
    ADA,
    ORDERS,
    SourceDatabase,
    add_database,
    add_folder,
    back_up,
    carry_out,
    fill,
    queue,
    rows_of,
    run_of,
)

NewDatabase = Callable[..., SourceDatabase]
LARGE = """
CREATE TABLE calls (id integer, about text);
INSERT INTO calls SELECT n, repeat(md5(n::text), 200) FROM generate_series(1, 6000) n;
"""


def test_a_point_is_stored_copied_and_proven_in_both_regions(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")

    point = back_up(runtime, acme)

    assert point.outcome is Outcome.COMPLETE
    assert {copy.state for copy in rows_of(runtime, acme, Copy)} == {CopyState.STORED}
    assert {proof.state for proof in rows_of(runtime, acme, Proof)} == {ProofState.PASSED}
    for held in vaults(runtime, acme):
        assert held.is_clean()
        assert restored(held, point, tmp_path) == [digest(tmp_path / "files")]


def nothing_counts(runtime: Runtime, tenant: Tenant) -> bool:
    """No snapshot anywhere, and no point that anything could be restored from."""
    stored = {point.outcome for point in rows_of(runtime, tenant, Point)} - {Outcome.FAILED}
    made = [part for part in rows_of(runtime, tenant, PointSource) if part.snapshot_id]
    return not stored and not made and not vault(runtime, tenant, A).snapshot_ids()


def failure_of_source(runtime: Runtime, tenant: Tenant) -> str:
    [part] = rows_of(runtime, tenant, PointSource)
    assert part.outcome is Outcome.FAILED
    return str(part.failure["code"])


def test_a_dump_whose_program_is_killed_leaves_nothing_that_counts(
    runtime: Runtime, acme: Tenant, new_database: NewDatabase
) -> None:
    add_database(runtime, acme, new_database(LARGE))
    run_id = queue(runtime, acme)

    with meanwhile(kill_the_dump):
        assert carry_out(runtime, acme, run_id) is None

    assert failure_of_source(runtime, acme) == "pg-dump-killed"
    assert nothing_counts(runtime, acme)
    assert run_of(runtime, acme, run_id).state is RunState.QUEUED


def kill_the_dump() -> bool:
    """Once it has written a megabyte."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
            written = int((entry / "io").read_text().split("wchar: ")[1].split()[0])
        except (OSError, ValueError):
            continue
        ours = int(stat.rpartition(")")[2].split()[1]) == os.getpid()
        if ours and "(pg_dump)" in stat and written > 1 << 20:
            os.kill(int(entry.name), signal.SIGKILL)
            return True
    return False


@contextmanager
def meanwhile(act: Callable[[], bool]) -> Iterator[None]:
    """Try to act, again and again, while the block runs; it must have come about."""
    over = threading.Event()
    came: list[bool] = []

    def work() -> None:
        while not over.is_set() and not came:
            if act():
                came.append(True)
            over.wait(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert came, "it was over before anything could happen to it"


def test_a_dump_whose_connection_drops_leaves_nothing_that_counts(
    runtime: Runtime,
    acme: Tenant,
    new_database: NewDatabase,
    superuser: psycopg.Connection[object],
) -> None:
    add_database(runtime, acme, new_database(LARGE))

    def drop() -> bool:
        found = superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'COPY public.calls%'"
        )
        return bool(found.fetchall())

    with meanwhile(drop):
        carry_out(runtime, acme, queue(runtime, acme))

    assert failure_of_source(runtime, acme) in {"pg-dump-failed", "source-unreachable"}
    assert nothing_counts(runtime, acme)


def test_a_dump_that_may_not_read_a_table_leaves_nothing_that_counts(
    runtime: Runtime, acme: Tenant, new_database: NewDatabase, stack: Embedded
) -> None:
    database = new_database()
    add_database(runtime, acme, database)
    assert stack.postgres.cluster is not None
    with stack.postgres.cluster.connect(database.name) as line:
        line.execute("CREATE TABLE private (secret text)")

    point = carry_out(runtime, acme, queue(runtime, acme))

    assert point is not None
    assert point.outcome is Outcome.FAILED
    assert nothing_counts(runtime, acme)


def test_an_empty_dump_with_a_good_exit_code_leaves_nothing_that_counts(
    runtime: Runtime,
    acme: Tenant,
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_database(runtime, acme, new_database())
    stub = tmp_path / "bin" / "pg_dump"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\nexit 0\n")
    stub.chmod(0o755)
    monkeypatch.setattr("backup.making.bin_folder", lambda: stub.parent)

    carry_out(runtime, acme, queue(runtime, acme))

    assert failure_of_source(runtime, acme) == "stream-empty"
    assert nothing_counts(runtime, acme)


def test_a_folder_that_is_gone_leaves_nothing_that_counts(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    run_id = queue(runtime, acme)

    carry_out(runtime, acme, run_id)

    assert run_of(runtime, acme, run_id).state is RunState.FAILED
    assert nothing_counts(runtime, acme)


def test_a_folder_whose_mount_has_vanished_makes_no_complete_point_and_harms_no_other(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    first = back_up(runtime, acme)
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    (tmp_path / "files").mkdir()
    add_folder(runtime, acme, tmp_path / "more", name="more")

    second = back_up(runtime, acme)

    assert second.outcome is Outcome.PARTIAL
    failures = [part.failure for part in rows_of(runtime, acme, PointSource)]
    assert [each and each["code"] for each in failures] == [None, "source-empty", None]
    assert restored(vault(runtime, acme), first, tmp_path) == [digest(tmp_path / "elsewhere")]


def test_one_failing_source_leaves_the_others_restorable(
    runtime: Runtime, acme: Tenant, new_database: NewDatabase, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "gone", name="gone")
    add_folder(runtime, acme, tmp_path / "files")
    add_database(runtime, acme, new_database(ORDERS))
    (tmp_path / "gone").rename(tmp_path / "elsewhere")

    point = back_up(runtime, acme)

    assert point.outcome is Outcome.PARTIAL
    for held in vaults(runtime, acme):
        digests = restored(held, point, tmp_path / "back")
        assert len(digests) == 2
        assert digest(tmp_path / "files") in digests


def test_a_source_that_restic_refuses_leaves_the_others_restorable(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    fill(tmp_path / "odd")
    options = {"path": str(tmp_path / "odd"), "exclude": ["[a-"]}  # no pattern at all
    sourcing.add(runtime, acme, NewSource("directory", "odd", options), by=ADA)
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)

    points = [carry_out(runtime, acme, run_id) for _ in range(runs.ATTEMPTS)]

    assert points[-1] is not None
    assert points[-1].outcome is Outcome.PARTIAL
    assert restored(vault(runtime, acme), points[-1], tmp_path) == [digest(tmp_path / "files")]


def test_a_partial_point_counts_for_no_floor_and_stays_while_it_holds_the_newest_copy(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    """Neither pushes the other out: the whole point stays, and the newest copy of a source."""
    add_folder(runtime, acme, tmp_path / "files")
    add_folder(runtime, acme, tmp_path / "more", name="more")
    whole = back_up(runtime, acme)
    (tmp_path / "more").rename(tmp_path / "elsewhere")
    fill(tmp_path / "files", words="newer")
    partial = back_up(runtime, acme)
    set_policy(runtime, acme)

    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        known = ledger.read(session, acme.id, now=runtime.now())
    decision = retention.decide(known.points, known.policy, now=runtime.now(), zone=known.zone)

    kept = {verdict.point.id: {str(r.code) for r in verdict.reasons} for verdict in decision.keep}
    assert partial.outcome is Outcome.PARTIAL
    assert "floor" in kept[whole.id]
    assert "floor" not in kept[partial.id]
    assert "source-copy" in kept[partial.id]


def test_a_run_delivered_ten_times_at_once_makes_one_point(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)
    points: list[Point | None] = []
    start = threading.Barrier(10)

    def deliver() -> None:
        start.wait()
        points.append(runs.make(runtime, acme.id, run_id))

    threads = [threading.Thread(target=deliver) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(points) == 10
    assert [point.id for point in points if point is not None] == [run_id]
    assert len(rows_of(runtime, acme, Point)) == 1
    assert len(vault(runtime, acme).snapshot_ids()) == 1


def test_a_doorbell_for_another_tenants_run_does_nothing(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    run_id = queue(runtime, acme)

    assert runs.make(runtime, bolt.id, run_id) is None
    assert runs.make(runtime, acme.id, uuid.uuid4()) is None
    assert run_of(runtime, acme, run_id).state is RunState.QUEUED


def test_two_runs_of_a_tenant_wait_for_each_other(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    waiting = [queue(runtime, acme), queue(runtime, acme)]
    deadline = time.monotonic() + 200

    def work(run_id: uuid.UUID) -> None:
        while runs.make(runtime, acme.id, run_id) is None and time.monotonic() < deadline:
            time.sleep(0.1)

    threads = [threading.Thread(target=work, args=(run_id,)) for run_id in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(point.number for point in rows_of(runtime, acme, Point)) == [1, 2]
    assert {run_of(runtime, acme, run_id).attempt for run_id in waiting} <= {1}
