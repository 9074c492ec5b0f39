"""Bringing back what somebody else deleted or overwrote in a region: one repository at a time.

A delete leaves a marker, and everything beneath it. Markers that no recorded act of ours made are
removed, so that what lies beneath is current again; what we forgot or pruned stays gone. Then the
repository is mended from its own versions, checked, counted and unfrozen, and proofs are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from backup import acts, beneath, census, founding, healing, inventory, leases, mended, repositories
from backup.acts import Pair
from backup.inventory import CONFIG, Inventory, Reader, key_of_pack, name_of
from backup.leases import Leased
from backup.losses import gone, rows_of
from backup.repositories import Site
from backup.restic import commands, repairs
from backup.restic.flags import CheckExtent
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.program import Stopped
from strongroom.runtime import Runtime
from strongroom.storage import Act, Kept, Store, Version

SECONDS = 6 * 3600.0
AT_ONCE = 5000  # markers removed with one set of short credentials
ALL = ("keys/", CONFIG, "index/", "snapshots/", "data/")

log = structlog.get_logger(__name__)


@dataclass
class Undeleted:
    """What became of one repository."""

    tenant: UUID
    repository: UUID
    back: int = 0  # objects that are there again
    kept: list[str] = field(default_factory=list)  # keys whose markers the region would not remove
    missing: list[str] = field(default_factory=list)  # restic ids, and what the check said
    clean: bool = False  # restic's check of the structure
    proofs: int = 0  # of the data, that are wanted now
    problem: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.clean and not self.missing and not self.kept and self.problem is None

    def to_json(self) -> dict[str, Any]:
        return {
            "repository": str(self.repository),
            "back": self.back,
            "kept": self.kept,
            "missing": self.missing,
            "clean": self.clean,
            "proofs": self.proofs,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Plan:
    """What there is to bring back."""

    markers: tuple[Pair, ...]  # of somebody else, to be removed
    deleted: frozenset[str]  # keys that are current again then
    overwritten: tuple[str, ...]  # keys with other content beneath that nobody of us left there


def plan(stock: Inventory, *, since: datetime | None) -> Plan:
    """Markers that no act of ours made, since then. Pure.

    One that lies below a marker of ours goes too: the object stays deleted, as we wanted it.
    """
    markers: list[Version] = [
        version
        for versions in stock.versions.values()
        for version in versions
        if version.marker
        and not stock.is_known(version)
        and (since is None or version.modified >= since)
    ]
    going = {acts.pair_of(each) for each in markers}
    deleted = set()
    for key, versions in stock.versions.items():
        left = [each for each in versions if acts.pair_of(each) not in going]
        if versions[0].marker and left and not left[0].marker:
            deleted.add(key)
    overwritten = [key for folder in ALL for key in stock.overwritten(folder) if key not in deleted]
    return Plan(tuple(sorted(going)), frozenset(deleted), tuple(overwritten))


def preview(site: Site, *, since: datetime | None) -> Undeleted:
    """What would be brought back; changes nothing, and takes no lease."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        recorded = acts.known_versions(session, site.row.id)
    listed = site.store(Act.BACKUP).versions(site.prefix)
    found = plan(inventory.of(listed, site.prefix, recorded), since=since)
    return Undeleted(
        site.row.tenant_id, site.row.id, back=len(found.deleted) + len(found.overwritten)
    )


def undelete(
    runtime: Runtime,
    tenant: UUID,
    repository_id: UUID,
    *,
    since: datetime | None,
    by: Actor,
    say: Callable[[str], None] = lambda _: None,
) -> Undeleted:
    """Bring one repository back; what goes wrong stands in the answer. May be repeated."""
    done = Undeleted(tenant, repository_id)
    try:
        with leases.leased(runtime, tenant, repository_id, damaged=True) as leased:
            _undelete(leased, done, since=since, say=say)
            _record(leased, done, by=by)
    except StrongroomError as error:
        log.warning("undelete failed", repository=str(repository_id), error=error.message)
        done.problem = error.message
    return done


