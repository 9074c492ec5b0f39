"""One PostgreSQL cluster: who may enter, where it lies, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from strongroom.errors import BadValue
from strongroom.stack import cluster as clusters
from strongroom.stack import processes, quarters
from strongroom.stack.cluster import Cluster, ClusterBusy, ClusterError, Options
from tests.platform import stack_cast

QUICK = Options(durable=False, settings={"shared_buffers": "16MB"})


@pytest.fixture
def wanted() -> Iterator[Path]:
    """A folder that is not there yet, for the quarters of a cluster."""
    with stack_cast.new_home() as home:
        home.mkdir(mode=0o700)
        yield home / "postgres"


@pytest.fixture
def cluster(wanted: Path) -> Iterator[Cluster]:
    """Made and not started."""
    made = Cluster(
        quarters.settle(wanted), password='it\'s 50% "safe"', log=wanted / "pg.log", options=QUICK
    )
    assert made.create()
    yield made
    made.stop()


def test_it_runs_without_tcp_when_not_asked_for_it(cluster: Cluster) -> None:
    cluster.start()

    with cluster.connect() as connection:
        row = connection.execute("SHOW listen_addresses").fetchone()

    assert row == ("",)


def test_a_url_by_socket_leads_in(cluster: Cluster) -> None:
    cluster.start()

    with psycopg.connect(cluster.superuser_url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nobody_enters_without_the_password(cluster: Cluster) -> None:
    cluster.start()

    for url in (
        cluster.url("postgres", "wrong", "postgres"),
        cluster.url("postgres", "", "postgres"),
    ):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url)


def test_the_data_is_private_to_the_account(cluster: Cluster) -> None:
    cluster.start()

    for folder in (cluster.quarters.data, cluster.quarters.folder, cluster.quarters.socket):
        state = folder.stat()
        assert stat.S_IMODE(state.st_mode) == 0o700
        assert state.st_uid == (65534 if stack_cast.ROOT else os.geteuid())


def test_the_password_is_in_no_command_line_and_not_in_the_log(cluster: Cluster) -> None:
    cluster.start()
    with cluster.connect() as connection, pytest.raises(psycopg.Error):
        connection.execute("ALTER ROLE nobody_there PASSWORD 'top secret'")

    home = cluster.quarters.mark.parent.parent
    everything = "\n".join([*stack_cast.processes_of(home), cluster.log.read_text()])

    assert "safe" not in everything
    assert "top secret" not in everything


def test_it_stops_although_somebody_is_connected(cluster: Cluster) -> None:
    cluster.start()

    with cluster.connect():
        cluster.stop()

    assert not cluster.alive()
    assert not (cluster.quarters.data / "postmaster.pid").exists()


def test_it_is_made_only_once(cluster: Cluster) -> None:
    assert not cluster.create()


def test_a_half_made_cluster_is_made_anew(wanted: Path) -> None:
    place = quarters.settle(wanted)
    (place.folder / "data.new").mkdir()
    (place.folder / "data.new" / "PG_VERSION").write_text("18")
    made = Cluster(place, password="p", log=wanted / "pg.log", options=QUICK)

    assert made.create()


def test_a_server_that_was_killed_comes_back_with_its_data(cluster: Cluster) -> None:
    cluster.start()
    with cluster.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert cluster.running is not None
    os.kill(cluster.running.pid, signal.SIGKILL)
    cluster.running.process.wait()

    cluster.start()

    with cluster.connect() as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_server_that_somebody_looks_after_is_left_alone(cluster: Cluster) -> None:
    cluster.start()
    second = Cluster(cluster.quarters, password="p", log=cluster.log, options=QUICK)

    with pytest.raises(ClusterBusy, match=f"process {os.getpid()} already"):
        second.start()

    assert cluster.alive()


def test_a_pid_file_that_names_another_process_stops_nothing(cluster: Cluster) -> None:
    with subprocess.Popen(["sleep", "60"], user=cluster.quarters.data.stat().st_uid) as bystander:
        pid_file = cluster.quarters.data / "postmaster.pid"
        pid_file.write_text(f"{bystander.pid}\n{cluster.quarters.data}\n1\n")
        processes.leave_mark(cluster.quarters.mark, bystander.pid)

        cluster.start()

        spared = bystander.poll() is None
        bystander.kill()
    assert spared


def test_a_start_that_fails_says_why_and_leaves_nothing(cluster: Cluster) -> None:
    broken = replace(QUICK, settings={"shared_buffers": "many"})
    second = Cluster(cluster.quarters, password="p", log=cluster.log, options=broken)

    with pytest.raises(ClusterError, match="shared_buffers"):
        second.start()

    assert not second.alive()
    assert not cluster.quarters.mark.exists()


def test_no_permission_of_a_folder_that_was_there_is_changed(wanted: Path) -> None:
    parents = [wanted.parent, *wanted.parent.parents, quarters.bin_folder()]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in parents]

    made = Cluster(quarters.settle(wanted), password="p", log=wanted / "pg.log", options=QUICK)
    made.create()

    assert [(path.stat().st_mode, path.stat().st_uid) for path in parents] == before


def test_the_programs_of_the_package_are_all_there() -> None:
    for name in ("postgres", "initdb", "pg_dump", "pg_restore", "psql"):
        assert os.access(quarters.bin_folder() / name, os.X_OK)


# What only root can do, or has to care about.

only_root = pytest.mark.skipif(not stack_cast.ROOT, reason="other accounts need no second one")


@only_root
def test_where_the_account_cannot_enter_the_data_lies_outside(wanted: Path) -> None:
    place = quarters.settle(wanted)

    assert place.folder.parent == quarters.OUTSIDE
    assert (wanted / quarters.POINTER).read_text() == str(place.folder)
    assert quarters.settle(wanted) == place


@only_root
def test_where_the_account_can_enter_the_data_lies_in_the_home(wanted: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # our own folder, opened before the call

        assert quarters.settle(Path(folder) / "postgres").folder == Path(folder) / "postgres"


@only_root
def test_a_moved_home_keeps_its_database(wanted: Path) -> None:
    before = quarters.settle(wanted)
    moved = wanted.with_name("moved")
    wanted.rename(moved)

    assert quarters.settle(moved).folder == before.folder
    quarters.clear(moved)


@only_root
def test_a_copied_home_does_not_share_the_database_of_the_first(wanted: Path) -> None:
    place = quarters.settle(wanted)
    copy = wanted.with_name("copy")
    copy.mkdir()
    (copy / quarters.POINTER).write_text(str(place.folder))

    with pytest.raises(quarters.QuartersError, match="is a copy of"):
        quarters.settle(copy)


@only_root
def test_a_database_whose_home_is_gone_is_listed_and_not_removed(wanted: Path) -> None:
    place = quarters.settle(wanted)
    pointer = (wanted / quarters.POINTER).rename(wanted / "away")

    assert place.folder in quarters.leftovers()

    pointer.rename(wanted / quarters.POINTER)
    assert place.folder not in quarters.leftovers()


@only_root
def test_a_copy_of_the_programs_runs_by_itself(
    wanted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(quarters, "OUTSIDE", Path(folder))
        copy = quarters._copied(quarters.bin_folder()) / "bin"
        place = replace(quarters.settle(wanted), programs=copy)
        made = Cluster(place, password="p", log=wanted / "pg.log", options=QUICK)

        made.create()
        made.start()
        made.stop()

        assert quarters._copied(quarters.bin_folder()) / "bin" == copy


@only_root
@pytest.mark.parametrize(("account", "said"), [("root", "refuses"), ("no-such", "no account")])
def test_an_account_that_cannot_be_used_is_named(wanted: Path, account: str, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        quarters.settle(wanted, account=account)


@only_root
def test_data_of_another_account_is_not_begun_anew(wanted: Path) -> None:
    (wanted / "data").mkdir(parents=True)

    with pytest.raises(quarters.QuartersError, match="belongs to uid 0"):
        quarters.settle(wanted)


def test_a_socket_whose_path_would_be_too_long_lies_elsewhere() -> None:
    long = Path("/") / ("x" * 120) / "postgres"

    found = quarters._socket_folder(long, None)

    assert len(str(found)) <= quarters.SOCKET_LIMIT
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    found.rmdir()


def test_every_setting_is_known_to_the_server(cluster: Cluster) -> None:
    cluster.start()

    with cluster.connect() as connection:
        known = {row[0] for row in connection.execute("SELECT name FROM pg_settings")}

    assert set(clusters.SETTINGS) - {name.lower() for name in known} == set()
