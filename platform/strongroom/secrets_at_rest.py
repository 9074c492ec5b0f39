"""Secrets as rows: wrapped by the tenant's key, bound to what they are for.

A secret has generations. The newest that is not pending is the one that counts; a new one is
*staged* as pending, *promoted* once it works, and the older ones are *erased* last, so that a
crash in between leaves at least one that opens. The generation is bound into the wrap: an older
one put in the place of a newer does not open.

Whoever keeps further wraps of a secret (escrow, records in the buckets) adds a watcher: it is
called in the same transaction whenever a wrap was made, replaced or erased. Whoever keeps copies of
the wraps themselves adds a guard, which is asked before a version of the key is retired.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Select, UniqueConstraint, delete, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom.buried import Tombstone
from strongroom.db import Base, OfTenant
from strongroom.errors import NotFound
from strongroom.keys import (
    Context,
    KeyDestroyed,
    KeyMissing,
    KeyProvider,
    OtherProvider,
    Wrapped,
)


class Secret(OfTenant, Base):
    """One wrapped secret of a repository or a source."""

    __tablename__ = "secrets"
    __constraints__ = (UniqueConstraint("tenant_id", "subject_id", "purpose", "generation"),)

    subject_id: Mapped[uuid.UUID]
    purpose: Mapped[str]
    generation: Mapped[int] = mapped_column(default=1, server_default="1")
    pending: Mapped[bool] = mapped_column(default=False, server_default="false")
    provider: Mapped[str]
    key_id: Mapped[str]
    key_version: Mapped[int]
    algorithm: Mapped[str]
    nonce: Mapped[bytes]
    ciphertext: Mapped[bytes]
    created_at: Mapped[datetime]

    @property
    def context(self) -> Context:
        return Context(self.tenant_id, self.subject_id, self.purpose, self.generation)

    @property
    def wrapped(self) -> Wrapped:
        return Wrapped(
            self.provider,
            self.key_id,
            self.key_version,
            self.algorithm,
            self.nonce,
            self.ciphertext,
        )


What = Literal["sealed", "staged", "promoted", "rewrapped", "erased"]


@dataclass(frozen=True)
class Change:
    """Something happened to a wrap."""

    what: What
    context: Context  # with the generation it happened to
    secret: bytes | None = field(default=None, repr=False)  # in the clear: when sealed or staged


Watcher = Callable[[Session, Change], None]
# Asked before versions of a tenant's key below this one are retired; raises to hold it back.
Guard = Callable[[Session, uuid.UUID, int], None]


@dataclass(frozen=True)
class Vault:
    """Seals and opens secrets with one key provider."""

    provider: KeyProvider
    watchers: list[Watcher] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)

    def seal(self, session: Session, secret: bytes, context: Context, *, now: datetime) -> None:
        """Store the secret wrapped; it must be the only one of its subject and purpose."""
        self._insert(session, secret, context, now=now, pending=False)
        self._tell(session, Change("sealed", context, secret))

    def open(self, session: Session, context: Context) -> bytes:
        """The secret in the clear; raises NotFound or a KeysError."""
        row = _current(session, context)
        if row is None:
            raise NotFound(f"There is no {context.purpose} stored for {context.subject}.")
        return self.open_row(session, row)

    def open_row(self, session: Session, row: Secret) -> bytes:
        """One generation in the clear; raises a KeysError."""
        with self._judged(session, row):
            return self.provider.unwrap(row.wrapped, row.context)

    def stage(
        self, session: Session, context: Context, make: Callable[[], bytes], *, now: datetime
    ) -> Secret:
        """The next generation, pending; the one that is pending already if there is one."""
        _lock(session, context.tenant, shared=True)
        rows = generations(session, context)
        if rows and rows[-1].pending:
            return rows[-1]
        if not rows:
            raise NotFound(f"There is no {context.purpose} stored for {context.subject}.")
        secret, following = make(), replace(context, generation=rows[-1].generation + 1)
        row = self._insert(session, secret, following, now=now, pending=True)
        self._tell(session, Change("staged", following, secret))
        return row

    def promote(self, session: Session, row: Secret) -> None:
        """From now on it is the one that counts; those before stay until they are erased."""
        row = session.get_one(Secret, row.id)
        row.pending = False
        session.flush()
        self._tell(session, Change("promoted", row.context))

    def erase_before(self, session: Session, context: Context) -> int:
        """Erase all generations before the one that counts; gives how many."""
        rows = generations(session, context)
        counts = max(row.generation for row in rows if not row.pending)
        gone = [row for row in rows if row.generation < counts]
        for row in gone:
            session.execute(delete(Secret).where(Secret.id == row.id))
            self._tell(session, Change("erased", row.context))
        return len(gone)

    def erase(self, session: Session, context: Context) -> int:
        """Erase all generations: what this secret opened is closed. Gives how many."""
        rows = generations(session, context)
        for row in rows:
            session.execute(delete(Secret).where(Secret.id == row.id))
            self._tell(session, Change("erased", row.context))
        return len(rows)

    def rewrap(self, session: Session, row_id: uuid.UUID) -> bool:
        """The same secret under the newest version of the key; False when the row is gone."""
        row = session.execute(
            select(Secret).where(Secret.id == row_id).with_for_update()
        ).scalar_one_or_none()
        if row is None:
            return False
        _lock(session, row.tenant_id, shared=True)
        with self._judged(session, row):
            wrapped = self.provider.rewrap(row.wrapped, row.context)
        row.key_id, row.key_version = wrapped.key_id, wrapped.key_version
        row.algorithm, row.nonce = wrapped.algorithm, wrapped.nonce
        row.ciphertext = wrapped.ciphertext
        session.flush()
        self._tell(session, Change("rewrapped", row.context))
        return True

    def retire(self, session: Session, tenant: uuid.UUID, *, below: int) -> int:
        """Retire versions of the key, unless something still rests on them; gives how many rows do.

        Nobody seals meanwhile: what was wrapped with an old version a moment ago is counted.
        """
        _lock(session, tenant, shared=False)
        left = sum(n for version, n in versions(session, tenant).items() if version < below)
        if left == 0:
            for guard in self.guards:
                guard(session, tenant, below)
            self.provider.retire(tenant, below=below)
        return left

    @contextmanager
    def rotating(self, session: Session, tenant: uuid.UUID) -> Iterator[None]:
        """Until the transaction ends nobody else wraps for this tenant, or changes its key."""
        _lock(session, tenant, shared=False)
        yield

    def _insert(
        self, session: Session, secret: bytes, context: Context, *, now: datetime, pending: bool
    ) -> Secret:
        _lock(session, context.tenant, shared=True)
        with self._tombstoned(session, context.tenant):
            wrapped = self.provider.wrap(secret, context)
        row = Secret(
            tenant_id=context.tenant,
            subject_id=context.subject,
            purpose=context.purpose,
            generation=context.generation,
            pending=pending,
            provider=wrapped.provider,
            key_id=wrapped.key_id,
            key_version=wrapped.key_version,
            algorithm=wrapped.algorithm,
            nonce=wrapped.nonce,
            ciphertext=wrapped.ciphertext,
            created_at=now,
        )
        session.add(row)
        session.flush()
        return row

    def _tell(self, session: Session, change: Change) -> None:
        for watcher in self.watchers:
            watcher(session, change)

    @contextmanager
    def _judged(self, session: Session, row: Secret) -> Iterator[None]:
        if row.provider != self.provider.name:
            raise OtherProvider(
                f"The {row.purpose} of {row.subject_id} was wrapped by the key provider "
                f"{row.provider!r}, and the settings name {self.provider.name!r}. Set "
                "STRONGROOM_KEYS_PROVIDER back; no other key is tried.",
                wrapped_by=row.provider,
                set=self.provider.name,
            )
        with self._tombstoned(session, row.tenant_id):
            yield

    @contextmanager
    def _tombstoned(self, session: Session, tenant: uuid.UUID) -> Iterator[None]:
        """Some providers forget what they destroyed; our tombstones do not."""
        try:
            yield
        except KeyMissing as error:
            if session.get(Tombstone, tenant) is None:
                raise
            raise KeyDestroyed(
                f"Tenant {tenant} was destroyed on purpose, and its key with it. Nothing can or "
                "should bring it back.",
                tenant=str(tenant),
            ) from error


def vault_has(session: Session, context: Context) -> bool:
    """Whether a secret is stored for this."""
    return _current(session, context) is not None


def generations(session: Session, context: Context) -> Sequence[Secret]:
    """All wraps of this secret, the oldest first; the generation in the context is ignored."""
    return session.execute(_all(context).order_by(Secret.generation)).scalars().all()


def versions(session: Session, tenant: uuid.UUID) -> dict[int, int]:
    """How many secrets of the tenant rest on each version of its key, pending ones included."""
    rows = session.execute(
        select(Secret.key_version, func.count())
        .where(Secret.tenant_id == tenant)
        .group_by(Secret.key_version)
        .order_by(Secret.key_version)
    )
    return {row[0]: row[1] for row in rows}


def resting_below(session: Session, tenant: uuid.UUID, version: int) -> Sequence[uuid.UUID]:
    """Secrets of the tenant that an older version of its key wraps."""
    rows = session.execute(
        select(Secret.id)
        .where(Secret.tenant_id == tenant, Secret.key_version < version)
        .order_by(Secret.id)
    )
    return rows.scalars().all()


def _current(session: Session, context: Context) -> Secret | None:
    wanted = _all(context).where(Secret.pending.is_(False))
    return session.execute(wanted.order_by(Secret.generation.desc()).limit(1)).scalar_one_or_none()


def _all(context: Context) -> Select[Secret]:
    return select(Secret).where(
        Secret.tenant_id == context.tenant,
        Secret.subject_id == context.subject,
        Secret.purpose == context.purpose,
    )


def _lock(session: Session, tenant: uuid.UUID, *, shared: bool) -> None:
    """Wraps of one tenant are made side by side, but not while a version of its key is retired."""
    name = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    session.execute(text(f"select {name}(hashtextextended(:key, 0))"), {"key": f"keys:{tenant}"})
