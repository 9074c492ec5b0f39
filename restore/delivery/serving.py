"""Giving an artefact to the one session that redeemed it, range by range.

What the serving process can open is this: the key of a delivery that has not ended, by the tenant's
key; and with it rights to read that one artefact. It has no rights in any region of its own.
No database connection is held while bytes are on their way.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from restore.delivery import ending, sealing
from restore.delivery.asking import Asker
from restore.delivery.making import key_context
from restore.delivery.models import Delivery
from restore.delivery.ranges import Sent, Span
from restore.delivery.sealing import CHUNK, TAG, ArtefactDamaged, Head, Seal
from restore.delivery.states import SERVED, DeliveryState, End, Kind
from strongroom import envelopes
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.errors import NotFound, StrongroomError
from strongroom.lifecycle import LifecycleError, Move, Reason, advance
from strongroom.people import tokens
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.storage import Credentials, Store

BATCH = 4  # chunks that are asked of the region at once, and held
STREAMS = 4  # at once in one process: the other threads serve pages
OF_ONE = 2  # of these for one person, so that nobody keeps the others waiting
OF_TENANT = 3  # for all persons of one tenant, however many it lets in
DOWNLOADS = tuple(each for each in Kind if not each.is_preview)
COUNTED_EVERY = 16 * 1024 * 1024  # bytes between two words about what was served


class Streams:
    """How many answers are on their way in this process, and for whom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._persons: Counter[UUID] = Counter()
        self._tenants: Counter[UUID] = Counter()

    def begin(self, account: UUID, tenant: UUID) -> bool:
        """False when there are enough."""
        with self._lock:
            if self._persons.total() >= STREAMS or self._tenants[tenant] >= OF_TENANT:
                return False
            if self._persons[account] >= OF_ONE:
                return False
            self._persons[account] += 1
            self._tenants[tenant] += 1
            return True

    def end(self, account: UUID, tenant: UUID) -> None:
        with self._lock:
            self._persons -= Counter({account: 1})
            self._tenants -= Counter({tenant: 1})


streams = Streams()

MOST_TIMES = 3  # the size: who broke off and began again that often asks for it anew
LEAST = 1_000_000  # bytes: of small ones it makes no difference


class NotServed(NotFound):
    """There is nothing here for whoever asks: no reason is told."""

    code = "delivery-not-served"


class Stopped(StrongroomError):
    """Whoever is served lost the right to it, or the delivery ended."""

    code = "delivery-stopped"


def redeem(session: Session, row: Delivery, asker: Asker, *, at: datetime) -> str:
    """The token of the address, for this person in this session; given once.

    Raises NotServed.
    """
    if row.state is not DeliveryState.READY or not _is_theirs(row, asker, at=at):
        raise NotServed("This download was fetched before, has ended, or is somebody else's.")
    token = tokens.new_token()
    values = {"link_hash": tokens.hashed(token), "redeemed_at": at}
    reason = Reason("download-redeemed", {"from": asker.address})
    try:
        move = Move(asker.actor, at, reason, values=values)
        advance(session, row, DeliveryState.REDEEMED, move)
    except LifecycleError as error:
        raise NotServed("Somebody was quicker.") from error
    return token


def require_open(row: Delivery | None, token: str, asker: Asker, *, at: datetime) -> Delivery:
    """The delivery, if this address serves it to this session now. Raises NotServed."""
    if (
        row is None
        or row.state is not DeliveryState.REDEEMED
        or row.link_hash is None
        or not _is_theirs(row, asker, at=at)
        or row.served_bytes >= MOST_TIMES * max(row.size or 0, LEAST)
        or not tokens.same(row.link_hash.hex(), tokens.hashed(token).hex())
    ):
        raise NotServed("There is nothing here.")
    return row


def _is_theirs(row: Delivery, asker: Asker, *, at: datetime) -> bool:
    return (
        row.asker_id == asker.account
        and row.web_session_id == asker.web_session
        and not row.kind.is_preview
        and row.expires_at is not None
        and at < row.expires_at
    )


