"""The web process: gunicorn around the pages."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from strongroom.settings import Settings
from web import parts


def web(settings: Settings, *, host: str, port: int, workers: int = 1) -> None:
    """Serve the pages until SIGTERM; an embedded stack that has not said where, at localhost."""
    from web.app import create_app  # every other command starts without loading the pages

    if not settings.web:
        settings = replace(settings, web=f"http://localhost:{port}")
    options = {
        "bind": f"{host}:{port}",
        "workers": workers,
        "threads": 8,
        "worker_class": "gthread",
        "loglevel": "warning",
        "control_socket_disable": True,
    }
    _Gunicorn(lambda: create_app(parts.make_runtime(settings)), options).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """gunicorn without a command line of its own."""

    def __init__(self, make: Callable[[], Flask], options: dict[str, Any]) -> None:
        self._make = make
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        made = self._make()
        settle()
        return made


def settle() -> None:
    """What is loaded by now stays for ever: no collection of garbage looks through it again. One
    that does takes longer than a page."""
    gc.collect()
    gc.freeze()
