"""The Flask application: joins everything."""

from __future__ import annotations

import structlog
from flask import Flask, Response, render_template, request
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import Forbidden, HTTPException, NotFound

from strongroom.runtime import Runtime
from web.pages import console, files, formats, language, probes, words

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
EXPLAINED = (Forbidden, NotFound)  # pages of their own; others say no more than that it failed

log = structlog.get_logger(__name__)


def create_app(runtime: Runtime) -> Flask:
    """An application around this runtime; nothing is connected before the first request."""
    app = Flask("web")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    language.register(app)
    formats.register(app)
    words.register(app)
    files.register(app)
    app.register_blueprint(probes.make(runtime))
    app.register_blueprint(console.make(runtime))
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(OperationalError, _no_database)
    app.after_request(_guard)
    return app


def _guard(response: Response) -> Response:
    """What a page shows is of many tenants: it is kept nowhere, and framed by nobody."""
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _explain(error: HTTPException) -> tuple[str, int] | HTTPException:
    if error.response is not None or error.code is None or error.code < 400:
        return error
    kind = "error" if not isinstance(error, EXPLAINED) else str(error.code)
    return render_template(f"errors/{kind}.html", code=error.code), error.code


def _no_database(error: OperationalError) -> tuple[str, int]:
    log.error("a page had no database", path=request.path, error=str(error.orig))
    return render_template("errors/503.html", code=503), 503