@dataclass(frozen=True)
class Artefact:
    """One that lies ready, opened."""

    seal: Seal
    head: Head
    store: Store

    def pieces(self, span: Span) -> Iterator[bytes]:
        """These bytes, none before its chunk has proven whole. Raises ArtefactDamaged, StorageError."""
        count = sealing.count(self.head.size)
        if span.length <= 0:
            self._chunk(0, of=count)
            return
        first, last = span.first // CHUNK, span.last // CHUNK
        for batch in range(first, last + 1, BATCH):
            for number, chunk in self._chunks(batch, min(batch + BATCH - 1, last), of=count):
                start = span.first - number * CHUNK if number == first else 0
                end = span.last - number * CHUNK + 1 if number == last else CHUNK
                yield chunk[start:end]

    def whole(self) -> bytes:
        """Of a preview, which is small."""
        return b"".join(self.pieces(Span(0, self.head.size - 1)))

    def _chunk(self, number: int, *, of: int) -> bytes:
        [(_, chunk)] = self._chunks(number, number, of=of)
        return chunk

    def _chunks(self, first: int, last: int, *, of: int) -> Iterator[tuple[int, bytes]]:
        begin = first * (CHUNK + TAG)
        end = min((last + 1) * (CHUNK + TAG), sealing.sealed_size(self.head.size)) - 1
        _, pieces = self.store.part(self.head.object_key, begin, end, version=self.head.version_id)
        sealed = sealing.cut(pieces, CHUNK + TAG)
        for number in range(first, last + 1):
            yield number, self.seal.opened(next(sealed, b""), number, of=of)


def opened(runtime: Runtime, row: Delivery) -> Artefact:
    """Unwraps its key. Raises a KeysError, ArtefactDamaged, or NotServed for one that has ended."""
    over = row.expires_at is None or runtime.now() >= row.expires_at
    if over or row.sealed is None or row.head is None:
        raise NotServed("There is nothing here.")
    with runtime.database.session(Role.WEB, tenant=row.tenant_id) as session:
        wanted = select(Region).where(Region.name == row.region)
        address = session.execute(wanted).scalar_one().address()
    wrapped = envelopes.from_json(row.sealed)
    key = runtime.vault.provider.unwrap(wrapped, key_context(row))
    seal = Seal(key, row.tenant_id, row.id)
    head = seal.open_head(row.head)
    rights = Credentials(head.access_key, head.secret_key, head.session_token)
    return Artefact(seal, head, Store(address, rights))


def fail(runtime: Runtime, row: Delivery, error: StrongroomError) -> None:
    """It will never be served: whoever asked sees why, and can ask for it again."""
    with runtime.database.session(Role.WEB, tenant=row.tenant_id) as session:
        found = session.get_one(Delivery, row.id)
        if found.state in SERVED:
            now, reason = runtime.now(), Reason(error.code)
            ending.end(session, found, End.FAILED, reason, by=WORKER, at=now)


@dataclass
class Serving:
    """One answer that is being sent."""

    runtime: Runtime
    row: Delivery
    asker: Asker
    artefact: Artefact
    may_go_on: Callable[[], bool]  # of the person: signed in still, and allowed to

    def send(self, span: Span) -> Generator[bytes, None, None]:
        """The bytes; what was sent is written down at the end, however that comes.

        Before each chunk it is asked again whether to go on. Close it if it is not read to its end.
        """
        at = counted = span.first
        try:
            for piece in self.artefact.pieces(span):
                if not self._goes_on():
                    raise Stopped(f"Delivery {self.row.id} is served no longer.")
                yield piece
                at += len(piece)
                if at - counted >= COUNTED_EVERY:
                    self._count(counted, at)
                    counted = at
        except ArtefactDamaged as error:
            fail(self.runtime, self.row, error)
            raise
        finally:
            self._count(counted, at)

    def _goes_on(self) -> bool:
        if not self.may_go_on():
            return False
        with self._session() as session:
            wanted = select(Delivery.state, Delivery.expires_at).where(Delivery.id == self.row.id)
            now = session.execute(wanted).one_or_none()
        return (
            now is not None
            and now.state is DeliveryState.REDEEMED
            and self.runtime.now() < now.expires_at
        )

    def _count(self, first: int, end: int) -> None:
        """What was sent; when that is all, nothing more is."""
        assert self.row.size is not None  # it is ready
        with self._session() as session:
            wanted = select(Delivery).where(Delivery.id == self.row.id).with_for_update()
            row = session.execute(wanted).scalar_one()
            row.served_bytes += end - first
            sent = Sent.of(row.sent).and_(first, end - 1)
            row.sent = sent.to_json()
            if row.state is DeliveryState.REDEEMED and sent.is_all(self.row.size):
                params = {"from": self.asker.address, "bytes": row.served_bytes}
                reason = Reason("download-complete", params)
                session.flush()
                now = self.runtime.now()
                ending.end(session, row, End.COMPLETE, reason, by=self.asker.actor, at=now)

    def _session(self) -> AbstractContextManager[Session]:
        return self.runtime.database.session(Role.WEB, tenant=self.row.tenant_id)


def of_person(session: Session, account: UUID, *, most: int = 50) -> list[Delivery]:
    """Downloads that a person asked for, the newest first."""
    wanted = (
        select(Delivery)
        .where(Delivery.asker_id == account, Delivery.kind.in_(DOWNLOADS))
        .order_by(Delivery.asked_at.desc())
        .limit(most)
    )
    return list(session.execute(wanted).scalars())
