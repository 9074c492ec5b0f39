"""`/alerts`: what needs an operator, with the same acts as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from strongroom import signs_of_life
from strongroom.alerts import keeping
from strongroom.alerts.keeping import BadAct
from strongroom.alerts.models import Alert
from strongroom.db import Role
from strongroom.errors import NotFound
from strongroom.notices import channels
from strongroom.people.rules import RULES, Action
from strongroom.runtime import Runtime
from web import scope
from web.notices import words
from web.pages.formats import ltr, number
from web.pages.language import N_, gettext

BAD_REASON = N_("Say why in 3 to 500 characters: whoever comes next reads it.")
BAD_END = N_("A snooze ends in the future, at most 30 days from now.")
OVER = N_("This alert is over already.")
WRONG = {"alert-reason": BAD_REASON, "snooze-end": BAD_END, "alert-over": OVER}
SPANS = (1, 4, 24, 72, 168)  # hours that a snooze may last, as offered
RECENT = 20


@dataclass(frozen=True)
class Line:
    """One alert as the page says it."""

    row: Alert
    title: str
    cause: Markup | None
    counted: str
    todo: str
    command: str
    standing: str  # open, acknowledged, snoozed or over


def is_for_them() -> bool:
    """Whether whoever asks has a page of alerts."""
    found = scope.somebody()
    return found is not None and found.account.staff in RULES[Action.SEE_CONSOLE].staff


def make(runtime: Runtime) -> Blueprint:
    alerts = Blueprint("alerts", __name__, url_prefix="/alerts")

    @alerts.get("/")
    @scope.platform(Action.SEE_CONSOLE)
    def overview() -> str:
        return page(runtime)

    @alerts.post("/<uuid:alert_id>/acknowledge")
    @scope.platform(Action.OPERATE)
    def acknowledge(alert_id: UUID) -> tuple[str, int] | AnyResponse:
        why, by = request.form.get("reason", ""), scope.actor()
        return act(
            runtime, lambda db, now: keeping.acknowledge(db, alert_id, why=why, by=by, now=now)
        )

    @alerts.post("/<uuid:alert_id>/snooze")
    @scope.platform(Action.OPERATE)
    def snooze(alert_id: UUID) -> tuple[str, int] | AnyResponse:
        why, by = request.form.get("reason", ""), scope.actor()
        hours = min(max(request.form.get("hours", 0, type=int), 0), 10_000)
        span = timedelta(hours=hours)
        return act(
            runtime,
            lambda db, now: keeping.snooze(db, alert_id, until=now + span, why=why, by=by, now=now),
        )

    return alerts


def act(
    runtime: Runtime, wanted: Callable[[Session, datetime], Any]
) -> tuple[str, int] | AnyResponse:
    try:
        with runtime.database.session(Role.OPERATOR) as db:
            wanted(db, runtime.now())
    except NotFound:
        abort(404)
    except BadAct as error:
        return page(runtime, wrong=WRONG.get(error.code)), 422
    return redirect(url_for("alerts.overview"), code=303)


def page(runtime: Runtime, *, wrong: str | None = None) -> str:
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR) as db:
        standing = [line(row, now) for row in keeping.still_open(db)]
        over = [line(row, now) for row in keeping.closed(db, most=RECENT)]
        reached = channels.in_use(db)
        watched = signs_of_life.carried(db)
    return render_template(
        "alerts.html",
        standing=standing,
        over=over,
        reached=reached,
        watched=watched,
        waiting=sum(each.standing == "open" for each in standing),
        may_act=scope.can(Action.OPERATE),
        spans=SPANS,
        now=now,
        wrong=wrong,
    )


def line(row: Alert, now: datetime) -> Line:
    said = keeping.said(row)
    meaning = words.meaning(row.code)
    cause = words.cause_of(said)
    counted = ""
    if meaning.counted:
        counted = gettext(meaning.counted, count=number(row.count), worst=ltr(row.worst))
    return Line(
        row=row,
        title=gettext(meaning.title),
        cause=ltr(cause) if cause else None,
        counted=Markup(counted),  # noqa: S704 - words of ours around what `ltr` has escaped
        todo=gettext(meaning.todo),
        command=words.command(said),
        standing=keeping.standing(row, now=now),
    )
