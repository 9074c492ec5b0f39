"""No question of the restore page reads a large table from end to end."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from backup import names
from backup.models import Source
from restore.browsing import differences, folders, history, parts, searching
from restore.browsing.differences import Change
from restore.browsing.folders import Sort, View
from restore.browsing.searching import Query
from restore.delivery import asking
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import catalogues
from tests.catalogues import DEEP, Extent
from tests.plans import asked
from tests.restore.shelves import LAST

EXTENT = Extent(paths=20_000, mail=1_500, points=20, period=20, fresh=20, stay=5)
LARGE = {"catalogue_paths", "catalogue_versions", "catalogue_grams"}


@pytest.fixture
def source(runtime: Runtime, acme: Tenant) -> UUID:
    """Acme's, with a catalogue that is large enough for plans to matter."""
    source = new_id()
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        row = Source(id=source, kind="directory", name="files", options={}, added_at=LAST)
        row.tenant_id = acme.id
        session.add(row)
        session.flush()
        catalogues.history(session, acme.id, source, EXTENT, LAST)
        catalogues.contents(session, acme.id, source, EXTENT)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        names.note(session, source, after=-1)
    with runtime.database.session(Role.MIGRATOR) as session:
        for table in sorted(LARGE):
            session.execute(text(f"analyze {table}"))
    return source


def test_no_question_reads_a_large_table_from_end_to_end(
    runtime: Runtime, acme: Tenant, source: UUID
) -> None:
    questions = dict(_questions(source))
    with runtime.database.session(Role.WEB, tenant=acme.id) as session:
        for name, ask in questions.items():
            with asked(session) as found:
                answer = ask(session)
            assert answer, name
            assert not found.scanned(session) & LARGE, name


def test_a_question_that_reads_it_all_is_seen(runtime: Runtime, acme: Tenant, source: UUID) -> None:
    with runtime.database.session(Role.WEB, tenant=acme.id) as session, asked(session) as found:
        session.execute(text("select count(*) from catalogue_paths where path like '%zebra%'"))
        assert found.scanned(session) == {"catalogue_paths"}


def _questions(source: UUID) -> list[tuple[str, Callable[[Session], object]]]:
    """Each gives something true."""

    def folder(path: str, view: View) -> Callable[[Session], object]:
        return lambda session: folders.browse(session, source, 11, path, view).items

    def later(session: Session) -> object:
        view = View(after=folders.browse(session, source, 11, "/mail", View()).next)
        return folders.browse(session, source, 11, "/mail", view).items

    def search(words: str) -> Callable[[Session], object]:
        return lambda session: searching.search(session, Query(words)).hits

    def difference(change: Change) -> Callable[[Session], object]:
        def ask(session: Session) -> object:
            two = differences.between(session, source, (7, 11))
            assert differences.counts(session, two).changed > 100
            return differences.entries(session, two, change).items

        return ask

    def sizes(session: Session) -> object:
        part = parts.part(session, source, 11)
        return asking._size_below(session, part, [DEEP, "/mail"])

    return [
        ("root", folder("/", View())),
        ("deep", folder(DEEP, View())),
        ("large", folder("/mail", View())),
        ("large, later", later),
        ("large, by size", folder("/mail", View(Sort.SIZE, descending=True))),
        ("large, by time", folder("/mail", View(Sort.TIME))),
        ("rare", search("zebra")),
        ("number", search("0004321")),
        ("common", search("pdf")),
        ("deleted", search("fresh-3-1.txt")),
        ("sizes", sizes),
        ("history", lambda s: history.of_path(s, source, "/mail/invoice-0000008.pdf").states),
        *((str(change), difference(change)) for change in Change),
    ]
