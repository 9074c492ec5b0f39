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
from strongroom.storage_errors import Missing, StorageError

_PATH = re.compile(r"/(?:(config)|(keys|locks|snapshots|index|data)/([0-9a-f]{64})?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_LISTING = "application/vnd.x.restic.rest.v2"


class Readable(Protocol):
    """The objects of one repository, under their keys below its prefix."""

    def part(self, key: str, first: int, last: int | None) -> tuple[int, Iterable[bytes]]:
        """Bytes `first` to `last` of an object, both included: how many, and in small pieces."""
        ...

    def sizes(self, prefix: str) -> Iterable[tuple[str, int]]:
        """Key and size in bytes of each object whose key begins with the prefix."""
        ...


@dataclass
class Gateway:
    """An open gateway."""

    address: str  # what restic is told instead of the repository's own
    failures: list[Exception] = field(default_factory=list)  # of the store, oldest first


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
        """Passed on as it comes: a pack is never held in memory."""
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        last = int(wanted[2]) if wanted and wanted[2] else None
        length, pieces = self.store.part(key, first, last)
        if wanted and length == 0:
            self._answer(416)
            return
        self._head(206 if wanted else 200, length, "application/octet-stream")
        try:
            for piece in pieces if self.command != "HEAD" else ():
                self.wfile.write(piece)
        except StorageError as error:  # too late for a status: hang up, and restic asks again
            self.gateway.failures.append(error)
            self.close_connection = True

    def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        self._head(status, len(body), kind)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def address_string(self) -> str:
        return "restic"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: restic reports what matters."""
