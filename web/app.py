"""The Flask application: joins everything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from flask import Flask, Response, render_template, request
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import Forbidden, HTTPException, NotFound
from werkzeug.middleware.proxy_fix import ProxyFix

from strongroom.audit import entries
from strongroom.audit.entries import Whence
from strongroom.audit.leaves import Channel
from strongroom.db import NoDatabaseUrl
from strongroom.people import passwords
from strongroom.people.errors import NotProven
from strongroom.people.rules import OWNERS, RULES, Action
from strongroom.runtime import Runtime
from web import cookies, scope
from web.pages import (
    account,
    alerts,
    console,
    enrolling,
    failures,
    files,
    formats,
    heatmap,
    language,
    metrics,
    probes,
    promises,
    signing,
    support,
    tenant,
    words,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Nothing from elsewhere, nothing inline; scripts and styles are files of ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MOST_BYTES = 256 * 1024  # of a form
EXPLAINED = (Forbidden, NotFound)  # pages of their own; others say no more than that it failed

log = structlog.get_logger(__name__)


def create_app(runtime: Runtime) -> Flask:
    """An application around this runtime; nothing is connected before the first request."""
    app = Flask("web")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    site = cookies.site_of(runtime)
    passwords.warm_up()
    entries.come_from(Channel.PAGE)
    app.wsgi_app = _Sourced(app.wsgi_app)  # type: ignore[assignment, method-assign]
    if runtime.settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, runtime.settings.proxies, 0)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    cookies.register(app, site)
    scope.register(app, runtime, site)
    app.context_processor(
        lambda: {"signed_in": scope.somebody(), "sees_alerts": alerts.is_for_them}
    )
    language.register(app)
    formats.register(app)
    words.register(app)
    files.register(app)
    app.register_blueprint(probes.make(runtime))
    app.register_blueprint(metrics.make(runtime))
    for blueprint in (
        console.make(runtime),
        heatmap.make(runtime),
        failures.make(runtime),
        promises.make(runtime),
        signing.make(runtime, site),
        enrolling.make(runtime, site),
        account.make_home(runtime),
        account.make(runtime, site),
        support.make(runtime),
        alerts.make(runtime),
        tenant.make(runtime, site),
    ):
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(OperationalError, _no_database)
    app.register_error_handler(NoDatabaseUrl, _no_database_url)
    app.register_error_handler(NotProven, _changed_meanwhile)
    app.after_request(_guard)
    return app


class _Sourced:
    """What a request does is on record with the address that it came from."""

    def __init__(self, inner: WSGIApplication) -> None:
        self._inner = inner

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse, /
    ) -> Iterable[bytes]:
        with entries.coming_from(Whence(Channel.PAGE, environ.get("REMOTE_ADDR", ""))):
            return self._inner(environ, start_response)


def _guard(response: Response) -> Response:
    """What a page shows is of many tenants: it is kept nowhere, and framed by nobody.

    A view that gives out a tenant's own data says something stricter for it.
    """
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _explain(error: HTTPException) -> tuple[str, int] | HTTPException:
    if error.response is not None or error.code is None or error.code < 400:
        return error
    refused = scope.refused_here() if request.blueprint == "tenant" else None
    if isinstance(error, Forbidden) and refused is not None:
        where, action = refused
        rule = RULES[action]
        asks = scope.person().staff in RULES[Action.ASK_GRANT].staff
        page = render_template(
            "errors/403_tenant.html",
            here=where,
            owners_only=rule.tenant == OWNERS,
            grantable=rule.grant is not None and asks,
        )
        return page, error.code
    kind = "error" if not isinstance(error, EXPLAINED) else str(error.code)
    elsewhere = error.description == "elsewhere"
    page = render_template(f"errors/{kind}.html", code=error.code, elsewhere=elsewhere)
    return page, error.code


def _changed_meanwhile(_error: NotProven) -> tuple[str, int]:
    """The session was proven, revoked or ended in another window, between two statements."""
    return render_template("errors/401.html"), 401


def _no_database_url(error: NoDatabaseUrl) -> tuple[str, int]:
    log.error("a page needs a role of the database that this process has not", error=str(error))
    return render_template("errors/503.html", code=503), 503


def _no_database(error: OperationalError) -> tuple[str, int]:
    log.error("a page had no database", path=request.path, error=str(error.orig))
    return render_template("errors/503.html", code=503), 503
