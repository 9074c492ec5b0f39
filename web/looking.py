"""What the command line asks of contents: a folder, names, differences; the same as the pages ask.

As the role of workers, which sees one tenant's rows: the operator's sees everybody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backup import names
from backup.catalogue import FOLDER
from backup.models import Point
from restore.browsing import differences, folders, parts, searching
from restore.browsing.differences import Between, Change, Difference
from restore.browsing.errors import GONE, NO_PART
from restore.browsing.folders import View
from restore.browsing.searching import Hit, Query
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import readings

FOUND_MOST = 1000
AT_ONCE = 500
OTHER_WAY = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED}


class NoName(BadValue):
    """Nothing in a pattern that a name could have."""

    code = "no-name"


def note(platform: Runtime, tenant: UUID, what: str, asked: str, *, by: Actor) -> None:
    """That somebody who operates looked into what is a tenant's: `what` is browsed, searched, ..."""
    with platform.database.session(Role.OPERATOR, tenant=tenant) as session:
        deed = Deed(f"contents.{what}", "tenants", tenant, details={"asked": asked})
        entries.note(session, deed, by=by, at=platform.now())


def browse(
    platform: Runtime, point: Point, path: str, *, source: str | None
) -> list[dict[str, Any]]:
    """All that lies directly in a folder of a point, folders first. Raises NotFound, NotListedYet."""
    with platform.database.session(Role.OPERATOR, tenant=point.tenant_id) as session:
        wanted = readings.one_source(session, point, source).id
    found: list[dict[str, Any]] = []
    view = View(most=AT_ONCE)
    with _bound(platform, point.tenant_id) as session:
        while True:
            listing = folders.browse(session, wanted, point.number, path, view)
            found += [
                {
                    "path": item.path,
                    "kind": item.kind,
                    "size": item.size,
                    "changed_at": item.changed_at,
                }
                for item in listing.items
            ]
            if listing.next is None:
                return found
            view = replace(view, after=listing.next)


def find(platform: Runtime, tenant: Tenant, pattern: str) -> list[dict[str, Any]]:
    """Paths whose name matches, over all points, deleted ones too; at most FOUND_MOST.

    `since` is the first point that has it, `until` the first one after it that has it no more.
    """
    if not names.terms(_last(pattern)):
        raise NoName(
            f"{pattern!r} says nothing of a name. Give a part of one; `strongroom browse` shows "
            "what lies in a folder."
        )
    fits = _fits(pattern)
    with _bound(platform, tenant.id) as session:
        hits = (
            hit for hit in _hits(session, _last(pattern)) if fits.search(names.folded(hit.path))
        )
        rows = [row for _, hit in zip(range(FOUND_MOST), hits, strict=False) for row in _spans(hit)]
    return sorted(rows, key=lambda row: (row["source"], row["path"], row["since"]))[:FOUND_MOST]


def _last(pattern: str) -> str:
    """Names are searched by their last part."""
    return pattern.rpartition("/")[2]


def _hits(session: Session, words: str) -> Iterator[Hit]:
    query = Query(words, most=AT_ONCE)
    while True:
        found = searching.search(session, query)
        yield from found.hits
        if found.next is None:
            return
        query = replace(query, after=found.next)


def _spans(hit: Hit) -> Iterator[dict[str, Any]]:
    for span in hit.spans:
        yield {
            "source": hit.source_name,
            "path": hit.path,
            "kind": hit.kind,
            "size": hit.size,
            "since": span.since.number,
            "until": None if span.then is None else span.then.number,
        }


def _fits(pattern: str) -> re.Pattern[str]:
    """With * or ? all of a path, else some of it; however it is spelled."""
    wild = set("*?") & set(pattern)
    signs = {"*": ".*", "?": "."}
    parted = re.split(r"([*?])", pattern)
    if not wild and "/" not in pattern:
        return re.compile("")  # the search has looked at each word of it
    inner = "".join(signs.get(part) or re.escape(names.folded(part)) for part in parted)
    return re.compile(rf"\A{inner}\Z" if wild else inner, re.DOTALL)


@dataclass(frozen=True)
class Differing:
    """How one point differs from another."""

    rows: list[dict[str, Any]]
    left_out: list[str]  # sources of which only one of the two has something


def diff(platform: Runtime, tenant: Tenant, numbers: tuple[int, int]) -> Differing:
    """From the first to the second, whichever is older; folders are left out."""
    found = Differing([], [])
    with _bound(platform, tenant.id) as session:
        for source, name in parts.sources(session).items():
            try:
                two = differences.between(session, source, numbers)
            except NotFound as error:
                if error.code not in (NO_PART, GONE):
                    raise
                found.left_out.append(name)
                continue
            turned = numbers[0] > numbers[1]
            rows = [_difference(name, each, turned) for each in _entries(session, two)]
            found.rows.extend(sorted(rows, key=lambda row: str(row["path"])))
    return found


def _entries(session: Session, two: Between) -> Iterator[Difference]:
    for change in Change:
        after = None
        while True:
            page = differences.entries(session, two, change, after=after, most=AT_ONCE)
            yield from (each for each in page.items if _kind(each) != FOLDER)
            after = page.next
            if after is None:
                break


def _kind(each: Difference) -> str:
    state = each.after or each.before
    return "" if state is None else state.kind


def _difference(source: str, each: Difference, turned: bool) -> dict[str, Any]:
    before, after = (each.after, each.before) if turned else (each.before, each.after)
    return {
        "source": source,
        "path": each.path,
        "change": str(OTHER_WAY.get(each.change, each.change) if turned else each.change),
        "before": None if before is None else before.size,
        "after": None if after is None else after.size,
    }


def _bound(platform: Runtime, tenant: UUID) -> AbstractContextManager[Session]:
    return platform.database.session(Role.WORKER, tenant=tenant)
