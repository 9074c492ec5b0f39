"""Key files of a restic repository that cost almost nothing to open.

restic turns a password into a key with scrypt, calibrated to half a second of work, and does so
again in every single command: nine tenths of the CPU of a short one. That work protects a
password that a person chose. Ours are 32 random bytes (`MachinePassword`): guessing one is
hopeless at any speed, so the key file may carry the least parameters restic accepts (N=2, r=1,
p=1), and stock restic opens it with the same password. Nothing but a `MachinePassword` is taken
here; a passphrase that a person chose needs restic's own calibrated key (`commands.key_add`).

What a key file holds is sealed as restic's design document says: AES-256-CTR, then Poly1305-AES
over the ciphertext, with the nonce in front. Before a new key is written, the master key is
proven against the repository's `config`, and the new file is opened again in memory; after it
is written, it is fetched and compared. A stray or hostile object in `keys/` is passed over.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backup import sealing
from backup.sealing import SealKey, Unsealable
from strongroom.errors import BadValue, StrongroomError

Randomness = Callable[[int], bytes]

NAME_PREFIX = "00"  # S3 lists by name and restic tries in that order: ours first, even unhinted
MOST_TRIES = 100_000  # for that name; 256 are needed on average
DEAREST = 128 * 1024 * 1024  # bytes that scrypt may ask for before we call a key file hostile
_NAME = re.compile(r"[0-9a-f]{64}")


class KeyFileError(StrongroomError):
    """A key file could not be read, proven or written."""

    code = "key-file"


class WrongPassword(KeyFileError):
    """No key file opens with this password."""

    code = "key-file-wrong-password"
    permanent = True


class ForeignKey(KeyFileError):
    """The key file opens, but its master key does not belong to this repository."""

    code = "key-file-foreign"
    permanent = True


class Store(Protocol):
    """The objects of one repository; keys are relative to its prefix ("config", "keys/…")."""

    def get(self, key: str) -> bytes: ...

    def put(self, key: str, data: bytes) -> None: ...

    def list(self, prefix: str) -> Iterable[str]: ...

    def delete(self, key: str) -> None: ...


@dataclass(frozen=True)
class MachinePassword:
    """32 bytes from a machine's randomness; restic is given their 64 lower-case hex digits."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise BadValue(
                f"A machine password has 32 bytes, this has {len(self.secret)}. "
                "A password that a person chose must keep restic's own key (`restic key add`)."
            )

    @property
    def text(self) -> bytes:
        """What restic is told, and what stands in an exit kit."""
        return self.secret.hex().encode()

    @classmethod
    def parse(cls, text: bytes) -> MachinePassword:
        """From `text`; raises BadValue for anything but 64 lower-case hex digits."""
        if not _NAME.fullmatch(text.decode("ascii", "replace")):
            raise BadValue("A machine password is 64 lower-case hex digits; this is not.")
        return cls(bytes.fromhex(text.decode()))

    @classmethod
    def make(cls, random: Randomness = os.urandom) -> MachinePassword:
        return cls(random(32))


@dataclass(frozen=True)
class Stamp:
    """What a key file says about its making; restic shows it in `key list`."""

    created: datetime  # aware
    host: str = "strongroom"
    user: str = "strongroom"


@dataclass(frozen=True)
class Opened:
    """A repository's master key, and the key file that gave it."""

    key_id: str  # the name below keys/
    master: SealKey = field(repr=False)


def open_repository(store: Store, password: MachinePassword) -> Opened:
    """The first key file that opens with the password, proven against `config`.

    Raises WrongPassword when none opens, ForeignKey when what opens belongs elsewhere.
    """
    opened = open_any(store, password)
    try:
        sealing.unseal(opened.master, store.get("config"))
    except Unsealable as error:
        raise ForeignKey(
            f"Key file {opened.key_id} opens, but its master key does not open this repository's "
            "config: one of the two is damaged or comes from another repository.",
            key=opened.key_id,
        ) from error
    return opened


def open_any(store: Store, password: MachinePassword) -> Opened:
    """As `open_repository`, but not yet proven: `config` need not be there."""
    names = sorted(key.removeprefix("keys/") for key in store.list("keys/"))
    for name in filter(_NAME.fullmatch, names):
        text = store.get(f"keys/{name}")
        if hashlib.sha256(text).hexdigest() != name:
            continue
        try:
            return Opened(name, unlock(text, password))
        except Unsealable:
            continue
    raise WrongPassword(
        f"None of the {len(names)} objects in keys/ opens with this password. "
        "Either the password belongs to another repository, or its key file was removed.",
        objects=len(names),
    )


