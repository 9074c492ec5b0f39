"""Which server may be reached that somebody outside named, and the one address that is then used.

A name is resolved once, every address it has is judged, and one of the judged is handed on
(libpq's `hostaddr`): whoever owns the name cannot point it elsewhere between look and use.
`ipaddress` alone is no such judge (it calls NAT64 and 6to4 forms of 127.0.0.1 global), and the
system's resolver reads 127.1, 0x7f000001 and 2130706433 as addresses, so both are guarded here.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from strongroom.errors import BadValue, Refused

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
ODD_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label the resolver may take for an address
NAT64 = ip_network("64:ff9b::/96")
NEVER = tuple(
    ip_network(text) for text in ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
)  # no server can be reached there, or the system means something else by it
# Not global, although some version of `ipaddress` calls them so.
NOT_GLOBAL = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


@dataclass(frozen=True)
class HostRule:
    """One line of an operator's list: a name, an address or a network, with or without port."""

    host: str  # as `parse_host` or `parse_network` gives it
    port: int | None = None  # None: any port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse_rule(text: str) -> HostRule:
    """`db.example.com`, `db.example.com:5432`, `10.1.0.0/16`, `[fd00::5]:5432`."""
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", text.strip())
    if match is None:
        raise BadValue(
            f"{text!r} is no host of an allow-list. Write NAME, ADDRESS or NETWORK, with :PORT "
            "if only one port is meant, and IPv6 in square brackets."
        )
    host = match[1].removeprefix("[").removesuffix("]")
    port = None if match[2] is None else checked_port(int(match[2]))
    if "/" in host:
        return HostRule(_network(host), port)
    return HostRule(parse_host(host), port)


def parse_host(text: str) -> str:
    """A plain name or a plainly written address, lower case; anything else is refused."""
    host = text.strip().lower().removesuffix(".")
    address = _address(host)
    if address is not None:
        return str(address)
    labels = host.split(".")
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise BadValue(
            f"{text!r} is no host name. Use letters, digits, hyphens and dots; a name in another "
            "script in its xn-- form."
        )
    if ODD_NUMBER.fullmatch(labels[-1]):
        raise BadValue(
            f"{text!r} is neither a name nor a full address. Write an IPv4 address as four "
            "decimal numbers without leading zeros."
        )
    return host


def checked_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise BadValue(f"{port} is no port. Ports are 1 to 65535.")
    return port


def pin(host: str, port: int, rules: Sequence[HostRule], *, resolve: Resolve | None = None) -> str:
    """The address to connect to. Raises Refused unless the list covers every address of `host`.

    A listed name reaches public addresses. A loopback, link-local or private address has to be on
    the list itself, as an address or in a network: the name's owner may not choose it.
    """
    name = parse_host(host)
    addresses = [_plain(text) for text in (resolve or _resolve)(name, port)]
    if not addresses:
        raise Refused(f"{name} has no address now. Check the name.", code="host-unknown", host=name)
    for address in addresses:
        if not _allowed(name, address, [r for r in rules if r.port in (None, port)]):
            raise Refused(
                f"{name} port {port} ({address}) is not on the allow-list of this tenant. An "
                f"operator can add {HostRule(name, port)}, and {HostRule(str(address), port)} too "
                "if that is an address inside your own network.",
                code="host-not-allowed",
                host=name,
                port=port,
                address=str(address),
            )
    return str(addresses[0])


def rules_for(host: str, port: int, *, resolve: Resolve | None = None) -> tuple[HostRule, ...]:
    """What an operator lists by adding a source: its name, and each address that is not public."""
    name = parse_host(host)
    addresses = [_plain(text) for text in (resolve or _resolve)(name, port)]
    inside = [str(address) for address in addresses if not is_public(address)]
    return tuple(HostRule(each, port) for each in dict.fromkeys([name, *inside]))


def is_public(address: Address) -> bool:
    """Whether the address, and any IPv4 address wrapped in it, belongs to the open internet."""
    real = _unwrap(address)
    if any(real in network for network in NEVER + NOT_GLOBAL if network.version == real.version):
        return False
    return real.is_global and not (real.is_multicast or real.is_reserved or real.is_link_local)


def is_inside(host: str) -> bool:
    """Whether this is an address, and none of the open internet; names are not looked up."""
    address = _address(host)
    return address is not None and not is_public(address)


def _allowed(name: str, address: Address, rules: Sequence[HostRule]) -> bool:
    real = _unwrap(address)
    if any(real in network for network in NEVER if network.version == real.version):
        return False
    if any(_covers(rule.host, real) or _covers(rule.host, address) for rule in rules):
        return True
    return is_public(address) and any(rule.host == name for rule in rules)


def _covers(rule: str, address: Address) -> bool:
    try:
        network = ip_network(rule)
    except ValueError:
        return False
    return network.version == address.version and address in network


def _unwrap(address: Address) -> Address:
    """The IPv4 address that a mapped, NAT64, 6to4 or Teredo form stands for."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64 or address in ip_network("::/96") and int(address) > 1:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return address


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise BadValue(
            f"{text!r} is no network. Write it like 10.1.0.0/16, with no bits set to the right."
        ) from error


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise BadValue(f"{text!r} names a network card. Give an address without %.")
    return address


def _plain(text: str) -> Address:
    return ip_address(text.partition("%")[0])


def _resolve(host: str, port: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))
