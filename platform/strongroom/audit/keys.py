"""The keys that sign checkpoints: made here, kept sealed in the regions, one after another.

The private half lies in an envelope for the escrow keys and the platform's own KEK, in every region
and not in the database. The public half is said in a *statement*: a record that the platform's record
key signed, with a note in it that the key itself signed, and from the second key on also the one
before. So whoever pinned any of these keys, or the record key, can go on to the newest.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom import envelopes, escrow, records
from strongroom.actors import Actor
from strongroom.audit import entries, notes
from strongroom.audit.entries import Deed, LogKey
from strongroom.audit.errors import NoRegion
from strongroom.audit.notes import BadNote, PublicKey, SigningKey
from strongroom.audit.places import Place
from strongroom.db import Role
from strongroom.envelopes import EnvelopeClosed, Opener
from strongroom.errors import BadValue, StrongroomError
from strongroom.runtime import Runtime

KIND = "log-key"
PURPOSE = "log-key"
NAME = "strongroom.record/"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Statement:
    """What is said of one key; `public` is believed as far as the statement is."""

    number: int
    public: PublicKey
    note: bytes  # signed by the key, and by the one before

    @property
    def text(self) -> str:
        return _text(self.public, self.number)


def in_use(session: Session) -> Sequence[LogKey]:
    """All there ever were, the newest last."""
    return session.execute(select(LogKey).order_by(LogKey.number)).scalars().all()


def trusted(statements: Iterable[bytes], *, record_keys: Collection[str]) -> list[PublicKey]:
    """The keys that the record key vouches for. Raises records.RecordRefused or NoteRefused."""
    return _chain([_said(each, record_keys) for each in statements])


def trusted_from(statements: Iterable[bytes], pinned: PublicKey) -> list[PublicKey]:
    """For who has one of the keys: that one and those that it leads to."""
    said = [_said(each, None) for each in statements]
    at = next((n for n, each in enumerate(said) if each.public == pinned), None)
    if at is None:
        return [pinned]
    return [pinned, *_chain(said[at:])[1:]]


def unpinned(statements: Iterable[bytes]) -> list[PublicKey]:
    """What a file says of its own keys: enough to see that it agrees with itself, and no more."""
    return _chain([_said(each, None) for each in statements])


def _chain(said: Sequence[Statement]) -> list[PublicKey]:
    """Each signed its own statement, and each but the first was introduced by the one before."""
    found: list[PublicKey] = []
    for number, each in enumerate(said, said[0].number if said else 1):
        text, by = notes.opened(each.note, [each.public, *found[-1:]])
        right = number == each.number and text == each.text and each.public in by
        if not right or (found and found[-1] not in by):
            raise BadNote(f"Key {each.number} of the record is not vouched for by the one before.")
        found.append(each.public)
    return found


def _said(statement: bytes, record_keys: Collection[str] | None) -> Statement:
    """With no record keys at hand the record is believed as far as the note in it bears it out."""
    keys = record_keys
    try:
        if keys is None:
            keys = {json.loads(statement)["key"]}
        body = records.read(statement, kind=KIND, trusted=keys)
        public = PublicKey.from_text(body["public"])
        return Statement(int(body["number"]), public, body["note"].encode())
    except (ValueError, KeyError, TypeError, AttributeError, BadValue):
        raise BadNote("What is said of a key of the record cannot be read.") from None


def public_of(statement: bytes) -> str:
    """Which key a statement is of; whether to believe it, `trusted` says."""
    return str(_said(statement, None).public)


def make(
    runtime: Runtime, places: Sequence[Place], before: SigningKey | None, *, by: Actor
) -> SigningKey:
    """The first key, or the next one. Raises NoRegion unless it lies in one region at least.

    It counts from the moment that its row is there.
    """
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR) as session:
        number = len(in_use(session)) + 1
    name = before.name if before is not None else f"{NAME}{uuid.uuid4()}"
    key = SigningKey(name, os.urandom(notes.KEY_BYTES))
    statement = _statement(runtime, key, before, number, now)
    _seal(runtime, places, number, statement, key.seed)
    with runtime.database.session(Role.OPERATOR) as session:
        session.add(LogKey(number=number, public=str(key.public), statement=statement, made_at=now))
        deed = Deed("record.key-made", "record_keys", details={"public": str(key.public)})
        entries.note(session, deed, by=by, at=now)
    return key


def _statement(
    runtime: Runtime, key: SigningKey, before: SigningKey | None, number: int, now: datetime
) -> bytes:
    signers = [key] if before is None else [key, before]
    body = {
        "kind": KIND,
        "number": number,
        "public": str(key.public),
        "made_at": now.isoformat(),
        "note": notes.sign(_text(key.public, number), signers).decode(),
    }
    return records.Signer.from_text(runtime.settings.record_key).sign(body)


def _distribute(places: Sequence[Place], number: int, statement: bytes, envelope: bytes) -> None:
    kept = 0
    for place in places:
        try:
            place.keep_key(number, statement, envelope)
            kept += 1
        except StrongroomError as error:
            log.error("a region has no key of the record", region=place.name, error=error.message)
    if not kept:
        raise NoRegion("No region takes the key that is to sign the record. It is tried again.")


def signing(runtime: Runtime, places: Sequence[Place], row: LogKey) -> SigningKey:
    """The private half, out of the first region that has it. Raises NoRegion or EnvelopeClosed."""
    public = PublicKey.from_text(row.public)
    found: bytes | None = None
    for place in places:
        try:
            kept = place.key(row.number)
        except StrongroomError as error:
            log.warning("a region does not answer", region=place.name, error=error.message)
            continue
        if kept is None:
            continue
        found = _opened(runtime, kept[1])
        key = SigningKey(public.name, found)
        if key.public == public:
            return key
        log.error("a region has another key of the record", region=place.name)
    if found is not None:
        raise EnvelopeClosed("What the regions have is not the key that signs the record.")
    raise NoRegion(f"No region gives key {row.number} of the record. It is tried again.")


def keep(runtime: Runtime, places: Sequence[Place]) -> int:
    """Sealed to the escrow keys in use, in every region; gives how many envelopes were written."""
    with runtime.database.session(Role.OPERATOR) as session:
        rows = in_use(session)
        wanted = {str(key.id) for key in escrow.in_use(session)}
    lacking = [
        place
        for place in places
        if rows and ((kept := place.key(rows[-1].number)) is None or _escrows(kept[1]) != wanted)
    ]
    if lacking:
        key = signing(runtime, places, rows[-1])
        _seal(runtime, lacking, rows[-1].number, rows[-1].statement, key.seed)
    return len(lacking)


def seal_again(runtime: Runtime, places: Sequence[Place], opener: Opener) -> None:
    """After a recovery, for the platform's KEK of now. Raises EnvelopeClosed."""
    for place in places:
        number = 1
        while (kept := place.key(number)) is not None:
            statement, envelope = kept
            seed = envelopes.unseal(_recipients(envelope), PURPOSE, opener)
            _seal(runtime, [place], number, statement, seed)
            number += 1


def _seal(
    runtime: Runtime, places: Sequence[Place], number: int, statement: bytes, seed: bytes
) -> None:
    with runtime.database.session(Role.OPERATOR) as session:
        wraps = escrow.in_use(session)
    sealed = envelopes.close(seed, PURPOSE, escrow=wraps, provider=runtime.vault.provider)
    _distribute(places, number, statement, json.dumps({"recipients": sealed}).encode())


def _escrows(envelope: bytes) -> set[str]:
    try:
        return {each["escrow"] for each in _recipients(envelope) if "escrow" in each}
    except EnvelopeClosed:
        return set()


def _opened(runtime: Runtime, envelope: bytes) -> bytes:
    return envelopes.unseal(_recipients(envelope), PURPOSE, Opener(provider=runtime.vault.provider))


def _recipients(envelope: bytes) -> list[dict[str, str]]:
    try:
        return list(json.loads(envelope)["recipients"])
    except (ValueError, KeyError, TypeError):
        raise EnvelopeClosed("The envelope of the record's key cannot be read.") from None


def _text(public: PublicKey, number: int) -> str:
    return f"{public.name}\nkey {number}\n{public}\n"
