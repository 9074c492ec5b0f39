"""What lies in a repository, held against what its rows say should: looked at under its lease.

A listing is no proof by itself: a region that shows nothing, too little, or what belongs to
somebody else has nothing that could be damaged. So each pack that was ever read has to be there,
unless an act of ours removed it, and where there are snapshots there are packs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backup import rota
from backup.inventory import key_of_pack, name_of
from backup.leases import Leased
from backup.models import Act, ActVersion, Copy, Healing, Pack, Proof, Snapshot
from backup.repositories import Site
from backup.scrub import pack_key
from backup.states import ActKind, HealingState, ProofState
from strongroom.db import Role

REMOVERS = (ActKind.PRUNE, ActKind.HEAL)  # acts of ours that remove packs
SHORT = 0.9  # of what the largest snapshot stored; copies are compressed again, a little otherwise
REPORTS = 50  # failed proofs looked through for packs that a healing made up for
AT_ONCE = 1000  # names in one statement


@dataclass(frozen=True)
class Known:
    """A pack that was read before."""

    read_at: datetime
    whole: bool


@dataclass(frozen=True)
class Holdings:
    """A repository at one moment."""

    packs: Mapping[str, int]  # name to bytes, as listed
    known: Mapping[str, Known]  # of those, what was read before
    missing: tuple[str, ...]  # packs read before, not listed, and not removed by us
    snapshots: tuple[UUID, ...]  # rows whose snapshot was listed
    errors: tuple[str, ...] = ()  # why the listing cannot be believed
    # keys in data/ that are no packs, to bytes: none of ours
    foreign: Mapping[str, int] = field(default_factory=dict)

    def unread_since(self, since: datetime) -> dict[str, int]:
        """The packs not found whole after that moment."""
        return {name: size for name, size in self.packs.items() if not self._is_read(name, since)}

    def share(self, day: int, *, every_days: int, now: datetime) -> dict[str, int]:
        """The packs to read on that day of the rota: those whose turn it is, and what must not
        wait: those never read or found damaged, and those that would be older than `every_days`
        before the next share."""
        late = now - rota.DAY * (every_days - 1)
        of = rota.parts(every_days)
        return {
            name: size
            for name, size in self.packs.items()
            if rota.is_turn(name, day, of) or not self._is_read(name, late)
        }

    def oldest(self, news: Mapping[str, datetime], gone: Collection[str]) -> datetime | None:
        """The oldest reading among the packs, given what was just read; None if one was never."""
        read = {name: each.read_at for name, each in self.known.items() if each.whole} | dict(news)
        left = [name for name in self.packs if name not in gone]
        if not left or any(name not in read for name in left):
            return None
        return min(read[name] for name in left)

    def _is_read(self, name: str, since: datetime) -> bool:
        known = self.known.get(name)
        return known is not None and known.whole and known.read_at > since


def take(leased: Leased) -> Holdings:
    """List the packs, and compare; nobody prunes meanwhile, since we hold the lease."""
    site = leased.site
    found = {
        each.key.removeprefix(site.prefix): each.size
        for each in leased.store.list(site.prefix + "data/")
    }
    listed, foreign = packs_of(found)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        rows = session.execute(
            select(Pack.name, Pack.read_at, Pack.whole).where(Pack.repository_id == site.row.id)
        )
        known = {row.name: Known(row.read_at, row.whole) for row in rows}
        standing = session.execute(
            select(Snapshot.id, Snapshot.added_bytes).where(
                Snapshot.repository_id == site.row.id, Snapshot.standing()
            )
        ).all()
        unlisted = [name for name in known if name not in listed]
        ours = _removed_by_us(session, site, unlisted)
        if left := {name: known[name].read_at for name in unlisted if name not in ours}:
            here = site.row.id
            ours |= replaced(left, _reports(session, here), _healed(session, here))
        _forget(session, site, ours)
        return Holdings(
            packs=listed,
            known={name: each for name, each in known.items() if name in listed},
            missing=tuple(sorted(set(unlisted) - ours)),
            snapshots=tuple(row.id for row in standing),
            foreign=foreign,
            errors=doubts(listed.values(), [row.added_bytes for row in standing]),
        )


def packs_of(found: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Packs by name, and the keys of what restic would never name or put there so. Pure.

    restic passes the latter over: no pack of ours is like that, and it harms none.
    """
    packs, foreign = {}, {}
    for key, size in found.items():
        name = name_of(key)
        if name is not None and key == key_of_pack(name):
            packs[name] = size
        else:
            foreign[key] = size
    return packs, foreign


