"""KEKs in files of one folder, outside the database: for the embedded stack.

A file a tenant, mode 0600, AES-256-GCM with the context as associated data. Destroying such a key
is *logical* deletion: copies of the disk may hold it. What is destroyed leaves a small file that
says so, so that a key that was destroyed and one that was lost are told apart.

A file is only ever replaced whole, under a lock on the folder; what is not there yet is made by
linking, so that of twins one wins.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom import keys
from strongroom.errors import BadValue
from strongroom.keys import (
    Claims,
    Context,
    KeyDenied,
    KeyMissing,
    KeyState,
    KeyStatus,
    KeyUnreachable,
    Wrapped,
)

ALGORITHM = "AES-256-GCM"
NONCE_BYTES = 12
MOST_DAYS = 30


@dataclass(frozen=True)
class _Kek:
    """What is in a tenant's file."""

    versions: dict[int, str] = field(repr=False)  # hex of 32 bytes, by number
    enabled: bool = True
    destroy_at: datetime | None = None

    @property
    def newest(self) -> int:
        return max(self.versions)


def _now() -> datetime:
    return datetime.now(UTC)


class LocalKeys:
    """KEKs in files of one folder."""

    name = "local"
    claims = Claims(copyable=True, window=(0, MOST_DAYS), disables=True)

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._folder = folder
        self._clock = clock

    def create(self, tenant: uuid.UUID) -> None:
        path = self._path(tenant)
        if path.exists():
            return
        if self._gone(tenant).exists():
            raise keys.destroyed(tenant, str(self._folder))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._draft(path, _Kek({1: os.urandom(32).hex()}))
        try:
            os.link(draft, path)  # fails if a twin was faster: its key stays
        except FileExistsError:
            return
        finally:
            draft.unlink()
            _sync_folder(self._folder)

    def wrap(self, secret: bytes, context: Context) -> Wrapped:
        kek = self._open(context.tenant)
        nonce = os.urandom(NONCE_BYTES)
        key = bytes.fromhex(kek.versions[kek.newest])
        sealed = AESGCM(key).encrypt(nonce, secret, context.encoded())
        return Wrapped(self.name, str(context.tenant), kek.newest, ALGORITHM, nonce, sealed)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        kek = self._open(context.tenant)
        key = kek.versions.get(wrapped.key_version)
        if key is None and 0 < wrapped.key_version < kek.newest:
            raise keys.retired(wrapped, context)
        if key is None:
            raise keys.wrong_context(context)
        try:
            return AESGCM(bytes.fromhex(key)).decrypt(
                wrapped.nonce, wrapped.ciphertext, context.encoded()
            )
        except InvalidTag:
            raise keys.wrong_context(context) from None

    def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return self.wrap(self.unwrap(wrapped, context), context)

    def add_version(self, tenant: uuid.UUID) -> int:
        with self._changing(tenant) as kek:
            keys.require_open(self._said(kek), tenant, str(self._folder))
            number = kek.newest + 1
            self._write(
                tenant, replace(kek, versions=kek.versions | {number: os.urandom(32).hex()})
            )
        return number

    def retire(self, tenant: uuid.UUID, *, below: int) -> None:
        with self._changing(tenant) as kek:
            stay = {n: key for n, key in kek.versions.items() if n >= min(below, kek.newest)}
            self._write(tenant, replace(kek, versions=stay))

    def disable(self, tenant: uuid.UUID) -> None:
        with self._changing(tenant) as kek:
            self._write(tenant, replace(kek, enabled=False))

    def enable(self, tenant: uuid.UUID) -> None:
        with self._changing(tenant) as kek:
            if kek.destroy_at is not None:
                keys.require_open(self._said(kek), tenant, str(self._folder))
            self._write(tenant, replace(kek, enabled=True))

    def schedule_destruction(self, tenant: uuid.UUID, days: int) -> datetime:
        if not 0 <= days <= MOST_DAYS:
            raise BadValue(f"The local store waits 0 to {MOST_DAYS} days, found {days}.")
        with self._changing(tenant) as kek:
            moment = kek.destroy_at or self._clock() + timedelta(days=days)
            self._write(tenant, replace(kek, destroy_at=moment))
        self._read(tenant)  # with no days to wait it goes now
        return moment

    def cancel_destruction(self, tenant: uuid.UUID) -> None:
        with self._changing(tenant) as kek:
            if kek.destroy_at is not None:
                self._write(tenant, replace(kek, destroy_at=None, enabled=False))

    def status(self, tenant: uuid.UUID) -> KeyStatus:
        try:
            kek = self._read(tenant)
        except KeyMissing:
            return KeyStatus(KeyState.MISSING)
        if kek is None:
            body = json.loads(self._gone(tenant).read_bytes())
            at = datetime.fromisoformat(body["destroyed_at"])
            return KeyStatus(KeyState.DESTROYED, destroyed_at=at)
        return self._said(kek)

    def probe(self) -> str:
        if not self._folder.exists():
            return f"{self._folder} is made with the first tenant"
        try:
            mode = self._folder.stat().st_mode
            next(self._folder.iterdir(), None)
        except OSError as error:
            raise _away(self._folder, error) from error
        if mode & 0o077:
            raise KeyDenied(f"{self._folder} is open to other accounts; let only ours in.")
        return str(self._folder)

    def _said(self, kek: _Kek) -> KeyStatus:
        state = KeyState.ENABLED if kek.enabled else KeyState.DISABLED
        if kek.destroy_at is not None:
            state = KeyState.PENDING_DESTRUCTION
        return KeyStatus(state, kek.newest, min(kek.versions), kek.destroy_at)

    def _open(self, tenant: uuid.UUID) -> _Kek:
        kek = self._read(tenant)
        if kek is None:
            raise keys.destroyed(tenant, str(self._folder))
        keys.require_open(self._said(kek), tenant, str(self._folder))
        return kek

    def _read(self, tenant: uuid.UUID) -> _Kek | None:
        """None once destroyed, which happens here when its moment has come."""
        try:
            kek = _parsed(self._path(tenant).read_bytes())
        except FileNotFoundError:
            if self._gone(tenant).exists():
                return None
            raise keys.missing(tenant, str(self._folder)) from None
        except OSError as error:
            raise _away(self._folder, error) from error
        if kek.destroy_at is None or kek.destroy_at > self._clock():
            return kek
        with self._locked():
            self._destroy(tenant, kek.destroy_at)
        return None

    def _destroy(self, tenant: uuid.UUID, moment: datetime) -> None:
        """What says so comes first: a crash in between leaves a key to be destroyed again."""
        gone = self._gone(tenant)
        if not gone.exists():
            body = json.dumps({"destroyed_at": moment.isoformat()}).encode()
            _private(gone, body).replace(gone)
            _sync_folder(self._folder)
        self._path(tenant).unlink(missing_ok=True)
        _sync_folder(self._folder)

    @contextmanager
    def _changing(self, tenant: uuid.UUID) -> Iterator[_Kek]:
        self._read(tenant)  # so that what is due to go is gone
        with self._locked():
            kek = self._read_locked(tenant)
            yield kek

    def _read_locked(self, tenant: uuid.UUID) -> _Kek:
        if self._gone(tenant).exists():
            raise keys.destroyed(tenant, str(self._folder))
        try:
            return _parsed(self._path(tenant).read_bytes())
        except FileNotFoundError:
            raise keys.missing(tenant, str(self._folder)) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes keys; the lock ends with its holder."""
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _away(self._folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, tenant: uuid.UUID, kek: _Kek) -> None:
        path = self._path(tenant)
        self._draft(path, kek).replace(path)
        _sync_folder(self._folder)

    def _draft(self, path: Path, kek: _Kek) -> Path:
        body: dict[str, Any] = {"version": kek.newest, "key": kek.versions[kek.newest]}
        older = {str(n): key for n, key in kek.versions.items() if n != kek.newest}
        if older:
            body["older"] = older
        if not kek.enabled:
            body["enabled"] = False
        if kek.destroy_at is not None:
            body["destroy_at"] = kek.destroy_at.isoformat()
        return _private(path, json.dumps(body).encode())

    def _path(self, tenant: uuid.UUID) -> Path:
        return self._folder / f"{tenant}.kek"

    def _gone(self, tenant: uuid.UUID) -> Path:
        return self._folder / f"{tenant}.gone"


def _parsed(text: bytes) -> _Kek:
    body = json.loads(text)
    older = {int(number): str(key) for number, key in body.get("older", {}).items()}
    moment = body.get("destroy_at")
    return _Kek(
        older | {int(body["version"]): str(body["key"])},
        enabled=bool(body.get("enabled", True)),
        destroy_at=None if moment is None else datetime.fromisoformat(moment),
    )


def _away(folder: Path, error: OSError) -> KeyUnreachable:
    return KeyUnreachable(
        f"The key store {folder} cannot be read: {error.strerror}. Work waits; mount it, or let "
        "our account in."
    )


def _private(path: Path, body: bytes) -> Path:
    """A new file beside the path, whole and on the disk."""
    draft = path.with_suffix(f".{os.urandom(8).hex()}.draft")  # a twin may be a thread of ours
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
