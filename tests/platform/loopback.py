"""An HTTP server on loopback for hand-written fakes: a function from request to answer.

It fails on command: `fault` is asked before the function, and what it gives is answered instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]  # names in small letters
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # to wait before it is given


class Loopback:
    """Serves from a thread until the block ends."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.fault: Callable[[Asked], Answer | None] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                heads = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, heads, body)
                given = outer.fault(asked) if outer.fault else None
                given = given or answer(asked)
                if given.seconds and outer.stopped.wait(given.seconds):
                    self.close_connection = True
                    return
                try:
                    self.send_response(given.status)
                    for name, value in given.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(given.body)))
                    self.end_headers()
                    self.wfile.write(given.body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # who asked did not wait

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, format: str, *args: object) -> None:
                return

        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
