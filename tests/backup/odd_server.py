"""Servers that speak PostgreSQL's protocol as far as a hostile one would, and then no further."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from backup.sources.connection import Access
from backup.sources.postgres import Postgres

Answer = Callable[[str], Iterable[bytes] | None]  # to a question: one field a row; None: no answer
TEXT = 25  # the type of every field, as pg_type numbers it
STARTUP = 196608  # version 3.0 of the protocol


def mute(question: str) -> Iterable[bytes] | None:
    """It takes the sign-in, and never says another word."""
    return None


@dataclass
class OddServer:
    """Where it listens and what it answers; `answer` may be changed at any time."""

    port: int
    answer: Answer
    open: list[socket.socket] = field(default_factory=list)

    @property
    def source(self) -> Postgres:
        return Postgres("127.0.0.1", self.port, "ada", "books")

    @property
    def access(self) -> Access:
        return Access(b"not asked for", "127.0.0.1")


@contextmanager
def odd_server(answer: Answer) -> Iterator[OddServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = OddServer(listener.getsockname()[1], answer)
    threads = [threading.Thread(target=_accept, args=(server, listener), daemon=True)]
    threads[0].start()
    try:
        yield server
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for line in server.open:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        threads[0].join(5)


def _accept(server: OddServer, listener: socket.socket) -> None:
    serving: list[threading.Thread] = []
    with suppress(OSError):
        while True:
            line, _ = listener.accept()
            server.open.append(line)
            serving.append(threading.Thread(target=_serve, args=(server, line), daemon=True))
            serving[-1].start()
    for each in serving:
        each.join(5)


def _serve(server: OddServer, line: socket.socket) -> None:
    with line, suppress(OSError, struct.error), line.makefile("rb") as stream:
        while _startup(stream.read(struct.unpack("!I", stream.read(4))[0] - 4)) != STARTUP:
            line.sendall(b"N")  # no encryption
        settings = {"server_version": "18.0", "client_encoding": "UTF8", "DateStyle": "ISO"}
        words = [_message(b"S", f"{name}\0{value}\0".encode()) for name, value in settings.items()]
        line.sendall(_message(b"R", bytes(4)) + b"".join(words))  # welcome, without a password
        line.sendall(_message(b"K", struct.pack("!II", 1, 2)) + _message(b"Z", b"I"))
        question = ""
        while kind := stream.read(1):
            body = stream.read(struct.unpack("!I", stream.read(4))[0] - 4)
            if kind in (b"Q", b"P"):  # a question, alone or to be prepared under a name
                question = body.decode().split("\0")[0 if kind == b"Q" else 1]
            if kind in (b"Q", b"S"):
                _reply(server, line, question, prepared=kind == b"S")


def _startup(body: bytes) -> int:
    return int(struct.unpack("!I", body[:4])[0])


def _reply(server: OddServer, line: socket.socket, question: str, *, prepared: bool) -> None:
    done = _message(b"C", b"SELECT 0\0") + _message(b"Z", b"T")
    if not prepared:
        line.sendall(done if server.answer is not mute else b"")
        return
    rows = server.answer(question)
    if rows is None:
        return
    shape = b"field\0" + struct.pack("!IhIhih", 0, 0, TEXT, -1, -1, 0)
    line.sendall(_message(b"1", b"") + _message(b"2", b""))
    line.sendall(_message(b"T", struct.pack("!h", 1) + shape))
    for row in rows:
        line.sendall(_message(b"D", struct.pack("!hi", 1, len(row)) + row))
    line.sendall(done)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
