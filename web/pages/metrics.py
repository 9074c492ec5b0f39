"""`/metrics` for Prometheus: with the token of the settings, or from this machine alone."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_LATEST

from strongroom.people.providers import is_loopback
from strongroom.runtime import Runtime
from strongroom.settings import Settings
from web.metrics.collecting import Collector

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def make(runtime: Runtime) -> Blueprint:
    """One collector a process: it keeps what it read for a while."""
    metrics = Blueprint("metrics", __name__)
    collector = Collector(runtime)

    @metrics.get("/metrics")
    def show() -> Response:
        if not may(runtime.settings):
            wanted = {"WWW-Authenticate": "Bearer"} if runtime.settings.metrics_token else {}
            return Response("Not for you.\n", 401 if wanted else 403, wanted, mimetype="text/plain")
        return Response(collector.page(), content_type=CONTENT_TYPE_LATEST)

    return metrics


def may(settings: Settings) -> bool:
    """Without a token only who is on this machine, and asked us without anybody in between."""
    if settings.metrics_token:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        wanted = settings.metrics_token.encode()
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), wanted)
    passed_on = any(name in request.headers for name in FORWARDED)
    # A proxy on this machine need not say so: pages that others reach show nothing without a token.
    public = settings.proxies > 0 or not is_loopback(urlsplit(settings.web).hostname or "")
    return not public and not passed_on and is_loopback(request.remote_addr or "")
