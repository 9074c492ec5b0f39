"""The stack as a whole: two side by side, and what kill -9 leaves: nothing, and no damage."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from strongroom import storage
from strongroom.db import Role
from strongroom.errors import BadValue, StrongroomError
from strongroom.stack import embedded, home, ports, postgres
from strongroom.stack.embedded import Embedded
from strongroom.stack.valkey import ValkeyError
from tests.platform import stack_cast
from tests.platform.stack_cast import driven, processes_of, until


@pytest.fixture
def place() -> Iterator[Path]:
    with stack_cast.new_home() as path:
        yield path


@pytest.fixture
def stack(place: Path) -> Iterator[Embedded]:
    with Embedded(place, regions=0) as running:
        yield running


@pytest.fixture(scope="module")
def calm() -> Iterator[Embedded]:
    """A stack for tests that only look."""
    with stack_cast.new_home() as path, Embedded(path, regions=0) as running:
        yield running


def connect(path: Path, role: Role = Role.MIGRATOR) -> psycopg.Connection[Any]:
    url = home.find_stack(path)["databases"][role]
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def queue(path: Path) -> redis.Redis:
    return redis.Redis.from_url(home.find_stack(path)["broker"], single_connection_client=True)


def write_row(path: Path) -> None:
    with connect(path) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'before' AS word")


def read_row(path: Path) -> str:
    with connect(path) as connection:
        row = connection.execute("SELECT word FROM kept").fetchone()
    assert row is not None
    return str(row[0])


def test_a_role_has_its_password_and_no_power(calm: Embedded) -> None:
    for role in Role:
        with connect(calm.path, role) as connection:
            row = connection.execute(
                "SELECT current_user, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, "
                "rolreplication FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        reads_all = role is Role.DUMPER  # past row-level security, and only reads
        assert row == (role, False, reads_all, False, False, False)


def test_the_migrator_owns_the_database_and_no_role_enters_another(calm: Embedded) -> None:
    with psycopg.connect(calm.postgres.url("migrator")) as connection:
        connection.execute("CREATE TABLE mine ()")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(calm.postgres.url("web", "postgres"))


def test_a_command_beside_the_stack_can_act_as_superuser(calm: Embedded) -> None:
    with psycopg.connect(postgres.superuser_url(calm.path)) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("on",)


def test_the_broker_wants_its_password(calm: Embedded) -> None:
    with queue(calm.path) as client:
        port = client.connection_pool.connection_kwargs["port"]
        assert client.ping()
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=port, single_connection_client=True)


def test_no_secret_is_in_a_command_line_an_environment_or_a_log(calm: Embedded) -> None:
    secrets = [path.read_text() for path in (calm.path / "secrets").iterdir()]
    shown = "\n".join(path.read_text() for path in (calm.path / "log").iterdir())
    for line in processes_of(calm.path):
        pid = line.split()[0]
        shown += line + Path(f"/proc/{pid}/environ").read_text()

    assert len(secrets) == 10
    assert not [secret for secret in secrets if secret in shown]


def test_only_the_owner_reads_what_is_in_the_home(calm: Embedded) -> None:
    open_to_others = [
        path
        for path in calm.path.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]

    assert [path for path in open_to_others if "appendonlydir" not in str(path)] == []


def test_what_is_published_is_added_to_the_rest(calm: Embedded) -> None:
    calm.publish(web="http://localhost:8080")

    found = home.find_stack(calm.path)
    assert found["web"] == "http://localhost:8080"
    assert set(found["databases"]) == set(Role)


def test_a_killed_database_is_brought_back_where_it_was(stack: Embedded, place: Path) -> None:
    write_row(place)
    assert stack.postgres.cluster is not None
    assert stack.postgres.cluster.running is not None
    os.kill(stack.postgres.cluster.running.pid, signal.SIGKILL)
    assert until(lambda: not stack.postgres.alive())

    stack.children.tend()

    assert read_row(place) == "before"


def test_a_killed_broker_is_brought_back_where_it_was(stack: Embedded, place: Path) -> None:
    with queue(place) as client:
        client.set("kept", "before")
        client.execute_command("WAITAOF", 1, 0, 5000)
    assert stack.valkey.running is not None
    os.kill(stack.valkey.running.pid, signal.SIGKILL)
    assert until(lambda: not stack.valkey.alive())

    stack.children.tend()

    with queue(place) as client:
        assert client.get("kept") == b"before"


def test_a_stopped_stack_leaves_no_process_and_starts_again_with_its_data(place: Path) -> None:
    with driven(place) as driver:
        write_row(place)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(120) == 0
        assert processes_of(place) == []
        with pytest.raises(home.NotRunning):
            home.find_stack(place)

    with driven(place):
        assert read_row(place) == "before"


def test_a_killed_parent_leaves_no_process_and_no_damage(place: Path) -> None:
    with driven(place) as driver:
        write_row(place)
        driver.kill()
        driver.wait()
        assert until(lambda: processes_of(place) == [])
        with pytest.raises(home.NotRunning):
            home.find_stack(place)

    with driven(place):
        assert read_row(place) == "before"


def test_a_killed_parent_takes_its_regions_along_and_they_come_back_where_they_were(
    place: Path,
) -> None:
    with driven(place, regions=2) as driver:
        before = home.find_stack(place)["regions"]
        store(before["region-b"]).put("t/kept", b"before")
        driver.kill()
        driver.wait()
        assert until(lambda: processes_of(place) == [])

    with driven(place, regions=2):
        assert home.find_stack(place)["regions"] == before
        assert store(before["region-b"]).get("t/kept") == b"before"


def test_a_taken_port_of_a_region_is_named_and_nothing_starts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "PATIENCE", 0.1)
    taken = embedded.make_seaweed(home.prepare(place), "region-b").ports.volume

    with (
        socket.create_server(("127.0.0.1", taken)),
        pytest.raises(ports.PortTaken, match=f"region-b has to listen on 127.0.0.1:{taken}"),
    ):
        Embedded(place).start()

    assert not (place / "postgres").exists()
    assert processes_of(place) == []


def test_a_killed_parent_takes_along_a_query_that_is_busy(place: Path) -> None:
    with driven(place) as driver, connect(place) as connection:
        worker = threading.Thread(target=count_for_hours, args=(connection,))
        worker.start()
        assert until(lambda: is_counting(place))
        driver.kill()
        driver.wait()
        assert until(lambda: processes_of(place) == [])
        worker.join()


def test_the_next_start_need_not_wait_after_a_kill(place: Path) -> None:
    with driven(place) as driver:
        write_row(place)
        driver.kill()
        with driven(place):
            assert read_row(place) == "before"


def test_a_parent_killed_in_its_first_start_spoils_nothing(place: Path) -> None:
    driver = stack_cast.start_driver(place)
    assert until(lambda: being_made(place))
    driver.kill()
    driver.communicate()

    with driven(place):
        write_row(place)


def test_two_stacks_run_side_by_side(place: Path) -> None:
    with stack_cast.new_home() as other, driven(place), driven(other):
        write_row(place)
        with pytest.raises(psycopg.errors.UndefinedTable):
            read_row(other)


def test_a_second_stack_of_one_home_is_refused_and_the_first_goes_on(place: Path) -> None:
    with driven(place) as first:
        second = stack_cast.start_driver(place)
        said, _ = second.communicate(timeout=120)

        assert second.returncode == 1
        assert f"home-busy Wanted to start from {place}, but process {first.pid} already" in said
        write_row(place)


def test_a_stack_runs_as_an_ordinary_account_inside_its_home() -> None:
    with stack_cast.new_home() as path:
        if stack_cast.ROOT:
            os.chown(path.parent, 65534, 65534)
        with driven(path, user="nobody" if stack_cast.ROOT else ""):
            write_row(path)

        assert (path / "postgres" / "data" / "PG_VERSION").exists()


def test_a_start_that_fails_half_way_stops_what_it_started(place: Path) -> None:
    broken = Embedded(place, regions=2, make_region=Unstartable)

    with pytest.raises(StrongroomError, match="region-a cannot"):
        broken.start()

    assert processes_of(place) == []
    with home.prepare(place).locked():
        assert not (place / home.STACK).exists()


def test_a_broker_whose_log_of_changes_is_damaged_says_where_to_look(place: Path) -> None:
    with Embedded(place, regions=0):
        pass
    (place / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")

    with pytest.raises(ValkeyError, match=r"valkey\.log"):
        Embedded(place, regions=0).start()


def test_regions_are_named_by_letter_and_there_are_at_most_26(place: Path) -> None:
    assert embedded.region_names(2) == ["region-a", "region-b"]
    with pytest.raises(BadValue, match="0 to 26"):
        Embedded(place, regions=27)


class Unstartable:
    """A region that fails to start."""

    def __init__(self, place: home.Home, name: str) -> None:
        self.name = name

    def launch(self) -> None:
        pass

    def start(self) -> None:
        raise StrongroomError(f"{self.name} cannot start")

    def stop(self) -> None:
        pass

    def alive(self) -> bool:
        return False

    def published(self) -> dict[str, str]:
        return {}


def being_made(place: Path) -> bool:
    """Whether the data folder is half done."""
    folders = [*stack_cast.places_of(place), str(place / "postgres")]
    return any((Path(folder) / "data.new").exists() for folder in folders)


def is_counting(place: Path) -> bool:
    with connect(place) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT "
            "sum%'"
        ).fetchone()
    return row == (1,)


def store(published: dict[str, str]) -> storage.Store:
    keys = storage.Credentials(published["access_key"], published["secret_key"])
    known = {name: text for name, text in published.items() if not name.endswith("_key")}
    return storage.Store(storage.Region(**known), keys)


def count_for_hours(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT sum(n) FROM generate_series(1, 1000000000000) AS n")
