"""The Flask application: joins everything."""

from __future__ import annotations

from flask import Flask

from strongroom.runtime import Runtime


def create_app(runtime: Runtime) -> Flask:
    """An application around this runtime."""
    app = Flask("web")

    @app.get("/healthz")
    def healthz() -> dict[str, bool]:
        return {"ok": True}

    return app
