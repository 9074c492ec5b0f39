"""A page with a moving part: whole, its part alone, or the word that nothing has changed."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, make_response, render_template, request

from web.pages import language

NEVER = 24 * 3600  # seconds: nothing will change any more


def send(name: str, *, seconds: int, **values: Any) -> Response:
    """The page `name.html` around `name_part.html`, which asks for itself again after `seconds`."""
    part = render_template(f"{name}_part.html", **values)
    version = hashlib.sha256(f"{seconds}{part}".encode()).hexdigest()[:32]
    address = language.other_url(str(language.locale().language))
    frame = {"part": part, "version": version, "seconds": seconds, "address": address}
    if "HX-Request" not in request.headers:
        return make_response(render_template(f"{name}.html", **frame, **values))
    if request.if_none_match.contains(version):
        return Response(status=304)
    return make_response(render_template("moving.html", **frame))
