"""No password and no key of an object store is seen where others can look."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from backup.repositories import Site
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.storage import Act, Credentials
from strongroom.worker import Queue, ring_all
from tenants.models import Tenant
from tests.backup.vaults import vaults
from tests.cast import SourceDatabase, add_database, add_folder, back_up, carry_out, queue


@pytest.fixture
def given_out(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Secrets of every short credential that is issued from now on."""
    found: list[bytes] = []
    issue = Site.credentials

    def watched(self: Site, act: Act) -> Credentials:
        made = issue(self, act)
        found.extend([made.secret_key.encode(), (made.session_token or "").encode()])
        return made

    monkeypatch.setattr(Site, "credentials", watched)
    return found


def test_secrets_are_in_no_argv_environment_log_row_or_message(
    runtime: Runtime,
    acme: Tenant,
    new_database: Callable[..., SourceDatabase],
    tmp_path: Path,
    given_out: list[bytes],
    capfd: pytest.CaptureFixture[str],
    database_urls: Mapping[Role, str],
    superuser: psycopg.Connection[Any],
) -> None:
    database = new_database()
    add_database(runtime, acme, database)
    add_folder(runtime, acme, tmp_path / "files")

    with looking_at_processes() as seen:
        back_up(runtime, acme)
        superuser.execute(f"ALTER ROLE {database.user} PASSWORD 'another'".encode())
        carry_out(runtime, acme, queue(runtime, acme))  # fails to sign in
        ring_all(runtime.app, [doorbell(acme)])

    roots = [each.secret_key.encode() for each in runtime.settings.regions.values()]
    repositories = [bytes(held.site.password.text) for held in vaults(runtime, acme)]
    secrets = {database.password.encode(), *roots, *repositories, *given_out} - {b""}
    places = {
        "a process": b"\n".join(seen),
        "the log": "".join(capfd.readouterr()).encode(),
        "the database": rows_as_text(database_urls[Role.MIGRATOR], superuser),
        "the broker": everything_in(runtime.settings.broker),
    }
    assert len(secrets) > 8
    assert [place for place, text in places.items() if any(one in text for one in secrets)] == []
    assert b"restic" in places["a process"]
    assert b"pg_dump" in places["a process"]
    assert str(acme.id).encode() in places["the broker"]
    assert b"sign-in-refused" in places["the database"]


def doorbell(tenant: Tenant) -> dict[str, Any]:
    return {"task": "backup.run", "queue": Queue.BACKUP, "tenant": tenant.id, "subject": tenant.id}


@contextmanager
def looking_at_processes() -> Iterator[set[bytes]]:
    """Command lines and environments of all processes but ours, for as long as the block runs."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").glob("[0-9]*"):
                if int(entry.name) != os.getpid():
                    for name in ("cmdline", "environ"):
                        try:
                            seen.add((entry / name).read_bytes())
                        except OSError:
                            continue
            time.sleep(0.005)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def rows_as_text(url: str, superuser: psycopg.Connection[Any]) -> bytes:
    """Every row of every table, as a superuser reads it."""
    name = url.rpartition("/")[2]
    about = superuser.info
    with psycopg.connect(
        host=about.host, port=about.port, user=about.user, password=about.password, dbname=name
    ) as line:
        tables = line.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return "\n".join(
            str(row[0])
            for (table,) in tables
            for row in line.execute(f'SELECT t::text FROM "{table}" t'.encode()).fetchall()
        ).encode()


def everything_in(broker: str) -> bytes:
    client = redis.Redis.from_url(broker.replace("redis+socket", "unix"))
    try:
        found: list[Any] = []
        for key in client.keys("*"):
            found.append(key)
            kind = client.type(key)
            if kind == b"list":
                found += client.lrange(key, 0, -1)
            elif kind == b"string":
                found.append(client.get(key) or b"")
            elif kind == b"set":
                found += client.smembers(key)
            elif kind == b"hash":
                found += client.hgetall(key).values()
        return b"\n".join(found)
    finally:
        client.close()
