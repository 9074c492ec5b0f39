"""The key provider that the settings name. Raises BadValue when its library is not installed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from strongroom.errors import BadValue
from strongroom.key_service import KeyService, Kind
from strongroom.key_stores.aws_kms import Account, AwsKmsKeys
from strongroom.key_stores.local import LocalKeys
from strongroom.keys import KeyProvider


def choose(service: KeyService, folder: Path, clock: Callable[[], datetime]) -> KeyProvider:
    """`folder` is where the local store is; nothing is connected before it is used."""
    match service.kind:
        case Kind.LOCAL:
            return LocalKeys(folder, clock=clock)
        case Kind.AWS_KMS:
            return AwsKmsKeys(
                Account(
                    service.region,
                    service.endpoint or None,
                    service.access_key or None,
                    service.secret_key or None,
                    service.shared_key or None,
                )
            )
        case Kind.VAULT:
            return _vault(service)
        case Kind.PKCS11:
            return _pkcs11(service, clock)


# The libraries of these two are extras: only who uses them has them.


def _vault(service: KeyService) -> KeyProvider:
    try:
        from strongroom.key_stores.vault_transit import Address, VaultTransitKeys
    except ImportError as error:
        raise _not_installed("vault") from error
    address = Address(
        service.endpoint,
        service.token or None,
        None if service.token_file is None else service.token_file,
        service.mount,
        service.namespace or None,
        service.authority or None,
    )
    return VaultTransitKeys(address)


def _pkcs11(service: KeyService, clock: Callable[[], datetime]) -> KeyProvider:
    try:
        from strongroom.key_stores.pkcs11 import Pkcs11Keys, Token
    except ImportError as error:
        raise _not_installed("pkcs11") from error
    token = Token(service.module, service.label, service.pin, service.copyable)
    return Pkcs11Keys(token, clock=clock)


def _not_installed(extra: str) -> BadValue:
    return BadValue(
        f"STRONGROOM_KEYS_PROVIDER is {extra}, and its library is not installed. Install "
        f"strongroom[{extra}].",
        code="bad-settings",
    )
