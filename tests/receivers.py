"""Real receiving sides on loopback: a mail server and a server of webhooks.

mail_server    aiosmtpd with TLS and a sign-in, where asked for: `MailSink`
hook_server    takes POSTs and answers as it is told: `HookSink`
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from strongroom.stack import certificates

USER, PASSWORD = "strongroom", "mail-password-7f3a"


@dataclass
class MailSink:
    """What a mail server was given."""

    port: int = 0
    authority: str | None = None  # PEM
    answer: str = "250 taken"
    letters: list[EmailMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # addresses

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answer.startswith("250"):
            letter: Any = message_from_bytes(envelope.content, policy=policy.default)
            self.letters.append(letter)
        return self.answer


@contextmanager
def mail_server(folder: Path | None = None) -> Iterator[MailSink]:
    """Plain on loopback; with a folder for its key, STARTTLS and a sign-in are required."""
    sink = MailSink()
    more: dict[str, Any] = {}
    if folder is not None:
        context, sink.authority = tls(folder)
        more = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": _authenticate,
        }
    server = _started(sink, more)
    try:
        yield sink
    finally:
        server.stop()


def _started(sink: MailSink, more: dict[str, Any]) -> Controller:
    """On a port that is free; others may take it before we do, and then it is another."""
    for left in reversed(range(5)):
        with socket.create_server(("127.0.0.1", 0)) as free:
            sink.port = free.getsockname()[1]
        server = Controller(sink, hostname="127.0.0.1", port=sink.port, ready_timeout=120.0, **more)
        try:
            server.start()
        except OSError:
            if not left:
                raise
        else:
            return server
    raise AssertionError


def _authenticate(_server: Any, _session: Any, _envelope: Any, _way: str, data: Any) -> AuthResult:
    right = data.login == USER.encode() and data.password == PASSWORD.encode()
    return AuthResult(success=right, handled=False)


def tls(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context for 127.0.0.1, and who vouches for it."""
    file = folder / "server.pem"
    file.write_bytes(certificates.make())
    file.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    text = file.read_text()
    return context, text[text.index("-----BEGIN CERTIFICATE") :]


@dataclass
class HookSink:
    """What a server of webhooks was sent, and how it answers."""

    port: int = 0
    status: int = 204
    location: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)  # set: answers at once
    came: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden-in-the-url"


@contextmanager
def hook_server() -> Iterator[HookSink]:
    sink = HookSink()
    sink.held.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.requests.append((self.path, headers, body))
            sink.came.set()
            sink.held.wait(30)
            self.send_response(sink.status)
            if sink.location:
                self.send_header("Location", sink.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sink.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.held.set()
        server.shutdown()
        server.server_close()
        thread.join()
