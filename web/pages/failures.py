"""`/failures`: why backups fail, by cause, and trying all of one reason again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import failures, scope
from web.failures import Cause, Group
from web.pages.language import N_
from web.pages.moving import IDLE_SECONDS, send

# What has to be mended, what to do, and the command, where there is one.
WORDS: Mapping[Cause, tuple[str, str, str | None]] = {
    Cause.KEYS: (
        N_("Keys"),
        N_("Nothing can be opened or stored without them. Look at the key store first."),
        "strongroom doctor",
    ),
    Cause.STORAGE: (
        N_("Storage"),
        N_("A region does not do what is asked of it. See which, and why."),
        "strongroom region check",
    ),
    Cause.CREDENTIALS: (
        N_("Sign-in to the source"),
        N_("A password or a right was changed. Give the source its new one."),
        "strongroom source --help",
    ),
    Cause.SOURCE: (
        N_("The source is not there"),
        N_("See whether it runs, is mounted and has its old name."),
        None,
    ),
    Cause.DUMP: (
        N_("Reading the source broke off"),
        N_("See its log at that time; a dump that broke off is never kept."),
        None,
    ),
    Cause.CORRUPT: (
        N_("Damage in what is stored"),
        N_("It is mended from another region by itself where that can be. Look at the findings."),
        "strongroom finding list",
    ),
    Cause.ROOM: (
        N_("No room"),
        N_("Free some space below the workers' folder."),
        "strongroom doctor",
    ),
    Cause.LOCK: (
        N_("Somebody else works there"),
        N_("It is tried again by itself; look at it when it lasts for hours."),
        None,
    ),
    Cause.PERMISSION: (
        N_("Not allowed"),
        N_("The allow-list or the tenant's contract forbids it. Change one or the other."),
        None,
    ),
    Cause.WORKERS: (
        N_("The workers"),
        N_("A program failed, took too long or was lost. Read the workers' log."),
        None,
    ),
    Cause.OTHER: (N_("Something else"), N_("Look at each tenant's page."), None),
}


@dataclass(frozen=True)
class Page:
    """What fails."""

    groups: Sequence[Group]
    at: datetime | None
    old: bool
    may_try: bool
    words: Mapping[Cause, tuple[str, str, str | None]]
    tried: int | None  # how many are tried again, right after asking


def make(runtime: Runtime) -> Blueprint:
    """`/failures`."""
    blueprint = Blueprint("failures", __name__)

    @blueprint.get("/failures")
    @scope.platform(Action.SEE_CONSOLE)
    def overview() -> Response:
        now = runtime.now()
        groups, taken = failures.read(runtime)
        page = Page(
            groups=groups,
            at=taken.at,
            old=taken.is_old(now),
            may_try=scope.can(Action.OPERATE),
            words=WORDS,
            tried=request.args.get("tried", type=int),
        )
        return send("failures", seconds=IDLE_SECONDS, now=now, page=page)

    @blueprint.post("/failures/again")
    @scope.platform(Action.OPERATE)
    def again() -> AnyResponse:
        tried = failures.again(runtime, request.form.get("code", ""), by=scope.actor())
        return redirect(url_for("failures.overview", tried=len(tried)), code=303)

    return blueprint
