"""Answers that hold a tenant's own data: a download in ranges, a picture, a text.

Whatever a file holds, a browser is to save or show it and nothing else: no script runs in it, no
other kind is guessed, nothing is kept.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from flask import Response, abort, request, url_for

from backup.models import Point, Source
from restore import tree
from restore.browsing.shown import Shown, shown
from restore.delivery import looking, names, ranges, serving
from restore.delivery.asking import Asker
from restore.delivery.models import Delivery
from restore.delivery.ranges import NotSatisfiable, Span
from restore.delivery.sealing import ArtefactDamaged
from restore.delivery.serving import Artefact, Serving
from restore.delivery.states import Kind
from strongroom.errors import NotFound
from strongroom.keys import KeysError
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from strongroom.storage import StorageError
from web import scope

SANDBOX = "default-src 'none'; sandbox"
TYPES = {
    Kind.TABLE: "text/csv; charset=utf-8; header=present",
    Kind.FOLDER: "application/zip",
    Kind.SET_CSV: "application/zip",
    Kind.SET_JSON: "application/zip",
}
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
SLOWEST_SECONDS = 120.0  # for one piece of a megabyte
MOST_NAMED = 20  # of what was chosen

log = structlog.get_logger(__name__)


def file(runtime: Runtime, row: Delivery, asker: Asker) -> Response:
    """The range that is asked for, or all of it, to who redeemed it."""
    assert row.size is not None and row.sha256 is not None  # it is ready
    answer = Response(status=200)
    headers(answer, row)
    still = request.headers.get("If-Range", answer.headers["ETag"]) == answer.headers["ETag"]
    try:
        span = ranges.wanted(request.headers.get("Range"), row.size, still=still)
    except NotSatisfiable:
        answer.status_code = 416
        answer.headers["Content-Range"] = f"bytes */{row.size}"
        return answer
    if span.partial:
        answer.status_code = 206
        answer.headers["Content-Range"] = f"bytes {span.first}-{span.last}/{row.size}"
    answer.headers["Content-Length"] = str(span.length)
    if request.method == "HEAD":
        return answer
    answer.response = sent(runtime, row, asker, span)
    answer.direct_passthrough = True
    return answer


def headers(answer: Response, row: Delivery) -> None:
    digest = base64.b64encode(bytes.fromhex(row.sha256 or "")).decode()
    answer.headers.update(
        {
            "Content-Type": TYPES.get(row.kind, "application/octet-stream"),
            "Content-Disposition": names.disposition(row.name),
            "Content-Security-Policy": SANDBOX,
            "Accept-Ranges": "bytes",
            "ETag": f'"{row.sha256}"',
            "Repr-Digest": f"sha-256=:{digest}:",
            "Digest": f"sha-256={digest}",
        }
    )


def sent(runtime: Runtime, row: Delivery, asker: Asker, span: Span) -> Stream:
    """The first piece is proven whole before the answer begins."""
    if not serving.streams.begin(asker.account, row.tenant_id):
        abort(503)
    hang_up_on_the_slowest()
    known, here = scope.known(), scope.here()

    def may_go_on() -> bool:
        return scope.still(runtime, known, here, Action.FETCH_DOWNLOAD)

    try:
        artefact = found(runtime, row)
        pieces = Serving(runtime, row, asker, artefact, may_go_on).send(span)
        first = next(pieces, b"")
    except BaseException as error:
        serving.streams.end(asker.account, row.tenant_id)
        if isinstance(error, ArtefactDamaged):
            abort(404)
        if isinstance(error, StorageError):
            log.warning("an artefact cannot be reached", delivery=str(row.id), code=error.code)
            abort(503)
        raise
    return Stream(first, pieces, partial(serving.streams.end, asker.account, row.tenant_id))


def hang_up_on_the_slowest() -> None:
    """Whoever takes nothing would keep a thread for ever."""
    line = request.environ.get("gunicorn.socket")
    if line is not None:
        line.settimeout(SLOWEST_SECONDS)


class Stream:
    """The pieces of an answer, which is closed in any case (PEP 3333)."""

    def __init__(
        self, first: bytes, rest: Generator[bytes, None, None], ended: Callable[[], None]
    ) -> None:
        self._first, self._rest, self._ended = first, rest, ended
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield self._first
            yield from self._rest
        finally:
            self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._rest.close()
            finally:
                self._ended()


def found(runtime: Runtime, row: Delivery) -> Artefact:
    try:
        return serving.opened(runtime, row)
    except NotFound:
        abort(404)
    except (KeysError, ArtefactDamaged) as error:
        log.warning("a delivery's key does not open", delivery=str(row.id), code=error.code)
        if not error.permanent:
            abort(503)
        serving.fail(runtime, row, error)
        abort(404)  # its page says why


@dataclass(frozen=True)
class Look:
    """What a preview shows."""

    what: str  # "text", "image", "table" or "other"
    text: str = ""
    columns: Iterable[Shown] = ()
    rows: Iterable[Iterable[str | None]] = ()


def preview(runtime: Runtime, row: Delivery) -> Look | None:
    """None where it cannot be had just now."""
    report = row.report or {}
    what = str(report.get("what", "other"))
    if what == "image":
        return Look("other" if report.get("too_large") else what)
    if what == "other":
        return Look(what)
    try:
        data = found(runtime, row).whole()
    except (StorageError, ArtefactDamaged) as error:
        log.warning("a preview cannot be read", delivery=str(row.id), code=error.code)
        return None
    if what == "text":
        return Look(what, text=visible(looking.text_of(data, str(report["encoding"]))))
    document = json.loads(data)
    return Look(
        "table",
        columns=[shown(each) for each in document["columns"]],
        rows=[
            [None if each is None else visible(each) for each in one] for one in document["rows"]
        ],
    )


def visible(text: str) -> str:
    """With control signs and what turns text round written out; lines and tabs stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(tree.shown, line.split("\t"))) for line in lines)


def image(runtime: Runtime, row: Delivery) -> Response:
    """By what it begins with, never by its name; in a page of its own it could do nothing."""
    report = row.report or {}
    if report.get("what") != "image" or report.get("too_large") or report["mime"] not in PICTURES:
        abort(404)
    try:
        data = found(runtime, row).whole()
    except (StorageError, ArtefactDamaged):
        abort(503)
    answer = Response(data, content_type=str(report["mime"]))
    answer.headers["Content-Security-Policy"] = SANDBOX
    answer.headers["Content-Disposition"] = "inline"
    return answer


def point_of(row: Delivery) -> dict[str, Any]:
    """The point and source, as the page names them."""
    with scope.reading() as session:
        point, source = session.get_one(Point, row.point_id), session.get_one(Source, row.source_id)
        return {
            "number": point.number,
            "taken_at": point.taken_at,
            "source": shown(source.name),
            "address": url_for("tenant.point", slug=scope.here().slug, number=point.number),
        }


def items_of(row: Delivery) -> dict[str, Any]:
    """What was chosen, the first of it."""
    chosen = [*row.paths, *row.tables]
    return {
        "shown": [shown(each) for each in chosen[:MOST_NAMED]],
        "more": max(0, len(chosen) - MOST_NAMED),
    }
