"""Pages with a part that renews itself: sent whole, or the part alone, or that nothing changed."""

from __future__ import annotations

import hashlib

from flask import Response, make_response, render_template, request

from web.pages import language

BUSY_SECONDS = 2  # while something runs; then a page renews itself this often
IDLE_SECONDS = 30


def send(whole: str, part: str, *, moving: bool, **values: object) -> Response:
    """The page `whole`, in which the text `part` renews itself for as long as something moves.

    Once nothing moves any more the browser is told to load the page anew: it has other forms then.
    """
    if not moving:
        if "HX-Request" in request.headers:
            answer = make_response("")
            answer.headers["HX-Refresh"] = "true"
            return answer
        return make_response(render_template(whole, part=part, moving=False, **values))
    version = hashlib.sha256(f"{BUSY_SECONDS}{part}".encode()).hexdigest()[:32]
    address = language.other_url(str(language.locale().language))
    frame = {"part": part, "version": version, "seconds": BUSY_SECONDS, "address": address}
    if "HX-Request" not in request.headers:
        return make_response(render_template(whole, moving=True, **frame, **values))
    if request.if_none_match.contains(version):
        return Response(status=304)
    return make_response(render_template("moving.html", **frame))
