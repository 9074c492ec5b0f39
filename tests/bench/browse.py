"""Bar: what the tenant's restore page asks, on 400 points with a million paths.

In a database of its own, so that no dispatcher takes the points for real ones. The catalogue is made
set-based with indexes taken away meanwhile; the index of names by the code that writes it in
production. Each question runs in a transaction of its own, as the role of the pages, bound to the
tenant; questions take turns, so that whatever the machine is busy with meets all alike.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from backup import names
from backup.models import Source
from restore.browsing import calendar, differences, folders, history, searching
from restore.browsing.differences import Change
from restore.browsing.folders import Sort, View
from restore.browsing.searching import Query
from strongroom import schema
from strongroom.db import Database, Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from strongroom.stack.postgres import make_database
from tenants import onboarding
from tenants.onboarding import NewTenant
from tests import catalogues
from tests.bench.stand import BENCH, Stand
from web import serve
from web.models import METADATA
from web.stack import register

DATABASE = "bench_browse"
TABLES = ("catalogue_paths", "catalogue_versions")
LATE_PAGE = 500  # of a folder
PER_PAGE = 200
WARM = 3
Question = Callable[[Session, int], object]


@dataclass(frozen=True)
class Stored:
    """The tenant, and how large what it has is."""

    platform: Runtime
    tenant: UUID
    source: UUID
    extent: catalogues.Extent
    seconds: Mapping[str, float]  # how long making it took
    rows: Mapping[str, int]
    megabytes: Mapping[str, float]  # with indexes


@dataclass
class Answered:
    """Seconds by question."""

    taken: dict[str, list[float]]  # of wall time
    ours: dict[str, float]  # of CPU, all rounds together: this process
    server: dict[str, float]  # the same: PostgreSQL's process of the session

    def cpu(self) -> dict[str, list[float]]:
        """Milliseconds a question, of ours and of the server."""
        return {
            name: [round(1000 * side[name] / len(each), 1) for side in (self.ours, self.server)]
            for name, each in self.taken.items()
        }


def percentile(values: list[float], part: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(part * 1000) - 1]


def measure(stand: Stand, *, extent: catalogues.Extent, rounds: int) -> tuple[Stored, Answered]:
    stored = store(stand, extent)
    try:
        return stored, ask(stored, rounds=rounds)
    finally:
        stored.platform.database.close()
        with _superuser(stand) as line:
            line.execute(f"drop database {DATABASE} with (force)".encode())


def ask(stored: Stored, *, rounds: int) -> Answered:
    asked = questions(stored)
    serve.settle()  # as the process of the pages is
    found = Answered({name: [] for name in asked}, dict.fromkeys(asked, 0), dict.fromkeys(asked, 0))
    for number in range(-WARM, rounds):
        for name, question in asked.items():
            began = time.perf_counter(), time.process_time()
            with stored.platform.database.session(Role.WEB, tenant=stored.tenant) as session:
                process = _process(session)
                before = _cpu(process)
                question(session, number)
                server = _cpu(process) - before
            if number >= 0:
                found.taken[name].append(time.perf_counter() - began[0])
                found.ours[name] += time.process_time() - began[1]
                found.server[name] += server
    return found


def _process(session: Session) -> int:
    line = session.connection().connection.driver_connection
    assert isinstance(line, psycopg.Connection)
    return line.info.backend_pid


def _cpu(process: int) -> float:
    """Seconds that it has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def questions(stored: Stored) -> dict[str, Question]:
    """By name; the number of the round chooses point, folder or word."""
    source, points = stored.source, stored.extent.points
    now = stored.platform.now()
    late = _page_of_mail(stored)

    def at(number: int) -> int:
        return 1 + (number * 37 + points // 2) % points

    def month(session: Session, number: int) -> object:
        last = now.date() - timedelta(days=number * 11 % max(1, points - 31))
        days = (last - timedelta(days=30), last)
        return calendar.calendar(session, stored.tenant, days, now=now)

    def year(session: Session, _: int) -> object:
        days = (now.date() - timedelta(days=365), now.date())
        return calendar.calendar(session, stored.tenant, days, now=now)

    def folder(path: str, view: View) -> Question:
        return lambda session, number: folders.browse(session, source, at(number), path, view)

    def last_page(session: Session, _: int) -> object:
        return folders.browse(session, source, points, "/mail", View(after=late, most=PER_PAGE))

    def search(*words: str) -> Question:
        return lambda session, number: searching.search(session, Query(words[number % len(words)]))

    def one(session: Session, number: int) -> object:
        place = number * 7919 % stored.extent.mail
        word = catalogues.WORDS[place % len(catalogues.WORDS)]
        return history.of_path(session, source, f"/mail/{word}-{place:07d}.pdf")

    def counts(apart: int) -> Question:
        def asked(session: Session, number: int) -> object:
            first = 1 + number * 37 % (points - apart)
            two = differences.between(session, source, (first, first + apart))
            differences.counts(session, two)
            return [differences.entries(session, two, change) for change in Change]

        return asked

    return {
        "calendar, a month": month,
        "calendar, a year": year,
        "browse, root": folder("/", View()),
        "browse, a deep folder": folder(catalogues.DEEP, View()),
        "browse, 100,000 entries, first page": folder("/mail", View(most=PER_PAGE)),
        "browse, 100,000 entries, 500th page": last_page,
        "browse, 100,000 entries, by size": folder("/mail", View(Sort.SIZE, descending=True)),
        "browse, 100,000 entries, by time": folder("/mail", View(Sort.TIME, descending=True)),
        "search, one hit": search("zebra"),
        "search, one number": search("0012345", "0054321", "invoice 0031000", "عقد 0000015"),
        "search, very common": search("invoice", "pdf", "0", "فاتوره"),
        "search, no hit": search("xylophone", "invoice zebra", "9999999"),
        "search, deleted": search("fresh-3-1.txt", "fresh-9", "fresh 12 txt"),
        "history of a file": one,
        "difference, next point": counts(1),
        "difference, a month": counts(min(30, points // 3)),
        "difference, first and last": counts(points - 2),
    }


def _page_of_mail(stored: Stored) -> str | None:
    """The mark of the page before the last of the folder, by way of a page each."""
    after = None
    pages = min(LATE_PAGE - 1, stored.extent.mail // PER_PAGE - 1)
    with stored.platform.database.session(Role.WEB, tenant=stored.tenant) as session:
        for _ in itertools.repeat(None, max(1, pages * PER_PAGE // 1000)):
            view = View(after=after, most=1000)
            after = folders.browse(session, stored.source, stored.extent.points, "/mail", view).next
    return after


def store(stand: Stand, extent: catalogues.Extent) -> Stored:
    """A database with one tenant that has it all."""
    platform = _platform(stand)
    new = NewTenant("browse", "browse", "starter", "Asia/Dubai", "AE", "en")
    tenant = onboarding.add(platform, new, by=BENCH).id
    source, now = new_id(), platform.now()
    with platform.database.session(Role.OPERATOR, tenant=tenant) as session:
        row = Source(id=source, kind="directory", name="files", options={}, added_at=now)
        row.tenant_id = tenant
        session.add(row)
        session.flush()
        catalogues.history(session, tenant, source, extent, now - timedelta(hours=1))
    seconds: dict[str, float] = {}
    with _timed(seconds, "paths and versions"):
        _fill(stand, tenant, source, extent)
    with (
        _timed(seconds, "index of names"),
        platform.database.session(Role.WORKER, tenant=tenant) as session,
    ):
        names.note(session, source, after=-1)
    rows, sizes = _settled(stand)
    return Stored(platform, tenant, source, extent, seconds, rows, sizes)


class _timed:
    def __init__(self, into: dict[str, float], name: str) -> None:
        self._into, self._name = into, name

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._into[self._name] = round(time.monotonic() - self._began, 1)


def _platform(stand: Stand) -> Runtime:
    known = stand.platform.settings
    with _superuser(stand) as line:
        make_database(line, DATABASE, owner=Role.MIGRATOR, users=Role)
    urls = {
        role: make_url(url).set(database=DATABASE).render_as_string(hide_password=False)
        for role, url in known.databases.items()
    }
    schema.upgrade(urls[Role.MIGRATOR], METADATA)
    register(replace(known, databases=urls), stand.running.stack)
    return replace(stand.platform, database=Database(urls))


def _superuser(stand: Stand, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    cluster = stand.running.stack.postgres.cluster
    assert cluster is not None
    return cluster.connect(database)


def _fill(stand: Stand, tenant: UUID, source: UUID, extent: catalogues.Extent) -> None:
    """As superuser: no checks of keys row by row, and indexes are built when all is there."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: _superuser(stand, DATABASE))
    with engine.connect() as line, Session(line) as session:
        session.execute(text("set session_replication_role = replica"))
        session.execute(text("set maintenance_work_mem = '512MB'"))
        made = session.execute(
            text(
                "select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as made "
                "from pg_index left join pg_constraint c on c.conindid = indexrelid "
                "where indrelid = any(cast(:tables as regclass[])) and c.oid is null"
            ),
            {"tables": list(TABLES)},
        ).all()
        for row in made:
            session.execute(text(f"drop index {row.name}"))
        catalogues.contents(session, tenant, source, extent)
        for row in made:
            session.execute(text(row.made))
        session.commit()
    engine.dispose()


def _settled(stand: Stand) -> tuple[dict[str, int], dict[str, float]]:
    rows, sizes = {}, {}
    with _superuser(stand, DATABASE) as line:
        line.execute(b"vacuum analyze")
        for table in (*TABLES, "catalogue_grams"):
            (count,) = _one(line, f"select count(*) from {table}")
            (size,) = _one(line, f"select pg_total_relation_size('{table}')")
            rows[table], sizes[table] = int(count), round(int(size) / 1e6, 1)
    return rows, sizes


def _one(line: psycopg.Connection[tuple[object, ...]], query: str) -> tuple[int, ...]:
    row = line.execute(query.encode()).fetchone()
    assert row is not None
    return tuple(int(str(each)) for each in row)
