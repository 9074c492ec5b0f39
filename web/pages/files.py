"""Scripts, styles and fonts: the address carries a hash of the file, so it may be kept for ever.

They alone are compressed. A page holds a form token beside words that others chose, and how well
it compresses would tell one from the other (the BREACH attack).
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache, lru_cache
from pathlib import Path

from flask import Flask, Response, request, url_for

FOR_EVER = "public, max-age=31536000, immutable"
SQUEEZED = frozenset({".css", ".js", ".svg"})
FOLDER = Path(__file__).parents[1] / "static"


def register(app: Flask) -> None:
    app.jinja_env.globals["file_url"] = file_url
    app.after_request(_keep)
    app.after_request(_squeeze)


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


def _squeeze(response: Response) -> Response:
    name = (request.view_args or {}).get("filename", "")
    if request.endpoint != "static" or Path(name).suffix not in SQUEEZED:
        return response
    response.vary.add("Accept-Encoding")
    if response.status_code == 200 and request.accept_encodings["gzip"]:
        response.close()  # the file
        response.direct_passthrough = False
        response.set_data(squeezed(name))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("ETag", None)  # of the other form
    return response


@lru_cache(maxsize=64)
def squeezed(name: str) -> bytes:
    return gzip.compress((FOLDER / name).read_bytes(), mtime=0)
