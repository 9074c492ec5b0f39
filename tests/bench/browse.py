"""Bar: what the tenant's restore page asks, on 400 points with a million paths.

The catalogue is made set-based with indexes taken away meanwhile; the index of names by the code that writes it in
production. Each question runs in a transaction of its own, as the role of the pages, bound to the
tenant; questions take turns, so that whatever the machine is busy with meets all alike.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from sqlalchemy.orm import Session

from backup import names
from backup.models import Source
from restore.browsing import calendar, differences, folders, history, searching
from restore.browsing.differences import Change
from restore.browsing.folders import Sort, View
from restore.browsing.searching import Query
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants import onboarding
from tenants.onboarding import NewTenant
from tests import catalogues
from tests.bench.apart import Apart, apart
from tests.bench.stand import BENCH, Stand
from web import serve

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
    with apart(stand, DATABASE) as base:
        stored = store(base, extent)
        return stored, ask(stored, rounds=rounds)


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


def store(base: Apart, extent: catalogues.Extent) -> Stored:
    """One tenant that has it all."""
    platform = base.platform
    new = NewTenant("browse", "browse", "starter", "Asia/Dubai", "AE", "en")
    tenant = onboarding.add(platform, new, by=BENCH).id
    source, now = new_id(), platform.now()
    with platform.database.session(Role.OPERATOR, tenant=tenant) as session:
        row = Source(id=source, kind="directory", name="files", options={}, added_at=now)
        row.tenant_id = tenant
        session.add(row)
        session.flush()
        catalogues.history(session, tenant, source, extent, now - timedelta(hours=1))
    with base.timed("paths and versions"), base.filling(TABLES) as session:
        catalogues.contents(session, tenant, source, extent)
    with (
        base.timed("index of names"),
        platform.database.session(Role.WORKER, tenant=tenant) as session,
    ):
        names.note(session, source, after=-1)
    rows, sizes = base.settled((*TABLES, "catalogue_grams"))
    return Stored(platform, tenant, source, extent, base.seconds, rows, sizes)
