"""A proxy on loopback that sits in front of a region and fails on command.

with FaultProxy("http://127.0.0.1:8333") as proxy:
    region = replace(region, endpoint=proxy.endpoint)
    proxy.fault = Answer503()
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Refuse:
    """Connections are reset before a byte is answered."""


@dataclass(frozen=True)
class Delay:
    """Answers come later, or not at all once the proxy stops."""

    seconds: float


@dataclass(frozen=True)
class Answer503:
    """Every request is answered with SlowDown, as an overloaded region does."""


@dataclass(frozen=True)
class Cut:
    """The connection breaks off after so many bytes of an answer."""

    after: int


Fault = Refuse | Delay | Answer503 | Cut
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>busy</Message></Error>"
ANSWER_503 = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(SLOW_DOWN), SLOW_DOWN)
)


class FaultProxy:
    """Passes bytes on both ways; `fault` counts for what is read from then on."""

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._target = (str(address.hostname), int(address.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self.fault: Fault | None = None
        self.requests = 0  # connections and requests that met a fault
        self.answered = 0  # bytes that the region sent

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody listens there any more, and what was open is closed."""
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            _close(connection)
        for thread in list(self._threads):
            thread.join(5)

    def _run(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(client)
            try:
                server = socket.create_connection(self._target, 5)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            self._open.add(server)
            self._run(self._forward, client, server)
            self._run(self._back, server, client)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """From client to region; a fault that needs no region is answered here."""
        with suppress(OSError):
            while data := client.recv(65_536):
                if isinstance(self.fault, Refuse | Answer503):
                    self.requests += 1
                    if isinstance(self.fault, Answer503):
                        client.sendall(ANSWER_503)
                    break
                server.sendall(data)
        _close(client)
        _close(server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := server.recv(65_536):
                self.answered += len(data)
                match self.fault:
                    case Delay(seconds):
                        self.requests += 1
                        self._stopped.wait(seconds)
                    case Cut(after):
                        self.requests += 1
                        client.sendall(data[: max(0, after - passed)])
                        if passed + len(data) >= after:
                            break
                        passed += len(data)
                        continue
                client.sendall(data)
                passed += len(data)
        _close(client)
        _close(server)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
