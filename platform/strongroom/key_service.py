"""Settings of the key provider: which kind, where it is, and who we are there.

    STRONGROOM_KEYS_PROVIDER      local (the default), aws-kms, vault, pkcs11
    aws-kms   STRONGROOM_KEYS_AWS_REGION; _AWS_ENDPOINT, _AWS_KEY (one key for all tenants),
              _AWS_ACCESS_KEY and _AWS_SECRET_KEY where the machine has no role
    vault     STRONGROOM_KEYS_VAULT_ADDRESS, _VAULT_TOKEN; _VAULT_MOUNT, _VAULT_NAMESPACE,
              _VAULT_AUTHORITY (file with the certificate to trust)
    pkcs11    STRONGROOM_KEYS_PKCS11_MODULE, _PKCS11_TOKEN, _PKCS11_PIN; _PKCS11_COPYABLE
              (yes unless the token lets no key out)

Each may be given as the name of a file instead, with `_FILE` behind its name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


class Kind(enum.StrEnum):
    """Kinds of key stores."""

    LOCAL = "local"
    AWS_KMS = "aws-kms"
    VAULT = "vault"
    PKCS11 = "pkcs11"


@dataclass(frozen=True)
class KeyService:
    """One key store; what its kind does not need stays empty."""

    kind: Kind = Kind.LOCAL
    endpoint: str = ""  # URL of KMS, where it is not AWS's own, or of Vault
    region: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    shared_key: str = ""  # KMS: one key for all tenants
    token: str = field(default="", repr=False)
    token_file: Path | None = None  # an agent renews what is in it
    mount: str = "transit"
    namespace: str = ""
    authority: str = ""
    module: str = ""  # path of the PKCS#11 library
    label: str = ""  # of the token
    pin: str = field(default="", repr=False)
    copyable: bool = True


Text = Callable[..., str]  # (name without STRONGROOM_, *, default) -> its value


def read(text: Text, token_file: str | None, problems: list[str]) -> KeyService:
    """What is missing or senseless is added to the problems, with its remedy."""
    name = text("KEYS_PROVIDER", default=Kind.LOCAL)
    if name not in list(Kind):
        problems.append(f"  STRONGROOM_KEYS_PROVIDER is {name!r}; choose one of {', '.join(Kind)}.")
        return KeyService()
    need = _needed(text, problems)
    match Kind(name):
        case Kind.LOCAL:
            return KeyService()
        case Kind.AWS_KMS:
            return KeyService(
                Kind.AWS_KMS,
                endpoint=text("KEYS_AWS_ENDPOINT", default=""),
                region=need("KEYS_AWS_REGION", "the region of KMS, like eu-central-1"),
                access_key=text("KEYS_AWS_ACCESS_KEY", default=""),
                secret_key=text("KEYS_AWS_SECRET_KEY", default=""),
                shared_key=text("KEYS_AWS_KEY", default=""),
            )
        case Kind.VAULT:
            return KeyService(
                Kind.VAULT,
                endpoint=need("KEYS_VAULT_ADDRESS", "the URL of Vault or OpenBao"),
                token="" if token_file else need("KEYS_VAULT_TOKEN", "a token, best by _FILE"),
                token_file=Path(token_file) if token_file else None,
                mount=text("KEYS_VAULT_MOUNT", default="transit"),
                namespace=text("KEYS_VAULT_NAMESPACE", default=""),
                authority=text("KEYS_VAULT_AUTHORITY", default=""),
            )
        case Kind.PKCS11:
            return KeyService(
                Kind.PKCS11,
                module=need("KEYS_PKCS11_MODULE", "the path of the vendor's library"),
                label=need("KEYS_PKCS11_TOKEN", "the token's label"),
                pin=need("KEYS_PKCS11_PIN", "the user's PIN, best by _FILE"),
                copyable=text("KEYS_PKCS11_COPYABLE", default="yes") != "no",
            )


def _needed(text: Text, problems: list[str]) -> Callable[[str, str], str]:
    def need(name: str, what: str) -> str:
        found = text(name, default="")
        if not found:
            problems.append(f"  STRONGROOM_{name} is missing: {what}.")
        return found

    return need
