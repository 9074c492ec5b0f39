"""A proxy on loopback that sits in front of a region and fails on command.

with FaultProxy("http://127.0.0.1:8333") as proxy:
    region = replace(region, endpoint=proxy.endpoint)
    proxy.fault = Answer503()
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import format_datetime, parsedate_to_datetime
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


@dataclass(frozen=True)
class Answer:
    """Every request is answered so, whatever it asked for."""

    status: str  # "403 Forbidden"
    body: bytes
    kind: str = "application/xml"

    def text(self) -> bytes:
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: {self.kind}\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass(frozen=True)
class Garble:
    """Objects come with other bytes than were stored, under a good status."""


@dataclass(frozen=True)
class EmptyLists:
    """Listings of objects name none; everything else is as it should be."""


@dataclass(frozen=True)
class WrongClock:
    """The region's clock is ahead by so much."""

    ahead: timedelta


Fault = Refuse | Delay | Answer503 | Cut | Answer | Garble | EmptyLists | WrongClock
EXPIRED = Answer(
    "403 Forbidden",
    b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>expired</Message></Error>",
)
PAGE = Answer("200 OK", b"<html><head><title>Sign in</title></head><body/></html>", "text/html")
BROKEN_PAGE = Answer("200 OK", b"<!doctype html><html><br>Sign in to the hotel's", "text/html")
NO_OBJECTS = Answer(
    "200 OK",
    b"<?xml version='1.0'?><ListBucketResult><Name>vault</Name><KeyCount>0</KeyCount>"
    b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>",
)
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>busy</Message></Error>"
DATE = re.compile(rb"Date: ([^\r]+)")
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
                server = socket.create_connection(self._target, 60)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            self._open.add(server)
            asked = _Asked()
            self._run(self._forward, client, server, asked)
            self._run(self._back, server, client, asked)

    def _forward(self, client: socket.socket, server: socket.socket, asked: _Asked) -> None:
        """From client to region; a fault that needs no region is answered here."""
        with suppress(OSError):
            while data := client.recv(65_536):
                asked.note(data)
                answer = self._answer(asked)
                if answer is not None:
                    self.requests += 1
                    client.sendall(answer)
                    break
                server.sendall(data)
        _close(client)
        _close(server)

    def _answer(self, asked: _Asked) -> bytes | None:
        match self.fault:
            case Refuse():
                return b""
            case Answer503():
                return ANSWER_503
            case Answer() as answer:
                return answer.text()
            case EmptyLists() if b"list-type=2" in asked.line:
                return NO_OBJECTS.text()
        return None

    def _back(self, server: socket.socket, client: socket.socket, asked: _Asked) -> None:
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
                    case Garble() if asked.is_object:
                        self.requests += 1
                        data = _garbled(data)
                    case WrongClock(ahead):
                        data = DATE.sub(lambda found, by=ahead: _later(found, by), data)
                client.sendall(data)
                passed += len(data)
        _close(client)
        _close(server)


class _Asked:
    """The request that a connection is busy with."""

    def __init__(self) -> None:
        self.line = b""

    def note(self, data: bytes) -> None:
        first = data.partition(b"\r\n")[0]
        if first.endswith(b"HTTP/1.1"):
            self.line = first

    @property
    def is_object(self) -> bool:
        """Whether it reads one, and not a listing."""
        return self.line.startswith(b"GET") and b"?" not in self.line and b"/t/" in self.line


def _garbled(data: bytes) -> bytes:
    """The body of an answer, or a further piece of it, with its first byte flipped."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        head, end, body = b"", b"", data
    return head + end + bytes([body[0] ^ 0xFF]) + body[1:] if body else data


def _later(found: re.Match[bytes], by: timedelta) -> bytes:
    moment = parsedate_to_datetime(found[1].decode()) + by
    return b"Date: " + format_datetime(moment.astimezone(UTC), usegmt=True).encode()


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
