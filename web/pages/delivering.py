"""Previews and downloads: data of a point that a person sees or takes along."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import structlog
from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from kombu.exceptions import OperationalError
from werkzeug.wrappers import Response as AnyResponse

from restore.delivery import asking, looking, serving
from restore.delivery.asking import Asker, Wish
from restore.delivery.models import Delivery
from restore.delivery.states import GOING, SERVED, DeliveryState, Kind
from strongroom.errors import NotFound, StrongroomError
from strongroom.keys import KeysError
from strongroom.lifecycle import LifecycleError
from strongroom.people import record
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from strongroom.worker import Queue, ring
from web import scope
from web.pages import delivery_words, giving, moving
from web.pages.language import gettext
from web.pages.selection import Selection, chosen

BUSY_SECONDS = 1  # while it is made, the page renews itself this often
READY_SECONDS = 5

log = structlog.get_logger(__name__)


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""
    add_previews(tenant, runtime)
    add_choosing(tenant, runtime)
    add_fetching(tenant, runtime)


def add_previews(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.post("/previews")
    @scope.tenant(Action.BROWSE)
    def preview_ask(slug: str) -> AnyResponse | tuple[str, int]:
        wanted, now = chosen(), runtime.now()
        try:
            with scope.writing() as session:
                row = asking.look(session, scope.here().id, wish(wanted), asker(), at=now)
        except StrongroomError as error:
            return refused(error)
        if row.state is DeliveryState.WAITING:
            rung(runtime, row)
        return redirect(url_for("tenant.preview", slug=slug, delivery=row.id), code=303)

    @tenant.get("/previews/<uuid:delivery>")
    @scope.tenant(Action.BROWSE)
    def preview(slug: str, delivery: UUID) -> Response:
        row = mine(delivery, preview=True)
        shown = giving.preview(runtime, row) if lives(row, runtime.now()) else None
        seconds = BUSY_SECONDS if row.state in GOING else moving.STILL
        return moving.send("tenant/deliver/preview", seconds=seconds, shown=shown, **frame(row))

    @tenant.get("/previews/<uuid:delivery>/image")
    @scope.tenant(Action.BROWSE)
    def preview_image(slug: str, delivery: UUID) -> Response:
        row = mine(delivery, preview=True)
        if row.state is not DeliveryState.READY:
            abort(404)
        return giving.image(runtime, row)


def add_choosing(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.post("/downloads/choose")
    @scope.tenant(Action.FETCH_DOWNLOAD)
    def download_choose(slug: str) -> AnyResponse | tuple[str, int]:
        """Shown first; the proof is asked for when it is confirmed."""
        wanted, now = chosen(), runtime.now()
        try:
            with scope.writing() as session:
                row = asking.propose(session, scope.here().id, wish(wanted), asker(), at=now)
        except StrongroomError as error:
            return refused(error)
        return redirect(url_for("tenant.download", slug=slug, delivery=row.id), code=303)

    @tenant.get("/downloads")
    @scope.tenant(Action.FETCH_DOWNLOAD)
    def downloads(slug: str) -> str:
        with scope.reading() as session:
            rows = serving.of_person(session, scope.known().account.id)
        words = {"states": delivery_words.STATES, "badges": delivery_words.BADGES}
        return render_template(
            "tenant/deliver/downloads.html", here=scope.here(), rows=rows, **words
        )

    @tenant.get("/downloads/<uuid:delivery>")
    @scope.tenant(Action.FETCH_DOWNLOAD)
    def download(slug: str, delivery: UUID) -> Response | str:
        row = mine(delivery)
        if row.state is DeliveryState.PROPOSED:
            return proposal(row)
        busy = row.state in (*GOING, DeliveryState.REDEEMED)
        over = row.ended_as is not None
        seconds = BUSY_SECONDS if busy else moving.STILL if over else READY_SECONDS
        ours = row.web_session_id == scope.known().session.id
        return moving.send("tenant/deliver/download", seconds=seconds, ours=ours, **frame(row))

    @tenant.post("/downloads/<uuid:delivery>/confirm")
    @scope.tenant(Action.DOWNLOAD)
    def download_confirm(slug: str, delivery: UUID) -> AnyResponse | tuple[str, int]:
        now = runtime.now()
        row = mine(delivery)
        try:
            kind = Kind(request.form.get("format", row.kind))
            with scope.writing() as session:
                row = session.get_one(Delivery, delivery)
                asking.confirm(session, row, kind, asker(), at=now)
            noted(runtime, "download-asked", row)
        except ValueError:
            abort(422)
        except LifecycleError:
            return redirect(url_for("tenant.download", slug=slug, delivery=delivery), code=303)
        except StrongroomError as error:
            return refused(error)
        rung(runtime, row)
        return redirect(url_for("tenant.download", slug=slug, delivery=delivery), code=303)


def add_fetching(tenant: Blueprint, runtime: Runtime) -> None:
    @tenant.post("/downloads/<uuid:delivery>/take-back")
    @scope.tenant(Action.FETCH_DOWNLOAD)
    def download_take_back(slug: str, delivery: UUID) -> AnyResponse:
        """Cancel or revoke; one that has ended meanwhile is shown as it is."""
        mine(delivery)
        with suppress(LifecycleError), scope.writing() as session:
            row = session.get_one(Delivery, delivery)
            asking.take_back(session, row, asker(), at=runtime.now())
        return redirect(url_for("tenant.download", slug=slug, delivery=delivery), code=303)

    @tenant.post("/downloads/<uuid:delivery>/redeem")
    @scope.tenant(Action.FETCH_DOWNLOAD)
    def download_redeem(slug: str, delivery: UUID) -> AnyResponse:
        mine(delivery)
        try:
            with scope.writing() as session:
                row = session.get_one(Delivery, delivery)
                token = serving.redeem(session, row, asker(), at=runtime.now())
        except NotFound:
            abort(404)
        noted(runtime, "download-fetched", row)
        address = url_for("tenant.download_fetch", slug=slug, delivery=delivery, token=token)
        return redirect(address, code=303)

    @tenant.get("/downloads/<uuid:delivery>/<token>")
    @scope.tenant(Action.FETCH_DOWNLOAD)
    def download_fetch(slug: str, delivery: UUID, token: str) -> Response:
        with scope.reading() as session:
            row = session.get(Delivery, delivery)
        try:
            row = serving.require_open(row, token, asker(), at=runtime.now())
        except NotFound:
            abort(404)
        return giving.file(runtime, row, asker())


def proposal(row: Delivery) -> str:
    """What it would be, in which formats, and how long it takes."""
    formats = asking.formats(row)
    format = request.args.get("format", row.kind)
    if format not in formats:
        format = row.kind
    with scope.reading() as session:
        seconds = asking.seconds_for(session, row.expected_bytes)
    return render_template(
        "tenant/deliver/proposal.html",
        formats=formats,
        format=format,
        seconds=seconds,
        page=url_for("tenant.download", slug=scope.here().slug, delivery=row.id, format=format),
        means=delivery_words.MEANS,
        **frame(row),
    )


def frame(row: Delivery) -> dict[str, object]:
    """What every page of a delivery shows."""
    code = (row.failure or {}).get("code")
    point = giving.point_of(row)
    return {
        "here": scope.here(),
        "row": row,
        "point": point,
        "items": giving.items_of(row),
        "selection": Selection(point["number"], row.source_id, row.paths, row.tables),
        "folder": posixpath.dirname(row.paths[0]) if len(row.paths) == 1 else None,
        "kinds": delivery_words.KINDS,
        "look": delivery_words.kind_of(row),
        "shown_bytes": looking.TEXT_BYTES,
        "state": row.ended_as or row.state,
        "states": delivery_words.STATES,
        "badges": delivery_words.BADGES,
        "failure": None if code is None else said(str(code)),
    }


def mine(delivery: UUID, *, preview: bool = False) -> Delivery:
    """Of this tenant and this person; anything else is as good as none."""
    with scope.reading() as session:
        row = session.get(Delivery, delivery)
    if row is None or row.asker_id != scope.known().account.id or row.kind.is_preview != preview:
        abort(404)
    return row  # whether its time is over is asked by who gives something out


def lives(row: Delivery, now: datetime) -> bool:
    """Whether it lies ready; its end may not have been written down yet."""
    ready = row.state in SERVED
    return ready and row.expires_at is not None and now < row.expires_at


def asker() -> Asker:
    known = scope.known()
    address = request.remote_addr or ""
    return Asker(known.account.id, known.session.id, scope.actor(), address)


def wish(selection: Selection) -> Wish:
    return Wish(selection.number, selection.source, selection.paths, selection.tables)


def refused(error: StrongroomError) -> tuple[str, int]:
    """What is not there is not there; the rest is said."""
    if isinstance(error, LifecycleError | KeysError):
        raise error
    log.info("a delivery was refused", code=error.code)
    page = render_template("tenant/deliver/refused.html", here=scope.here(), words=said(error.code))
    return page, 404 if isinstance(error, NotFound) else 422


def said(code: str) -> str:
    return gettext(delivery_words.FAILURES.get(code, delivery_words.OTHERWISE))


def noted(runtime: Runtime, code: str, row: Delivery) -> None:
    """On the person's own record as well."""
    with scope.peoples() as db:
        me, at = scope.known().account.id, runtime.now()
        record.note(db, code, me, by=scope.actor(), at=at, about=row.id)


def rung(runtime: Runtime, row: Delivery) -> None:
    """At once; where the broker is away the dispatcher rings later."""
    with suppress(OperationalError):
        ring(
            runtime.app,
            task="restore.deliver",
            queue=Queue.RESTORE,
            tenant=row.tenant_id,
            subject=row.id,
        )
