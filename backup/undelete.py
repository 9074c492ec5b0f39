"""Bringing back what somebody else deleted or overwrote in a region: one repository at a time.

A delete leaves a marker, and everything beneath it. Markers that no recorded act of ours made are
removed, so that what lies beneath is current again; what we forgot or pruned stays gone. Where
other content lies on top, what lies beneath is written over it. Then restic checks the structure
once; only where it finds something wrong are indexes read and what our own removal hid brought back
too. The rows follow: copies are stored, a healing that waits is over, and a proof is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from backup import (
    acts,
    beneath,
    beside,
    census,
    founding,
    healing,
    inventory,
    leases,
    losses,
    mended,
    repositories,
)
from backup.acts import Pair
from backup.inventory import CONFIG, Inventory, Reader, key_of_pack, name_of
from backup.leases import Leased
from backup.repositories import RepositoryBusy, Site
from backup.restic import commands, repairs
from backup.restic.flags import CheckExtent
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed, Ending
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.program import Stopped
from strongroom.runtime import Runtime
from strongroom.storage import Act, Kept, Store, Version

SECONDS = 6 * 3600.0
AT_ONCE = 5000  # markers removed with one set of short credentials
BUSY_SECONDS = 17 * 60.0  # as long as a lost worker's rights to delete may last
PAUSE_SECONDS = 0.5
ALL = ("keys/", CONFIG, "index/", "snapshots/", "data/")

Say = Callable[[str], None]

log = structlog.get_logger(__name__)


@dataclass
class Undeleted:
    """What became of one repository."""

    tenant: UUID
    repository: UUID
    keys: set[str] = field(default_factory=set)  # of objects that are there again
    records: int = 0  # beside the repository, that are there again
    kept: list[str] = field(default_factory=list)  # keys whose markers the region would not remove
    missing: list[str] = field(default_factory=list)  # restic ids, and what the check said
    clean: bool = False  # restic's check of the structure
    proofs: int = 0  # of the data, that are wanted now
    problem: str | None = None

    @property
    def back(self) -> int:
        """How many objects are there again."""
        return len(self.keys)

    @property
    def is_whole(self) -> bool:
        return self.clean and not self.missing and not self.kept and self.problem is None

    def to_json(self) -> dict[str, Any]:
        return {
            "repository": str(self.repository),
            "back": self.back,
            "records": self.records,
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
    overwritten: tuple[str, ...]  # keys that then have content beneath that nobody of us left there

    @property
    def keys(self) -> set[str]:
        return {*self.deleted, *self.overwritten}


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
    then = stock.without(going)
    deleted = {key for key in stock.versions if not stock.current(key) and then.current(key)}
    overwritten = [key for folder in ALL for key in then.overwritten(folder)]
    return Plan(tuple(sorted(going)), frozenset(deleted), tuple(overwritten))


def preview(site: Site, *, since: datetime | None) -> Undeleted:
    """What would be brought back; changes nothing, and takes no lease."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        recorded = acts.known_versions(session, site.row.id)
    listed = site.store(Act.BACKUP).versions(site.prefix)
    found = plan(inventory.of(listed, site.prefix, recorded), since=since)
    return Undeleted(site.row.tenant_id, site.row.id, keys=found.keys)


def undelete(
    runtime: Runtime,
    tenant: UUID,
    repository_id: UUID,
    *,
    since: datetime | None,
    by: Actor,
    say: Say = lambda _: None,
) -> Undeleted:
    """Bring one repository back; what goes wrong stands in the answer. May be killed, and repeated."""
    done = Undeleted(tenant, repository_id)
    try:
        with _leased(runtime, tenant, repository_id, say) as leased:
            _undelete(leased, done, since=since, say=say)
            _record(leased, done, by=by)
        done.records = beside.bring_back(leased.site)
    except StrongroomError as error:
        log.warning("undelete failed", repository=str(repository_id), error=error.message)
        done.problem = error.message
    return done


@contextmanager
def _leased(runtime: Runtime, tenant: UUID, repository_id: UUID, say: Say) -> Iterator[Leased]:
    """The repository, as soon as who holds it lets go. Raises RepositoryBusy after BUSY_SECONDS."""
    deadline = time.monotonic() + BUSY_SECONDS
    with ExitStack() as stack:
        leased: Leased | None = None
        while leased is None:
            try:
                leased = stack.enter_context(
                    leases.leased(runtime, tenant, repository_id, damaged=True)
                )
            except RepositoryBusy:
                if time.monotonic() > deadline:
                    raise
                say("waiting for a worker that holds the repository")
                time.sleep(PAUSE_SECONDS)
        yield leased