def opened_by(store: Store, passwords: Sequence[MachinePassword]) -> list[str]:
    """The ids of all key files that open with one of the passwords; others are not touched."""
    found = []
    for name in sorted(key.removeprefix("keys/") for key in store.list("keys/")):
        if not _NAME.fullmatch(name):
            continue
        text = store.get(f"keys/{name}")
        if hashlib.sha256(text).hexdigest() == name and _opens(text, passwords):
            found.append(name)
    return found


def _opens(text: bytes, passwords: Sequence[MachinePassword]) -> bool:
    for password in passwords:
        try:
            unlock(text, password)
        except Unsealable:
            continue
        return True
    return False


def unlock(text: bytes, password: MachinePassword) -> SealKey:
    """The master key in a key file; raises Unsealable for a wrong password or a bad file."""
    return sealing.master_from_json(
        sealing.unseal(_derive(password, _parameters(text)), _field(text, "data"))
    )


def make(
    master: SealKey, password: MachinePassword, stamp: Stamp, random: Randomness = os.urandom
) -> tuple[str, bytes]:
    """(name, text) of a new low-cost key file whose name begins with NAME_PREFIX."""
    name, text = "", b""
    for _ in range(MOST_TRIES):
        text = _write(master, password, stamp, random)
        name = hashlib.sha256(text).hexdigest()
        if name.startswith(NAME_PREFIX):
            break
    if unlock(text, password) != master:
        raise KeyFileError("A new key file did not give back the master key it was made from.")
    return name, text


def store_key(store: Store, name: str, text: bytes) -> None:
    """PUT, GET and compare; raises KeyFileError when what lies there is not what was sent."""
    store.put(f"keys/{name}", text)
    if store.get(f"keys/{name}") != text:
        raise KeyFileError(
            f"Key file {name} came back different from what was stored. "
            "The old key file is untouched; look at the object store.",
            key=name,
        )


def add_low_cost(
    store: Store,
    password: MachinePassword,
    stamp: Stamp,
    *,
    new_password: MachinePassword | None = None,
) -> str:
    """Add a low-cost key file and return its id, to be kept as the repository's key hint.

    With `new_password` this is the first half of a rotation; `remove` of the old id is the
    second. Old key files stay until then.
    """
    opened = open_repository(store, password)
    name, text = make(opened.master, new_password or password, stamp)
    store_key(store, name, text)
    return name


def remove(store: Store, key_id: str, *, keep: str) -> None:
    """Delete a key file, once `keep` is proven to lie there; never the last one."""
    if key_id == keep:
        raise BadValue(f"Key file {key_id} is the one to keep; nothing was removed.")
    if hashlib.sha256(store.get(f"keys/{keep}")).hexdigest() != keep:
        raise KeyFileError(f"Key file {keep} is damaged, so {key_id} was not removed.")
    store.delete(f"keys/{key_id}")


@dataclass(frozen=True)
class _Parameters:
    salt: bytes
    n: int
    r: int
    p: int


def _parameters(text: bytes) -> _Parameters:
    try:
        raw = json.loads(text)
        found = _Parameters(_field(text, "salt"), int(raw["N"]), int(raw["r"]), int(raw["p"]))
        kind = raw["kdf"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unsealable("not a key file") from error
    acceptable = (
        kind == "scrypt"
        and len(found.salt) == 64
        and found.n >= 2
        and found.n & (found.n - 1) == 0
        and found.r >= 1
        and found.p >= 1
        and _memory(found) <= DEAREST
    )
    if not acceptable:
        raise Unsealable("parameters that restic never writes")
    return found


def _field(text: bytes, name: str) -> bytes:
    try:
        return base64.b64decode(json.loads(text)[name], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise Unsealable(f"no {name} in the key file") from error


def _derive(password: MachinePassword, found: _Parameters) -> SealKey:
    raw = hashlib.scrypt(
        password.text,
        salt=found.salt,
        n=found.n,
        r=found.r,
        p=found.p,
        dklen=64,
        maxmem=_memory(found) + 1024 * 1024,
    )
    return SealKey(encrypt=raw[:32], k=raw[32:48], r=raw[48:])


def _memory(found: _Parameters) -> int:
    return 128 * found.r * (found.n + found.p + 2)


def _write(master: SealKey, password: MachinePassword, stamp: Stamp, random: Randomness) -> bytes:
    least = _Parameters(salt=random(64), n=2, r=1, p=1)
    sealed = sealing.seal(_derive(password, least), sealing.master_to_json(master), random(16))
    return json.dumps(
        {
            "created": stamp.created.isoformat(),
            "username": stamp.user,
            "hostname": stamp.host,
            "kdf": "scrypt",
            "N": least.n,
            "r": least.r,
            "p": least.p,
            "salt": base64.b64encode(least.salt).decode(),
            "data": base64.b64encode(sealed).decode(),
        },
        separators=(",", ":"),
    ).encode()
