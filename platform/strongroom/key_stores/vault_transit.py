"""KEKs in the transit engine of HashiCorp Vault or OpenBao: a derived key a tenant, never exportable.

The context goes in as the key's derivation context (transit's rewrap takes no associated data):
a secret that was wrapped for something else is wrapped by another derived key. Transit makes a
key that is missing when it is asked to encrypt, if the policy lets it; so a key is always looked
at first, and the policy in docs/operations/keys.md does not let it.

Transit cannot close a key for a while, and deletes at once: waiting beforehand is ours. Its own
storage and the snapshots of it hold the key, so a copy of those is a copy of the key: destroying
it is logical deletion. A deleted key is not remembered there: it is MISSING, and our own
tombstones say that it was destroyed.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hvac
import requests
from hvac import exceptions as answers

from strongroom import keys
from strongroom.errors import BadValue
from strongroom.keys import (
    Claims,
    Context,
    KeyDenied,
    KeyState,
    KeyStatus,
    KeyUnreachable,
    NotOffered,
    Wrapped,
)

ALGORITHM = "aes256-gcm96"  # transit's name of AES-256-GCM
TIMEOUT = 5  # seconds to connect, and to answer


@dataclass(frozen=True)
class Address:
    """Where transit is, and who we are there."""

    url: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None  # read each time: an agent renews what is in it
    mount: str = "transit"
    namespace: str | None = None
    authority: str | None = None  # file with the certificate to trust; None: the machine's


class VaultTransitKeys:
    """KEKs in a transit engine."""

    name = "vault"
    claims = Claims(copyable=True, window=(0, 0), disables=False)

    def __init__(self, address: Address) -> None:
        self._address = address
        self._where = f"the transit engine at {address.url}/{address.mount}"

    def create(self, tenant: uuid.UUID) -> None:
        if self._read(tenant) is None:
            self._ask(
                "make a key",
                lambda transit: transit.create_key(
                    name=_name(tenant),
                    key_type=ALGORITHM,
                    derived=True,
                    exportable=False,
                    allow_plaintext_backup=False,
                    mount_point=self._address.mount,
                ),
            )

    def wrap(self, secret: bytes, context: Context) -> Wrapped:
        self._require(context.tenant)
        answer = self._ask(
            "wrap a secret",
            lambda transit: transit.encrypt_data(
                name=_name(context.tenant),
                plaintext=_text(secret),
                context=_text(context.encoded()),
                mount_point=self._address.mount,
            ),
        )
        return self._wrapped(context.tenant, self._said(answer, "ciphertext"))

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        answer = self._using(
            (wrapped, context),
            lambda transit: transit.decrypt_data(
                name=_name(context.tenant),
                ciphertext=wrapped.ciphertext.decode("ascii", "replace"),
                context=_text(context.encoded()),
                mount_point=self._address.mount,
            ),
        )
        return base64.b64decode(self._said(answer, "plaintext"))

    def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        """Inside transit: the secret does not come out."""
        answer = self._using(
            (wrapped, context),
            lambda transit: transit.rewrap_data(
                name=_name(context.tenant),
                ciphertext=wrapped.ciphertext.decode("ascii", "replace"),
                context=_text(context.encoded()),
                mount_point=self._address.mount,
            ),
        )
        return self._wrapped(context.tenant, self._said(answer, "ciphertext"))

    def add_version(self, tenant: uuid.UUID) -> int:
        self._require(tenant)
        self._ask(
            "rotate a key",
            lambda transit: transit.rotate_key(name=_name(tenant), mount_point=self._address.mount),
        )
        return int(self._require(tenant)["latest_version"])

    def retire(self, tenant: uuid.UUID, *, below: int) -> None:
        newest = int(self._require(tenant)["latest_version"])
        least = min(below, newest)
        self._configure(tenant, min_decryption_version=least)

    def disable(self, tenant: uuid.UUID) -> None:
        raise self._cannot("close a key for a while")

    def enable(self, tenant: uuid.UUID) -> None:
        self._require(tenant)  # a key that is there is open

    def schedule_destruction(self, tenant: uuid.UUID, days: int) -> datetime:
        if days != 0:
            raise BadValue(f"{self._where} deletes at once, found {days} days. Wait beforehand.")
        self._require(tenant)
        self._configure(tenant, deletion_allowed=True)
        self._ask(
            "delete a key",
            lambda transit: transit.delete_key(name=_name(tenant), mount_point=self._address.mount),
        )
        return datetime.now(UTC)

    def cancel_destruction(self, tenant: uuid.UUID) -> None:
        self._require(tenant)  # there is nothing to call off, or it is too late

    def status(self, tenant: uuid.UUID) -> KeyStatus:
        found = self._read(tenant)
        if found is None:
            return KeyStatus(KeyState.MISSING)
        oldest = max(int(found["min_decryption_version"]), 1)
        return KeyStatus(KeyState.ENABLED, int(found["latest_version"]), oldest)

    def probe(self) -> str:
        """Only an answer about a key shows that the engine is unsealed and lets us in."""
        self._read(uuid.UUID(int=0))
        return self._where

    def _configure(self, tenant: uuid.UUID, **values: Any) -> None:
        self._ask(
            "configure a key",
            lambda transit: transit.update_key_configuration(
                name=_name(tenant), mount_point=self._address.mount, **values
            ),
        )

    def _require(self, tenant: uuid.UUID) -> dict[str, Any]:
        found = self._read(tenant)
        if found is None:
            raise keys.missing(tenant, self._where)
        return found

    def _read(self, tenant: uuid.UUID) -> dict[str, Any] | None:
        """None when transit answers that there is no such key."""
        try:
            answer = self._call(
                "look at a key",
                lambda transit: transit.read_key(
                    name=_name(tenant), mount_point=self._address.mount
                ),
            )
        except answers.InvalidPath:
            return None
        self._said(answer, "latest_version")
        found: dict[str, Any] = answer["data"]
        return found

    def _said(self, answer: Any, name: str) -> str:
        """One field of an answer; a page that a proxy gives in its place is no answer."""
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict) or name not in data:
            raise self._unreachable(f"read {name} in what was answered", ValueError())
        return str(data[name])

    def _using(self, what: tuple[Wrapped, Context], act: Callable[[Any], Any]) -> Any:
        """Transit says "bad request" to all that cannot be opened: the key tells which it is."""
        wrapped, context = what
        try:
            return self._call("open a secret", act)
        except (answers.InvalidRequest, answers.InvalidPath) as error:
            found = self._require(context.tenant)
            if _version(wrapped.ciphertext) < int(found["min_decryption_version"]):
                raise keys.retired(wrapped, context) from error
            raise keys.wrong_context(context) from error

    def _ask(self, wanted: str, act: Callable[[Any], Any]) -> Any:
        try:
            return self._call(wanted, act)
        except answers.VaultError as error:
            raise self._unreachable(wanted, error) from error

    def _call(self, wanted: str, act: Callable[[Any], Any]) -> Any:
        """Raises InvalidRequest and InvalidPath as they are: what they mean depends on the act."""
        try:
            return act(self._client().secrets.transit)
        except (answers.InvalidRequest, answers.InvalidPath, answers.ParamValidationError):
            raise
        except (answers.Forbidden, answers.Unauthorized) as error:
            raise KeyDenied(
                f"Wanted to {wanted} in {self._where}, which refuses our token. Renew the token, "
                "or give it the policy of docs/operations/keys.md.",
            ) from error
        except (answers.VaultError, requests.RequestException, OSError, ValueError) as error:
            raise self._unreachable(wanted, error) from error

    def _unreachable(self, wanted: str, error: Exception) -> KeyUnreachable:
        found = type(error).__name__
        sealed = isinstance(error, answers.VaultDown)
        return KeyUnreachable(
            f"Wanted to {wanted} in {self._where}, found: "
            f"{'it is sealed or on standby' if sealed else found}. Work waits, and goes on by "
            f"itself once it {'is unsealed' if sealed else 'answers'}.",
            found=found,
        )

    def _cannot(self, wanted: str) -> NotOffered:
        return NotOffered(f"{self._where} cannot {wanted}. Take the right away by policy instead.")

    def _client(self) -> hvac.Client:
        address = self._address
        token = address.token or ""  # None would have the library look in the environment
        if address.token_file is not None:
            token = address.token_file.read_text(encoding="ascii").strip()
        session = requests.Session()
        session.trust_env = False  # no token, proxy or certificate from the environment
        return hvac.Client(
            url=address.url,
            token=token,
            namespace=address.namespace,
            timeout=TIMEOUT,
            verify=address.authority or True,
            session=session,
            allow_redirects=False,
        )

    def _wrapped(self, tenant: uuid.UUID, ciphertext: str) -> Wrapped:
        text = ciphertext.encode()
        return Wrapped(self.name, _name(tenant), _version(text), ALGORITHM, b"", text)


def _name(tenant: uuid.UUID) -> str:
    return f"strongroom-{tenant}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _version(ciphertext: bytes) -> int:
    """Of "vault:v3:…"; one that says nothing belongs to no version that could be retired."""
    head = ciphertext.split(b":", 2)
    number = head[1].removeprefix(b"v") if len(head) == 3 else b""
    return int(number) if number.isdigit() else 1 << 31