def doubts(sizes: Collection[int], added: Collection[int]) -> tuple[str, ...]:
    """Why a listing of packs cannot be all that snapshots, with what each stored, rest on. Pure."""
    if not added:
        return ()
    if not sizes:
        return (f"the region lists no packs, but {len(added)} snapshots rest on some",)
    if sum(sizes) < SHORT * max(added):
        short = f"{sum(sizes)} bytes of packs, but one snapshot alone stored {max(added)}"
        return (f"the region lists {short}",)
    return ()


def replaced(
    read: Mapping[str, datetime],
    reports: Iterable[tuple[datetime, Collection[str]]],
    healed: datetime | None,
) -> set[str]:
    """Of packs that are gone, with their last readings: those that a healing made up for. Pure.

    A proof had reported them, later than they were read, before the healing ended: it brought what
    they held back under other names, and the repository was checked afterwards.
    """
    if healed is None:
        return set()
    return {
        name
        for at, names in reports
        for name in names
        if name in read and read[name] <= at <= healed
    }


def _healed(session: Session, repository: UUID) -> datetime | None:
    """When the last healing there ended that left nothing unmended, or said what is lost."""
    return session.execute(
        select(func.max(Healing.ended_at)).where(
            Healing.repository_id == repository,
            Healing.state.in_([HealingState.HEALED, HealingState.PARTLY]),
        )
    ).scalar_one()


def _reports(session: Session, repository: UUID) -> list[tuple[datetime, Collection[str]]]:
    """The latest proofs there that failed: when each ended, and the packs it named."""
    rows = session.execute(
        select(Proof.ended_at, Proof.found)
        .join(Copy, Copy.id == Proof.copy_id)
        .where(Copy.repository_id == repository, Proof.state == ProofState.FAILED)
        .order_by(Proof.ended_at.desc())
        .limit(REPORTS)
    ).all()
    return [(row.ended_at, row.found["damaged"]) for row in rows if row.ended_at and row.found]


def went_by_us(site: Site, names: Collection[str]) -> set[str]:
    """Of packs that were listed and are gone: those that an act of ours removed, or that one
    which goes on now may have."""
    if not names:
        return set()
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        goes_on = session.execute(
            select(Act.id)
            .where(
                Act.repository_id == site.row.id,
                Act.kind.in_(REMOVERS),
                Act.ended_at.is_(None),
            )
            .limit(1)
        ).first()
        return _removed_by_us(session, site, names) if goes_on is None else set(names)


def _removed_by_us(session: Session, site: Site, names: Collection[str]) -> set[str]:
    found: set[str] = set()
    wanted = sorted(names)
    for first in range(0, len(wanted), AT_ONCE):
        keys = {pack_key(site.prefix, name): name for name in wanted[first : first + AT_ONCE]}
        rows = session.execute(
            select(ActVersion.key)
            .join(Act, Act.id == ActVersion.act_id)
            .where(Act.repository_id == site.row.id, ActVersion.key.in_(list(keys)))
        )
        found |= {keys[row.key] for row in rows}
    return found


def _forget(session: Session, site: Site, names: Collection[str]) -> None:
    """What we removed is no longer expected."""
    wanted = sorted(names)
    for first in range(0, len(wanted), AT_ONCE):
        session.execute(
            delete(Pack).where(
                Pack.repository_id == site.row.id, Pack.name.in_(wanted[first : first + AT_ONCE])
            )
        )
