"""Servers that fall silent or answer nonsense: a clear word in time, and never a wait for ever."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from backup.models import PointSource, Source
from backup.sources import connection, dump, fingerprint, postgres
from backup.sources.connection import Silent, SourceOdd, TooMuch, Unreachable
from backup.states import Outcome
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.stack import quarters
from tenants import sourcing
from tenants.models import Tenant
from tenants.sourcing import NewSource
from tests.backup.odd_server import OddServer, mute, odd_server
from tests.backup.source_database import Server, serving
from tests.backup.vaults import digest, restored, vault
from tests.cast import ADA, add_folder, back_up, rows_of


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(postgres, "CHECK_SECONDS", 1.0)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def taken(odd: OddServer, *, seconds: float, stop: threading.Event | None = None) -> dump.Verdict:
    tools = dump.Tools(quarters.bin_folder(), seconds, stop)
    into = os.open(os.devnull, os.O_WRONLY)
    return dump.take(odd.source, odd.access, into=into, tools=tools)


@pytest.mark.usefixtures("impatient")
def test_a_check_hangs_up_on_a_server_that_falls_silent() -> None:
    with odd_server(mute) as odd, within(100), pytest.raises(Silent, match="within 2 seconds"):
        postgres.check(odd.source, odd.access)


@pytest.mark.usefixtures("impatient")
def test_a_dump_hangs_up_on_a_server_that_falls_silent() -> None:
    with odd_server(mute) as odd, within(100):
        verdict = taken(odd, seconds=1)
    assert (verdict.good, verdict.reason) == (False, "source-unreachable")
    assert "did not answer within 2 seconds" in verdict.detail


@pytest.mark.usefixtures("impatient")
def test_a_stop_ends_a_dump_that_a_silent_server_keeps_waiting() -> None:
    stop = threading.Event()
    stop.set()
    with odd_server(mute) as odd, within(100):
        verdict = taken(odd, seconds=600, stop=stop)
    assert (verdict.good, verdict.reason) == (False, "program-stopped")


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_ends_its_sign_in_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as listener, within(100):
        odd = OddServer(listener.getsockname()[1], mute)
        with pytest.raises(Unreachable, match="nothing answers there"):
            connection.connect(odd.source.login(odd.access))


def counting(server: Server, name: str) -> int:
    """The process that takes the manifest, once it waits for the table that is held."""
    query = (
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
        " AND query LIKE 'SELECT count(*)%'"
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := server.rows("postgres", query):
            return int(str(found[0][0]))
        time.sleep(0.01)
    raise AssertionError("no manifest was taken")


@contextmanager
def standing_still(server: Server, *others: int) -> Iterator[None]:
    """Nobody serves, while the kernel goes on to take connections and to acknowledge."""
    assert server.cluster.running is not None
    stopped = [*others, server.cluster.running.pid]
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stands_still_in_a_manifest_is_hung_up_on(server: Server) -> None:
    name = server.business()
    tools = dump.Tools(server.programs, 8)
    into = os.open(os.devnull, os.O_WRONLY)
    with ThreadPoolExecutor(1) as pool, server.connect(name) as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
        taking = pool.submit(dump.take, server.source(name), server.access, into=into, tools=tools)
        with standing_still(server, counting(server, name)):
            holder.rollback()  # pg_dump goes on to its end, and the manifest does not
            verdict = taking.result(120)
    assert (verdict.good, verdict.reason) == (False, "source-unreachable")
    assert verdict.seconds < 100


@pytest.mark.parametrize("rows", [[], [b"\xff\xfe"], [b"a", b"b"], [b"not\0a name"]])
def test_an_answer_that_is_none_makes_a_bad_verdict(rows: list[bytes]) -> None:
    with odd_server(lambda _: rows) as odd:
        assert taken(odd, seconds=100).reason == "source-odd"


@pytest.mark.parametrize("rows", [[], [b"\xff"]])
def test_a_check_of_an_odd_source_says_so_and_quotes_nothing(rows: list[bytes]) -> None:
    def answer(question: str) -> list[bytes]:
        return rows if "pg_database_size" in question else []

    with odd_server(answer) as odd, pytest.raises(SourceOdd, match="does not answer as PostgreSQL"):
        postgres.check(odd.source, odd.access)


def test_a_list_without_an_end_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_server(lambda _: itertools.repeat(b"x")) as odd, within(60):
        monkeypatch.setattr(fingerprint, "MOST", 1000)
        assert taken(odd, seconds=100).reason == "source-too-much"


def test_an_answer_without_an_end_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_BYTES", 1 << 20)
    with odd_server(lambda _: itertools.repeat(b"x" * 1000)) as odd, within(60):
        assert taken(odd, seconds=100).reason == "source-too-much"


def test_a_database_with_too_many_things_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "MOST", 2)
    login = server.source(server.business()).login(server.access)
    with connection.talk(login, seconds=60) as line, pytest.raises(TooMuch, match="more than 2"):
        fingerprint.take(line)


def test_an_odd_source_leaves_the_others_restorable(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    with odd_server(lambda question: [b"1"] * ("pg_database_size" in question)) as odd:
        new = NewSource("postgres", "odd", odd.source.options(), odd.access.password)
        sourcing.add(runtime, acme, new, by=ADA)
        add_folder(runtime, acme, tmp_path / "files")

        point = back_up(runtime, acme)

    assert point.outcome is Outcome.PARTIAL
    assert failures(runtime, acme) == {"source-odd", None}
    assert restored(vault(runtime, acme), point, tmp_path) == [digest(tmp_path / "files")]


def test_a_source_whose_row_makes_no_sense_leaves_the_others_restorable(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    broken = add_folder(runtime, acme, tmp_path / "broken", name="broken")
    add_folder(runtime, acme, tmp_path / "files")
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.execute(update(Source).where(Source.id == broken.id).values(options=["path"]))

    point = back_up(runtime, acme)

    assert point.outcome is Outcome.PARTIAL
    assert failures(runtime, acme) == {"source-odd", None}
    assert restored(vault(runtime, acme), point, tmp_path) == [digest(tmp_path / "files")]


def failures(runtime: Runtime, tenant: Tenant) -> set[str | None]:
    parts = rows_of(runtime, tenant, PointSource)
    return {part.failure and str(part.failure["code"]) for part in parts}