def _undelete(leased: Leased, done: Undeleted, *, since: datetime | None, say: Say) -> None:
    site = leased.site
    # What a lost worker of ours deleted is known only now.
    acts.close_open(site, store=leased.store, but=leased.act)
    stock = beneath.take_stock(leased)
    found = plan(stock, since=since)
    say(f"{len(found.deleted)} objects are deleted, {len(found.overwritten)} overwritten")
    kept = {(each.key, each.version_id) for each in remove_markers(leased, found.markers)}
    done.kept = sorted({key.removeprefix(site.prefix) for key, _ in kept})
    now = stock.without(set(found.markers) - kept)
    done.keys = {key for key in found.deleted if now.current(key)}
    reader = Reader(site, site.store(Act.READ))
    done.keys |= _mend(leased, reader, now, found.overwritten)
    done.keys |= _put_back(leased, reader, now, _named(site))
    say("restic checks the structure")
    if site.row.unclean or not _is_clean(leased, done):
        _look_deeper(leased, done, reader, say=say)


def _look_deeper(leased: Leased, done: Undeleted, reader: Reader, *, say: Say) -> None:
    """What was deleted while our own removal was under way counts as ours; need tells it apart.

    Tidying comes after that: it drops from the indexes what is not there.
    """
    say("what indexes name is looked for beneath")
    done.keys |= _bring_back_needed(leased, reader)
    lost = _lacking(leased, beneath.take_stock(leased))
    founding.tidy(leased.site, leased.held, but=leased.act)
    if not _is_clean(leased, done, lost):
        say("the structure is not whole yet: what our own removal hid comes back too")
        done.keys |= _bring_back_hidden(leased, reader)
        done.keys |= _bring_back_needed(leased, reader)
        founding.tidy(leased.site, leased.held, but=leased.act)
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


def _mend(
    leased: Leased, reader: Reader, stock: Inventory, overwritten: Collection[str]
) -> set[str]:
    """Good versions on top of bad ones, in keys, config, indexes, snapshots and packs."""
    bad = beneath.damaged(reader, overwritten)
    back = beneath.bring_back(leased, stock, reader, bad)
    beneath.explain(leased, reader, overwritten)
    return set(back)


def _put_back(
    leased: Leased, reader: Reader, stock: Inventory, wanted: Collection[str]
) -> set[str]:
    """Of these, what is deleted and has a whole version beneath; also where it counts as ours."""
    gone = [key for key in wanted if key in stock.versions and not stock.current(key)]
    back = beneath.bring_back(leased, stock, reader, gone)
    beneath.explain(leased, reader, back)
    return set(back)


def _named(site: Site) -> set[str]:
    """What has to be there by our rows alone."""
    snapshots = {f"snapshots/{row.restic_id}" for row in losses.rows_of(site, lost=True)}
    return {CONFIG, f"keys/{site.row.key_hint}", *snapshots}


def _is_clean(leased: Leased, done: Undeleted, lost: Sequence[str] = ()) -> bool:
    here = leased.here(seconds=SECONDS)
    report = commands.check(leased.site.restic(Act.READ), here, CheckExtent())
    census.take(leased.site, leased.store)
    done.clean = report.ok
    done.missing = [f"snapshots/{row.restic_id}" for row in losses.gone(leased.site)]
    if not report.ok:
        done.missing += [*lost, *report.messages[:20]]
    return done.clean and not done.missing


def _bring_back_needed(leased: Leased, reader: Reader) -> set[str]:
    """What indexes and rows name."""
    stock = beneath.take_stock(leased)
    return _put_back(leased, reader, stock, _lacking(leased, stock))


def _bring_back_hidden(leased: Leased, reader: Reader) -> set[str]:
    """Indexes that an act of ours hid: one that was superseded does no harm."""
    stock = beneath.take_stock(leased)
    return _put_back(
        leased, reader, stock, [key for key in stock.versions if key.startswith("index/")]
    )


def _lacking(leased: Leased, stock: Inventory) -> list[str]:
    """Packs that an index names, and snapshots that a row names, and that do not lie there."""
    wanted = _named(leased.site)
    reading, here = leased.site.restic(Act.READ), leased.here(seconds=SECONDS)
    for key in stock.here("index/"):
        found = repairs.index(reading, here, name_of(key) or "")
        wanted.update(key_of_pack(pack.name) for pack in found)
    return sorted(key for key in wanted if not stock.current(key))


def _record(leased: Leased, done: Undeleted, *, by: Actor) -> None:
    site, now = leased.site, leased.site.runtime.now()
    of = (site.row.tenant_id, site.row.id)
    stock = beneath.take_stock(leased)
    seen = {"undeleted": done.back}
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        if done.back:
            mended.undate(session, site.row.id)
        done.proofs = mended.settle(session, leased, stock, names=(), now=now, thawing=done.clean)
        if done.is_whole:
            healing.close(session, *of, report=seen, now=now)
            losses.report(session, site, (), code=healing.MISSING, now=now)
        else:  # from other regions, if they have it
            healing.want(session, *of, seen=seen, by=by, now=now)
        deed = Deed(
            "repositories.undeleted",
            "repositories",
            site.row.id,
            ending=Ending.DONE if done.is_whole else Ending.FAILED,
            details=seen,
        )
        entries.note(session, deed, by=by, at=now)
