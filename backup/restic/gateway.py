"""A repository's objects, read by restic through us instead of with credentials of its own.

restic takes one set of S3 credentials for both sides of a `copy`. Two regions of two providers
have two, so we fetch the source's objects and hand them to restic over a socket in a folder that
only its account may enter, in the way of restic's REST server (reading only). What passes is
still sealed; the source's credentials never leave this process.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any, Protocol

from strongroom.program import Account
from strongroom.storage_errors import Missing

_PATH = re.compile(r"/(?:(config)|(keys|locks|snapshots|index|data)/([0-9a-f]{64})?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_LISTING = "application/vnd.x.restic.rest.v2"


class Readable(Protocol):
    """The objects of one repository, under their keys below its prefix."""

    def get(self, key: str) -> bytes: ...

    def sizes(self, prefix: str) -> Iterable[tuple[str, int]]:
        """Key and size in bytes of each object whose key begins with the prefix."""
        ...


@dataclass
class Gateway:
    """An open gateway."""

    address: str  # what restic is told instead of the repository's own
    failures: list[Exception] = field(default_factory=list)  # of the store, oldest first
    # Objects come whole, and restic asks for five at once: two packs are memory enough.
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))


@contextmanager
def opened(store: Readable, account: Account | None = None) -> Iterator[Gateway]:
    """Serve the store until the end of the block, to that account alone."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        socket = Path(folder) / "socket"
        gateway = Gateway(f"rest:http+unix://{socket}:/")
        with _Server(str(socket), _handler(store, gateway)) as server:
            if account is not None:
                os.chown(folder, account.uid, account.gid)
                os.chown(socket, account.uid, account.gid)
            thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
            thread.start()
            try:
                yield gateway
            finally:
                server.shutdown()
                thread.join()


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """restic hung up; it says itself what it makes of that."""


def _handler(store: Readable, gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.store, Handler.gateway = store, gateway
    return Handler


class _Handler(BaseHTTPRequestHandler):
    """One connection of restic's."""

    protocol_version = "HTTP/1.1"
    store: Readable
    gateway: Gateway

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def _serve(self) -> None:
        found = _PATH.fullmatch(self.path)
        if found is None:
            self._answer(404)
            return
        try:
            with self.gateway.turns:
                self._found(config=bool(found[1]), folder=found[2], name=found[3])
        except (Missing, FileNotFoundError):
            self._answer(404)
        except OSError:
            raise  # the connection, not the store
        except Exception as error:  # noqa: BLE001 - told to who opened the gateway
            self.gateway.failures.append(error)
            # restic repeats for minutes after 500, and gives up at once after 403.
            self._answer(403 if getattr(error, "permanent", False) else 500)

    def _found(self, *, config: bool, folder: str, name: str | None) -> None:
        if config:
            self._object("config")
        elif name is None:
            listed = self.store.sizes(f"{folder}/")
            rows = [{"name": key.rpartition("/")[2], "size": size} for key, size in listed]
            self._answer(200, json.dumps(rows).encode(), kind=_LISTING)
        else:
            self._object(f"data/{name[:2]}/{name}" if folder == "data" else f"{folder}/{name}")

    def _object(self, key: str) -> None:
        content = self.store.get(key)
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None:
            self._answer(200, content)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
        if start >= len(content) > 0:
            self._answer(416)
        else:
            self._answer(206, memoryview(content)[start : end + 1])

    def _answer(
        self, status: int, body: bytes | memoryview = b"", kind: str = "application/octet-stream"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def address_string(self) -> str:
        return "restic"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: restic reports what matters."""
