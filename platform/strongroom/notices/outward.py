"""HTTP to servers that somebody named: one request, to an address that was judged, and no other.

The name is resolved once (`hosts.pin`) and the judged address is the one that is connected to, with
the name kept for TLS and `Host`. No redirect is followed, no proxy used; the answer is cut.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from strongroom import hosts
from strongroom.errors import BadValue, Refused
from strongroom.hosts import HostRule, Resolve
from strongroom.notices.errors import BadChannel, NotDelivered

STEP_SECONDS = 10.0  # for connecting, and for each read
WHOLE_SECONDS = 30.0  # for all of it; below the lease of who sends
MOST_BYTES = 64 * 1024  # read of an answer
URL_MOST = 2000


@dataclass(frozen=True)
class Target:
    """A checked address of a server."""

    scheme: str
    host: str
    port: int
    path: str  # with the query
    authority: str | None = None  # PEM: who vouches for the server, where that is nobody known

    @property
    def shown(self) -> str:
        """Where it leads, without what a path or query may let in."""
        return f"{self.scheme}://{self.host}:{self.port}"


def target(url: str, *, plain: bool = False) -> Target:
    """Raises BadChannel. `plain` lets http in: for servers inside our own network."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadChannel("This is no URL.") from None
    schemes = ("https", "http") if plain else ("https",)
    if parts.scheme not in schemes or not parts.hostname or len(url) > URL_MOST:
        raise BadChannel(
            "Wanted a URL like https://example.org/hook; http only to a server inside your own "
            "network that is allowed by its address."
        )
    if parts.username or parts.password or parts.fragment or not url.isascii():
        raise BadChannel("A URL here has no user, password or #part, and ASCII letters alone.")
    if any(sign <= " " or sign == "\x7f" for sign in url):
        raise BadChannel("A URL has no spaces or control characters.")
    try:
        host = hosts.parse_host(parts.hostname)
    except BadValue as error:
        raise BadChannel(error.message) from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def rules(found: Target, allowed: Sequence[str]) -> list[HostRule]:
    """The name itself, for public addresses; and what an operator listed, for any."""
    listed = [HostRule(hosts.parse_rule(text).host) for text in allowed]
    if hosts.is_inside(found.host):
        return listed  # an address that is written into the URL does not list itself
    return [HostRule(found.host, found.port), *listed]


def post(
    to: Target,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Sequence[str] = (),
    resolve: Resolve | None = None,
    method: str = "POST",
) -> int:
    """The status of the answer. Raises NotDelivered when there is none."""
    try:
        address = hosts.pin(to.host, to.port, rules(to, allowed), resolve=resolve)
    except Refused as error:
        unknown = error.code == "host-unknown"
        raise NotDelivered(
            f"{to.shown} is not asked: "
            + ("its name has no address." if unknown else "it is an address inside a network."),
            code="webhook-unreachable" if unknown else "webhook-inside",
        ) from None
    line = _Pinned(to, address)
    end = threading.Timer(WHOLE_SECONDS, line.cut)
    end.daemon = True
    end.start()
    try:
        line.request(method, to.path, body=body, headers=dict(headers))
        answer = line.getresponse()
        answer.read(MOST_BYTES)
        return answer.status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotDelivered(
            f"{to.shown} gave no answer: {type(error).__name__}.", code="webhook-unreachable"
        ) from None  # the error itself may quote the request
    finally:
        end.cancel()
        line.close()
        line.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever its name says by now."""

    def __init__(self, to: Target, address: str) -> None:
        super().__init__(to.host, to.port, timeout=STEP_SECONDS)
        self._to, self._address = to, address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self._to.port), timeout=STEP_SECONDS)
        if self._to.scheme == "https":
            secured = ssl.create_default_context(cadata=self._to.authority)
            # Known before the handshake, so that one that comes byte by byte is cut, too.
            line = secured.wrap_socket(
                plain, server_hostname=self._to.host, do_handshake_on_connect=False
            )
            self.sock = line
            line.do_handshake()
        else:
            self.sock = plain

    def cut(self) -> None:
        """Whoever reads or writes gets an error: bytes that come one by one are waited for no more."""
        held = self.sock
        if held is not None:
            try:
                held.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
