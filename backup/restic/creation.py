"""Making a repository without `restic init`, whose calibration of scrypt costs seconds of CPU.

A repository is a sealed `config` and a key file; everything else comes with the first backup.
Both are written as restic writes them, after the same three checks that nothing is there yet.
The key file goes first: a `config` without a key could never be opened again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from backup import keyfile, sealing
from backup.keyfile import KeyFileError, MachinePassword, Opened, Randomness, Stamp, Store
from backup.restic import chunker
from backup.sealing import SealKey
from strongroom.errors import BadValue

VERSION = 2  # the repository format


class RepositoryExists(KeyFileError):
    """There is a repository already, or what is left of one."""

    code = "repository-exists"
    permanent = True


@dataclass(frozen=True)
class Config:
    """What restic keeps in a repository's `config`."""

    id: str  # 64 hex digits; also the name of the folder in restic's cache
    polynomial: int  # by which files are cut into chunks; the same in each region of a tenant
    version: int = VERSION


@dataclass(frozen=True)
class Created:
    """A repository that is ready for its first backup."""

    key_id: str  # the key hint for every later call
    config: Config


def create(
    store: Store,
    password: MachinePassword,
    stamp: Stamp,
    *,
    polynomial: int | None = None,
    random: Randomness = os.urandom,
) -> Created:
    """Make a repository; `polynomial` is that of the tenant's first region, if there is one.

    Running it again after an interruption finishes or returns the same repository, as long as
    nothing was backed up. Raises RepositoryExists when there are snapshots, or keys that do not
    open with this password; BadValue for a polynomial that restic would refuse.
    """
    if polynomial is not None:
        _check(polynomial)
    if next(iter(store.list("snapshots/")), None) is not None:
        raise RepositoryExists("There are snapshots here, so nothing was created.")
    opened = _key(store, password, stamp, random)
    if "config" in store.list("config"):
        found = read_config(store, opened)
        return Created(opened.key_id, _agreed(found, polynomial))
    chosen = chunker.random_polynomial(random) if polynomial is None else polynomial
    config = Config(id=random(32).hex(), polynomial=chosen)
    _write_config(store, opened.master, config, random)
    return Created(opened.key_id, config)


def read_config(store: Store, opened: Opened) -> Config:
    """Raises ForeignKey when the key does not open it, KeyFileError when restic would refuse it."""
    try:
        raw = json.loads(sealing.unseal(opened.master, store.get("config")))
        found = Config(str(raw["id"]), int(raw["chunker_polynomial"], 16), int(raw["version"]))
    except sealing.Unsealable as error:
        raise keyfile.ForeignKey(
            f"Key file {opened.key_id} does not open this repository's config.", key=opened.key_id
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError(
            "The repository's config opens, but is not what restic writes."
        ) from error
    if not chunker.is_irreducible(found.polynomial):
        raise KeyFileError("The repository's config has a polynomial that can be factored.")
    return found


def sealed_config(master: SealKey, polynomial: int, random: Randomness = os.urandom) -> bytes:
    """A new `config` for a repository that lost its own; only its id, which names a cache, differs."""
    _check(polynomial)
    return sealing.seal(master, config_json(Config(random(32).hex(), polynomial)), random(16))


def _key(store: Store, password: MachinePassword, stamp: Stamp, random: Randomness) -> Opened:
    if next(iter(store.list("keys/")), None) is None:
        if "config" in store.list("config"):
            raise RepositoryExists("There is a config here but no key, so nothing was created.")
        master = SealKey(encrypt=random(32), k=random(16), r=random(16))
        name, text = keyfile.make(master, password, stamp, random)
        keyfile.store_key(store, name, text)
        return Opened(name, master)
    try:
        return keyfile.open_any(store, password)
    except keyfile.WrongPassword as error:
        raise RepositoryExists(
            "There are keys here that do not open with this password, so nothing was created."
        ) from error


def _check(polynomial: int) -> None:
    if polynomial.bit_length() != chunker.DEGREE + 1 or not chunker.is_irreducible(polynomial):
        raise BadValue(
            f"0x{polynomial:x} is no irreducible polynomial of degree {chunker.DEGREE}; "
            "take the one of the tenant's first region."
        )


def _agreed(found: Config, polynomial: int | None) -> Config:
    if polynomial not in (None, found.polynomial):
        raise RepositoryExists(
            "There is a repository here that cuts files by another polynomial than the tenant's "
            "first region. It is empty: remove it and create it again."
        )
    return found


def _write_config(store: Store, master: SealKey, config: Config, random: Randomness) -> None:
    text = config_json(config)
    sealed = sealing.seal(master, text, random(16))
    if sealing.unseal(master, sealed) != text:
        raise KeyFileError("A new config did not open again; nothing was stored.")
    store.put("config", sealed)
    if store.get("config") != sealed:
        raise KeyFileError("The config came back different from what was stored.")


def config_json(config: Config) -> bytes:
    """What is sealed into `config`."""
    document = {
        "version": config.version,
        "id": config.id,
        "chunker_polynomial": f"{config.polynomial:x}",
    }
    return json.dumps(document, separators=(",", ":")).encode()
