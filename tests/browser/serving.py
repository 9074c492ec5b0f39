"""The pages on a port of this machine, served out of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from werkzeug.serving import make_server

from strongroom.runtime import Runtime
from web.app import create_app


@contextmanager
def served(runtime: Runtime) -> Iterator[str]:
    """The address, for the length of the block. Browsers know passkeys at localhost only."""
    server = make_server("127.0.0.1", 0, _Later(), threaded=True)
    origin = f"http://localhost:{server.server_port}"
    server.app = create_app(replace(runtime, settings=replace(runtime.settings, web=origin)))
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Later:
    """The port is needed to make the application."""

    def __call__(self, *_: object) -> list[bytes]:
        raise AssertionError("nobody asks before it is there")
