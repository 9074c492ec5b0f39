"""KEKs in a PKCS#11 token: secret keys that are sensitive and not extractable, one a version.

AES-256-GCM inside the token, with the context as associated data. Objects are named
`strongroom/<tenant>`, the version is their id. A small data object keeps what a token has no word
for: when a key is to be destroyed, and that it was.

Whether destroying a key here purges it depends on the token: of an HSM that lets nothing out, yes;
SoftHSM keeps its objects in files that anybody with the disk can copy. So a token counts as
copyable unless the settings say otherwise.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import exceptions as answers

from strongroom import keys
from strongroom.errors import BadValue
from strongroom.keys import (
    Claims,
    Context,
    KeyDenied,
    KeyState,
    KeyStatus,
    KeyUnreachable,
    Wrapped,
)

ALGORITHM = "AES-256-GCM"
NONCE_BYTES, TAG_BITS = 12, 128
MOST_DAYS = 30
SELF_TEST = b"strongroom"
REFUSED = (answers.PinIncorrect, answers.PinExpired, answers.PinLocked, answers.PinInvalid)


@dataclass(frozen=True)
class Token:
    """Which token, and how to sign in to it."""

    module: str  # the vendor's library
    label: str
    pin: str = field(repr=False)
    copyable: bool = True  # False for an HSM that lets no key out


def _now() -> datetime:
    return datetime.now(UTC)


class Pkcs11Keys:
    """KEKs in one token."""

    name = "pkcs11"

    def __init__(self, token: Token, *, clock: Callable[[], datetime] = _now) -> None:
        self._token = token
        self._clock = clock
        self._where = f"the token {token.label!r}"
        self.claims = Claims(copyable=token.copyable, window=(0, MOST_DAYS), disables=True)

    def create(self, tenant: uuid.UUID) -> None:
        with self._session() as session:
            status = self._status(session, tenant)
            if status.state is KeyState.DESTROYED:
                raise keys.destroyed(tenant, self._where)
            if status.state is KeyState.MISSING:
                _generate(session, tenant, 1)

    def wrap(self, secret: bytes, context: Context) -> Wrapped:
        with self._session() as session:
            status = self._open(session, context.tenant)
            assert status.version is not None  # it is enabled
            key = _versions(session, context.tenant)[status.version][0]
            nonce = os.urandom(NONCE_BYTES)
            sealed = _seal(key, secret, nonce, context.encoded())
        return Wrapped(self.name, _label(context.tenant), status.version, ALGORITHM, nonce, sealed)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        with self._session() as session:
            status = self._open(session, context.tenant)
            found = _versions(session, context.tenant).get(wrapped.key_version, [])
            if not found and 0 < wrapped.key_version < (status.oldest or 0):
                raise keys.retired(wrapped, context)
            for key in found:
                secret = _tried(key, wrapped, context)
                if secret is not None:
                    return secret
        raise keys.wrong_context(context)

    def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return self.wrap(self.unwrap(wrapped, context), context)

    def add_version(self, tenant: uuid.UUID) -> int:
        with self._session() as session:
            status = self._open(session, tenant)
            number = (status.version or 0) + 1
            _generate(session, tenant, number)
        return number

    def retire(self, tenant: uuid.UUID, *, below: int) -> None:
        with self._session() as session:
            versions = self._required(session, tenant)
            for number in sorted(versions):
                if number < min(below, max(versions)):
                    for key in versions[number]:
                        key.destroy()

    def disable(self, tenant: uuid.UUID) -> None:
        with self._session() as session:
            _allow(_flat(self._required(session, tenant)), False)

    def enable(self, tenant: uuid.UUID) -> None:
        with self._session() as session:
            status = self._status(session, tenant)
            if status.state is not KeyState.DISABLED:
                keys.require_open(status, tenant, self._where)
            _allow(_flat(self._required(session, tenant)), True)

    def schedule_destruction(self, tenant: uuid.UUID, days: int) -> datetime:
        if not 0 <= days <= MOST_DAYS:
            raise BadValue(f"A token waits 0 to {MOST_DAYS} days, found {days}.")
        with self._session() as session:
            status = self._status(session, tenant)
            versions = self._required(session, tenant)
            moment = status.until or self._clock() + timedelta(days=days)
            _note(session, tenant, {"destroy_at": moment.isoformat()})
            _allow(_flat(versions), False)
            self._status(session, tenant)  # with no days to wait it goes now
        return moment

    def cancel_destruction(self, tenant: uuid.UUID) -> None:
        with self._session() as session:
            self._required(session, tenant)
            _note(session, tenant, {})

    def status(self, tenant: uuid.UUID) -> KeyStatus:
        with self._session() as session:
            return self._status(session, tenant)

    def probe(self) -> str:
        with self._session() as session:
            mechanisms = session.token.slot.get_mechanisms()
        if Mechanism.AES_GCM not in mechanisms:
            raise KeyUnreachable(f"{self._where} does not offer AES-GCM; choose another token.")
        return self._where

    def _open(self, session: Any, tenant: uuid.UUID) -> KeyStatus:
        status = self._status(session, tenant)
        keys.require_open(status, tenant, self._where)
        return status

    def _required(self, session: Any, tenant: uuid.UUID) -> dict[int, list[Any]]:
        status = self._status(session, tenant)
        if status.state in (KeyState.DESTROYED, KeyState.MISSING):
            keys.require_open(status, tenant, self._where)
        return _versions(session, tenant)

    def _status(self, session: Any, tenant: uuid.UUID) -> KeyStatus:
        """What is due to be destroyed is destroyed here."""
        note = _noted(session, tenant)
        versions = _versions(session, tenant)
        moment = datetime.fromisoformat(note["destroy_at"]) if note else None
        if moment is not None and moment <= self._clock():
            for key in _flat(versions):
                key.destroy()
            return KeyStatus(KeyState.DESTROYED, destroyed_at=moment)
        if not versions:
            return KeyStatus(KeyState.MISSING)
        closed = not all(key[Attribute.DECRYPT] for key in _flat(versions))
        state = KeyState.DISABLED if closed else KeyState.ENABLED
        if moment is not None:
            state = KeyState.PENDING_DESTRUCTION
        return KeyStatus(state, max(versions), min(versions), moment)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """One at a time: sign-in belongs to the process, and tokens are slow and few."""
        with _using:
            try:
                yield self._signed_in()
            except REFUSED as error:
                raise KeyDenied(
                    f"{self._where} refuses the PIN. Mend STRONGROOM_KEYS_PKCS11_PIN_FILE before a "
                    "few more tries lock the token.",
                ) from error
            except (answers.PKCS11Error, OSError) as error:
                _sessions.pop(self._place, None)  # the next try signs in anew
                found = type(error).__name__
                raise KeyUnreachable(
                    f"{self._where} gave no usable answer, found: {found}. Work waits, and goes on "
                    "by itself once the token answers.",
                    found=found,
                ) from error

    @property
    def _place(self) -> tuple[str, str]:
        return (self._token.module, self._token.label)

    def _signed_in(self) -> Any:
        found = _sessions.get(self._place)
        if found is None:
            library = pkcs11.lib(self._token.module)
            if self._token.module in _inherited:
                library.reinitialize()  # what the parent opened is not ours
                _inherited.discard(self._token.module)
            token = library.get_token(token_label=self._token.label)
            try:
                found = token.open(rw=True, user_pin=self._token.pin)
            except answers.UserAlreadyLoggedIn:
                found = token.open(rw=True)
            _sessions[self._place] = found
        return found


_using = threading.RLock()
_sessions: dict[tuple[str, str], Any] = {}
_inherited: set[str] = set()


def _forget_sessions() -> None:
    """A child must not share its parent's sessions, nor a lock some thread there held."""
    global _using
    _using = threading.RLock()
    _inherited.update(module for module, _ in _sessions)
    _sessions.clear()