def _undelete(
    leased: Leased, done: Undeleted, *, since: datetime | None, say: Callable[[str], None]
) -> None:
    site = leased.site
    # What a lost worker of ours deleted is known only now.
    acts.close_open(site, store=leased.store, but=leased.act)
    found = plan(beneath.take_stock(leased), since=since)
    say(f"{len(found.deleted)} objects are deleted, {len(found.overwritten)} overwritten")
    kept = remove_markers(leased, found.markers)
    done.kept = sorted({each.key.removeprefix(site.prefix) for each in kept})
    done.back = len(found.deleted.difference(done.kept))
    reader = Reader(site, site.store(Act.READ))
    done.back += _mend(leased, reader, found.overwritten)
    done.back += _bring_back_needed(leased, reader)
    lost = _lacking(leased, beneath.take_stock(leased))
    founding.tidy(site, leased.held, but=leased.act)
    if not _is_clean(leased, done, lost):
        say("the structure is not whole yet: what our own removal hid meanwhile comes back too")
        done.back += _bring_back_hidden(leased, reader)
        done.back += _bring_back_needed(leased, reader)
        founding.tidy(site, leased.held, but=leased.act)
        _is_clean(leased, done, lost)


def remove_markers(leased: Leased, markers: Sequence[Pair]) -> list[Kept]:
    """Remove exactly these delete markers; gives those that the region kept."""
    kept: list[Kept] = []
    for first in range(0, len(markers), AT_ONCE):
        if leased.held.is_lost:
            raise Stopped("The lease was lost; run the command again.")
        rights = repositories.deleting(leased.site, leased.held, Act.SWEEP)
        sweeper = Store(leased.site.region.address(), rights)
        kept += sweeper.delete_versions(markers[first : first + AT_ONCE])
    return kept


def _mend(leased: Leased, reader: Reader, overwritten: Sequence[str]) -> int:
    """Good versions on top of bad ones, in keys, config, indexes, snapshots and packs."""
    stock = beneath.take_stock(leased)
    packs = [name for key in overwritten if key.startswith("data/") and (name := name_of(key))]
    bad = beneath.suspects(stock, reader, packs)
    back = beneath.bring_back(leased, stock, reader, bad)
    beneath.explain(leased, reader, {*overwritten, *back})
    return len(back)


def _is_clean(leased: Leased, done: Undeleted, lost: Sequence[str]) -> bool:
    here = leased.here(seconds=SECONDS)
    report = commands.check(leased.site.restic(Act.READ), here, CheckExtent())
    census.take(leased.site, leased.store)
    done.clean = report.ok
    done.missing = [f"snapshots/{row.restic_id}" for row in gone(leased.site)]
    if not report.ok:
        done.missing += [*lost, *report.messages[:20]]
    return done.clean and not done.missing


def _bring_back_needed(leased: Leased, reader: Reader) -> int:
    """What indexes and rows name: deleted while our own removal was under way, it counts as ours."""
    stock = beneath.take_stock(leased)
    lacking = [key for key in _lacking(leased, stock) if key in stock.versions]
    back = beneath.bring_back(leased, stock, reader, lacking)
    beneath.explain(leased, reader, back)
    return len(back)


def _bring_back_hidden(leased: Leased, reader: Reader) -> int:
    """Indexes that an act of ours hid: one that was superseded does no harm."""
    stock = beneath.take_stock(leased)
    hidden = [key for key in stock.versions if key.startswith("index/") and not stock.current(key)]
    back = beneath.bring_back(leased, stock, reader, hidden)
    beneath.explain(leased, reader, back)
    return len(back)


def _lacking(leased: Leased, stock: Inventory) -> list[str]:
    """Packs that an index names, and snapshots that a row names, and that do not lie there."""
    wanted = {f"snapshots/{row.restic_id}" for row in rows_of(leased.site, lost=True)}
    reading, here = leased.site.restic(Act.READ), leased.here(seconds=SECONDS)
    for key in stock.here("index/"):
        found = repairs.index(reading, here, name_of(key) or "")
        wanted.update(key_of_pack(pack.name) for pack in found)
    return sorted(key for key in wanted if not stock.current(key))


def _record(leased: Leased, done: Undeleted, *, by: Actor) -> None:
    site, now = leased.site, leased.site.runtime.now()
    stock = beneath.take_stock(leased)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        if done.back:
            mended.undate(session, site.row.id)
        done.proofs = mended.settle(session, leased, stock, names=(), now=now, thawing=done.clean)
        if not done.is_whole:  # from other regions, if they have it
            healing.want(
                session,
                site.row.tenant_id,
                site.row.id,
                seen={"undeleted": done.back},
                by=by,
                now=now,
            )
