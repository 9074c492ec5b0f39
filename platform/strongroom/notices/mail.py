"""Mail by SMTP: the one module that knows smtplib.

Every attempt carries the same Message-ID, so that whoever gets a message twice can tell.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from uuid import UUID

from strongroom.notices.errors import NotDelivered
from strongroom.notices.letters import Letter

STEP_SECONDS = 20.0  # for one answer of the server
GREETING = 220
WHOLE_SECONDS = 50.0  # for a message; below the lease of who sends it
PERMANENT = frozenset({501, 504, 550, 551, 553, 554, 555, 556})  # about the address or the message


@dataclass(frozen=True)
class Server:
    """Through which mail leaves."""

    host: str
    port: int
    security: str  # tls: from the first byte; starttls: asked for, and required; none
    sender: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: str | None = None  # PEM


def compose(server: Server, letter: Letter, *, to: str, name: UUID, at: datetime) -> EmailMessage:
    """Text and HTML. Raises NotDelivered for an address that no header takes."""
    message = EmailMessage(policy=SMTP)
    try:
        if "@" not in to:
            raise ValueError("no address")
        message["From"] = f"Strongroom <{server.sender}>"
        message["To"] = to
        message["Subject"] = " ".join(letter.subject.split())
        message["Date"] = format_datetime(at)
        message["Message-ID"] = message_id(server, name)
        message["Auto-Submitted"] = "auto-generated"
        if letter.refuse_at is not None:
            message["List-Unsubscribe"] = f"<{letter.refuse_at}>"
    except (ValueError, IndexError) as error:
        raise NotDelivered(
            f"No mail can be addressed so: {type(error).__name__}.",
            code="bad-address",
            permanent=True,
        ) from error
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def message_id(server: Server, name: UUID) -> str:
    return f"<{name}@{server.sender.rpartition('@')[2]}>"


def send(server: Server, letter: Letter, *, to: str, name: UUID, at: datetime) -> dict[str, Any]:
    """The receipt, once the server has said that it has the message. Raises NotDelivered."""
    message = compose(server, letter, to=to, name=name, at=at)
    try:
        with _connected(server) as line:
            if server.username is not None and server.password is not None:
                line.login(server.username, server.password)
            refused = line.send_message(message, from_addr=server.sender, to_addrs=[to])
    except smtplib.SMTPException as error:
        raise _explained(server, error) from None  # what the server says may quote what we sent
    except (OSError, ssl.SSLError, ValueError) as error:
        raise NotDelivered(
            f"The mail server {server.host}:{server.port} could not be used: {_short(error)}.",
            code="mail-unreachable",
        ) from None
    if refused:
        raise NotDelivered("The mail server refused the address.", code="mail-refused")
    return {"by": "email", "server": server.host, "message_id": message_id(server, name)}


@contextmanager
def _connected(server: Server) -> Iterator[smtplib.SMTP]:
    """A session over TLS, unless the server was said to have none; cut off when it takes too long."""
    secured = ssl.create_default_context(cadata=server.authority)
    line: smtplib.SMTP = (
        smtplib.SMTP_SSL(timeout=STEP_SECONDS, context=secured)
        if server.security == "tls"
        else smtplib.SMTP(timeout=STEP_SECONDS)
    )
    line._host = server.host  # type: ignore[attr-defined]  # what STARTTLS checks; `connect` sets it not
    end = threading.Timer(WHOLE_SECONDS, _cut, [line])
    end.daemon = True
    end.start()
    try:
        code, said = line.connect(server.host, server.port)
        if code != GREETING:
            raise smtplib.SMTPConnectError(code, said)
        if server.security == "starttls":
            line.starttls(context=secured)  # raises where the server offers none
        yield line
        _leave(line)
    finally:
        end.cancel()
        line.close()


def _leave(line: smtplib.SMTP) -> None:
    """The message is taken already: how the goodbye goes changes nothing."""
    try:
        line.quit()
    except (smtplib.SMTPException, OSError):
        return


def _cut(line: smtplib.SMTP) -> None:
    held = line.sock
    if held is not None:
        try:
            held.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _explained(server: Server, error: smtplib.SMTPException) -> NotDelivered:
    """By code alone; words of the server are not repeated."""
    code = _code(error)
    where = f"The mail server {server.host}:{server.port}"
    match error:
        case smtplib.SMTPAuthenticationError():
            return NotDelivered(f"{where} refused our sign-in ({code}).", code="mail-sign-in")
        case smtplib.SMTPNotSupportedError():
            return NotDelivered(f"{where} cannot do what is set for it.", code="mail-not-secure")
        case smtplib.SMTPServerDisconnected():
            return NotDelivered(f"{where} hung up.", code="mail-unreachable")
    return NotDelivered(
        f"{where} did not take the message ({code}).",
        code="mail-refused",
        permanent=code in PERMANENT,
        answer=code,
    )


def _code(error: smtplib.SMTPException) -> int | None:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next((answer[0] for answer in error.recipients.values()), None)
    return int(error.smtp_code) if isinstance(error, smtplib.SMTPResponseException) else None


def _short(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid here ({error.verify_message})"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