os.register_at_fork(after_in_child=_forget_sessions)


def _label(tenant: uuid.UUID) -> str:
    return f"strongroom/{tenant}"


def _generate(session: Any, tenant: uuid.UUID, number: int) -> None:
    session.generate_key(
        KeyType.AES,
        256,
        store=True,
        label=_label(tenant),
        id=number.to_bytes(4, "big"),
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        template={
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.PRIVATE: True,
            Attribute.MODIFIABLE: True,
        },
    )


def _versions(session: Any, tenant: uuid.UUID) -> dict[int, list[Any]]:
    """The key objects by version.

    Twins may have made one version twice: either of the two may have wrapped something.
    """
    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: _label(tenant)}
    found: dict[int, list[Any]] = {}
    for key in session.get_objects(wanted):
        found.setdefault(int.from_bytes(key.id, "big"), []).append(key)
    return found


def _flat(versions: dict[int, list[Any]]) -> list[Any]:
    return [key for some in versions.values() for key in some]


def _tried(key: Any, wrapped: Wrapped, context: Context) -> bytes | None:
    """None when this key does not open it. Tokens say "general error" to a wrong tag, too."""
    try:
        return _unseal(key, wrapped.ciphertext, wrapped.nonce, context.encoded())
    except (answers.PKCS11Error, ValueError):
        if not _works(key):
            raise
        return None


def _notes(session: Any, tenant: uuid.UUID) -> list[Any]:
    wanted = {Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: _label(tenant)}
    return list(session.get_objects(wanted))


def _noted(session: Any, tenant: uuid.UUID) -> dict[str, str] | None:
    found = [json.loads(each[Attribute.VALUE]) for each in _notes(session, tenant)]
    return next((note for note in found if note), None)


def _note(session: Any, tenant: uuid.UUID, body: dict[str, str]) -> None:
    """Instead of what was noted before; an empty one takes it away."""
    old = _notes(session, tenant)
    if body:
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.LABEL: _label(tenant),
                Attribute.VALUE: json.dumps(body).encode(),
            }
        )
    for each in old:
        each.destroy()


def _allow(versions: list[Any], allowed: bool) -> None:
    for key in versions:
        key[Attribute.ENCRYPT] = allowed
        key[Attribute.DECRYPT] = allowed


def _seal(key: Any, secret: bytes, nonce: bytes, data: bytes) -> bytes:
    parameters = GCMParams(nonce, aad=data, tag_bits=TAG_BITS)
    sealed: bytes = key.encrypt(secret, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    return sealed


def _unseal(key: Any, sealed: bytes, nonce: bytes, data: bytes) -> bytes:
    parameters = GCMParams(nonce, aad=data, tag_bits=TAG_BITS)
    secret: bytes = key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    return secret


def _works(key: Any) -> bool:
    """Whether the token opens what it has just sealed: then the other secret is at fault."""
    nonce = os.urandom(NONCE_BYTES)
    try:
        return _unseal(key, _seal(key, SELF_TEST, nonce, b""), nonce, b"") == SELF_TEST
    except (answers.PKCS11Error, ValueError):
        return False
