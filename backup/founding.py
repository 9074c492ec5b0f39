"""A repository's first moment, and what is done to one whose last holder was lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backup import acts, placing, repositories, watching
from backup.keyfile import Stamp
from backup.models import Repository
from backup.repositories import Site
from backup.restic import commands, creation
from backup.states import ActKind, RepositoryState
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.keeper import Held
from strongroom.lifecycle import Move, Overtaken, Reason, advance
from strongroom.storage import Act as Rights
from strongroom.storage import Store


@dataclass(frozen=True)
class Within:
    """The objects below one prefix, under their names within it."""

    store: Store
    prefix: str

    def get(self, key: str) -> bytes:
        return self.store.get(self.prefix + key)

    def part(self, key: str, first: int, last: int | None) -> tuple[int, Iterable[bytes]]:
        return self.store.part(self.prefix + key, first, last)

    def put(self, key: str, data: bytes) -> None:
        self.store.put(self.prefix + key, data)

    def list(self, prefix: str) -> Iterable[str]:
        for found in self.store.list(self.prefix + prefix):
            yield found.key.removeprefix(self.prefix)

    def sizes(self, prefix: str) -> Iterable[tuple[str, int]]:
        for found in self.store.list(self.prefix + prefix):
            yield found.key.removeprefix(self.prefix), found.size

    def delete(self, key: str) -> None:
        self.store.delete(self.prefix + key)


def make(site: Site, held: Held) -> Repository:
    """Make the repository with its low-cost key file; safe to call again after a crash.

    All repositories of a tenant cut files at the same places, so that a copy and a backup of the
    same data share what is stored. Raises RegionNotAllowed where the tenant's data may not lie.
    """
    runtime, tenant = site.runtime, site.row.tenant_id
    placing.require(runtime, tenant, site.row.id)
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        polynomial = session.execute(
            select(Repository.polynomial).where(Repository.polynomial.is_not(None)).limit(1)
        ).scalar_one_or_none()
    rights = site.credentials(Rights.CREATE)  # short-lived; a takeover does not wait for them
    created = creation.create(
        Within(Store(site.region.address(), rights), site.prefix),
        site.password,
        Stamp(created=runtime.now()),
        polynomial=polynomial,
    )
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        row = session.get_one(Repository, held.row_id)
        values = {"key_hint": created.key_id, "polynomial": created.config.polynomial}
        if row.state is RepositoryState.COMING:  # made, and not in use before it is filled
            return _made_to_be_filled(session, held, values)
        reason = Reason("made")
        move = Move(by=WORKER, at=runtime.now(), reason=reason, fence=held.fence, values=values)
        advance(session, row, RepositoryState.READY, move)
    return row


def _made_to_be_filled(session: Session, held: Held, values: dict[str, Any]) -> Repository:
    made = session.execute(
        update(Repository)
        .where(Repository.id == held.row_id, Repository.fence == held.fence)
        .values(**values)
        .returning(Repository)
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if made is None:
        raise Overtaken(f"Repository {held.row_id} was taken by another worker.")
    return made


def tidy(site: Site, held: Held, *, but: UUID) -> None:
    """After a lost holder: clear its locks, and index what it had uploaded, so that it is reused.

    Only ever under our own lease: it removes every lock there is. `but` is our own open act.
    """
    runtime = site.runtime
    here = watching.surroundings(site, seconds=3600, stop=repositories.Lost(held))
    commands.unlock_all(site.restic(Rights.BACKUP), here)
    store = site.store(Rights.BACKUP)
    acts.close_open(site, store=store, but=but)
    healing = site.restic_with(repositories.deleting(site, held, Rights.HEAL))
    with acts.recorded(site, ActKind.PRUNE, acts.INDEXED, store=store):
        commands.repair_index(healing, here)
    with runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        session.execute(
            update(Repository).where(Repository.id == site.row.id).values(unclean=False)
        )
