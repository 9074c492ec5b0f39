"""Identity providers that people may sign in with, as the settings name them.

JSON: a list of `{"name", "label", "issuer", "client_id", "client_secret"}`, and where the provider
says how somebody signed in, `"second_factor": {"amr": ["mfa"], "acr": ["…"]}`: only what is listed
there counts as a second factor, everything else gets ours on top.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

NAME = re.compile(r"[a-z0-9-]{1,40}")
AMR = ("mfa", "otp", "hwk")  # RFC 8176


@dataclass(frozen=True)
class Provider:
    """One identity provider."""

    name: str  # stands in addresses of ours
    label: str  # what people read
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    amr: frozenset[str] = frozenset(AMR)  # any of these in the token is a second factor
    acr: frozenset[str] = frozenset()  # or one of these

    def proved_two(self, claims: dict[str, Any]) -> bool:
        """Whether the provider says that a second factor was proven."""
        methods = claims.get("amr")
        named = set(methods) if isinstance(methods, list) else set()
        return bool(self.amr & named) or claims.get("acr") in self.acr


def read(raw: str) -> tuple[Provider, ...]:
    """Raises ValueError that says what is wrong, without quoting a secret."""
    if not raw.strip():
        return ()
    try:
        entries = json.loads(raw)
        return tuple(_provider(entry) for entry in entries)
    except json.JSONDecodeError as error:
        raise ValueError("it is no JSON") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "each entry needs name, label, issuer, client_id, client_secret"
        ) from error


def _provider(entry: dict[str, Any]) -> Provider:
    second = entry.get("second_factor", {})
    found = Provider(
        name=str(entry["name"]),
        label=str(entry["label"]),
        issuer=str(entry["issuer"]).rstrip("/"),
        client_id=str(entry["client_id"]),
        client_secret=str(entry["client_secret"]),
        amr=frozenset(second.get("amr", AMR)),
        acr=frozenset(second.get("acr", ())),
    )
    if not NAME.fullmatch(found.name):
        raise ValueError("a name has small letters, digits and hyphens")
    if not _is_safe(found.issuer):
        raise ValueError(f"the issuer of {found.name} has no https:// address")
    return found


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return True
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
