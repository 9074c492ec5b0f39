"""Scripts, styles and fonts: the address carries a hash of the file, so it may be kept for ever."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, Response, request, url_for

FOR_EVER = "public, max-age=31536000, immutable"
FOLDER = Path(__file__).parents[1] / "static"


def register(app: Flask) -> None:
    app.jinja_env.globals["file_url"] = file_url
    app.after_request(_keep)


def file_url(name: str) -> str:
    """The address of a file below static/."""
    return url_for("static", filename=name, v=fingerprint(name))


@cache
def fingerprint(name: str) -> str:
    return hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]


def _keep(response: Response) -> Response:
    if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
        response.headers["Cache-Control"] = FOR_EVER
    return response
