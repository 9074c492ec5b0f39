"""A page with a part that renews itself: sent whole, alone, or not at all where nothing changed.

The moving part carries a version. Asked for by the page itself (`own/renew.js`) with that version,
it comes alone, or as 304 when nothing in it has changed.
"""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, make_response, render_template, request

from web.pages import language

BUSY_SECONDS = 2  # while something runs; then a page renews itself this often
IDLE_SECONDS = 30
STILL = None  # nothing will change by itself any more


def send(name: str, /, *, seconds: int | None, **values: Any) -> Response:
    """The page `name.html`, which includes `moving.html` where its part `name_part.html` stands.

    Once it is STILL, a browser that asks for the part loads the page anew: it has other forms then.
    """
    if seconds is STILL and "HX-Request" in request.headers:
        answer = make_response("")
        answer.headers["HX-Refresh"] = "true"
        return answer
    part = render_template(f"{name}_part.html", **values)
    version = hashlib.sha256(f"{seconds}{part}".encode()).hexdigest()[:32]
    address = language.other_url(str(language.locale().language))
    frame = {"part": part, "version": version, "seconds": seconds, "address": address}
    if "HX-Request" not in request.headers:
        return make_response(render_template(f"{name}.html", **frame, **values))
    if request.if_none_match.contains(version):
        return Response(status=304)
    return make_response(render_template("moving.html", **frame))
