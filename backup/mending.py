"""Stage 5: mend a repository, first from its own bucket, then from another region.

    beneath     objects that were deleted or overwritten come back from their earlier versions
    aside       indexes and snapshots that no version is whole of; their bytes stay beneath
    packs       the intact blobs of a damaged pack are written anew, the rest leaves the index
    elsewhere   what is missing then is copied from a region that has it
    look        restic's check; where it still fails, more packs are read and all is done again

What is to be touched is written down first, each step may be repeated, and a step only ever puts
whole objects on top or hides damaged ones: nothing is removed for good here. What no region has is
said by points and paths, and the next backup stores again what still exists at the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, update

from backup import acts, beneath, census, grafting, leases, losses, mended, repositories
from backup.inventory import CONFIG, Inventory, Reader, key_of_pack, name_of
from backup.losses import Loss
from backup.making import failure_of
from backup.models import Healing, Pack, Repository
from backup.repositories import RepositoryBusy, Retired, Site
from backup.restic import commands, repairs
from backup.restic.flags import CheckExtent
from backup.restic.repairs import IndexedPack
from backup.states import ActKind, HealingState
from backup.treatment import Doing
from strongroom import doorbells
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.keeper import Held
from strongroom.lifecycle import LifecycleError, Move, Overtaken, Reason, advance
from strongroom.program import Stopped
from strongroom.runtime import Runtime
from strongroom.storage import Act, StorageError, Store

SECONDS = 6 * 3600.0
ATTEMPTS = 6  # a region that is away is waited for, however long
BUSY_PAUSE = timedelta(seconds=5)
AT_ONCE = 4  # packs that the rights of one step name: a session policy is short
FOLDERS = ("keys/", CONFIG, "index/", "snapshots/", "data/")
HIDDEN = ("index/", "snapshots/")

log = structlog.get_logger(__name__)


class NotOpened(StrongroomError):
    """The repository's key file is gone or damaged, and no version of it is whole."""

    code = "repository-not-opened"
    permanent = True


class Depth(IntEnum):
    """Which packs are read in search of damage, beside indexes and snapshots."""

    NAMED = 0  # those that somebody saw to be damaged, or whose size is wrong
    TREES = 1  # and those that hold folders
    ALL = 2


def heal(runtime: Runtime, tenant: UUID, healing_id: UUID) -> Healing | None:
    """Carry out a healing that waits; None when it could not be brought to an end yet."""
    answered = doorbells.answer(runtime, Healing, tenant, healing_id)
    if answered is None:
        return None
    row, fence = answered
    with runtime.keeper.holding(row, fence) as held:
        try:
            return _heal(runtime, row, held)
        except Overtaken as error:
            log.warning("a healing went on elsewhere", row=str(healing_id), error=error.message)
        except StrongroomError as error:
            _again(runtime, row, held, error)
        return None


def _heal(runtime: Runtime, row: Healing, held: Held) -> Healing:
    with leases.leased(runtime, row.tenant_id, row.repository_id, damaged=True) as leased:
        reader = Reader(leased.site, leased.site.store(Act.READ))
        doing = Doing(row, held, leased, reader, dict(row.report or {}))
        ok = mend(doing)
        beneath.explain(leased, reader, doing.report.get("touched", ()))
        state = HealingState.PARTLY if doing.losses or doing.missing else HealingState.FAILED
        return mended.record(doing, HealingState.HEALED if ok else state)


def mend(doing: Doing) -> bool:
    """Do all that can be done; True if the repository is whole again."""
    acts.close_open(doing.site, store=doing.leased.store, but=doing.leased.act)
    if doing.report.get("rewritten"):
        adopt(doing)
    for depth in Depth:
        bad = bring_from_beneath(doing, depth)
        tidy(doing)
        set_aside(doing, bad)
        repair_packs(doing, bad)
        if is_whole(doing):
            return True
        bring_from_elsewhere(doing)
        if is_whole(doing):
            return True
        if depth >= Depth.TREES and (doing.losses or doing.missing):
            break  # that is why it is not whole: to read more would find no more
    if (doing.losses or doing.missing) and doing.is_second and doing.tried_all:
        give_up(doing)
    return is_whole(doing)


def bring_from_beneath(doing: Doing, depth: Depth) -> list[str]:
    """Whole versions on top of what is damaged or gone; gives the keys that stay damaged."""
    stock = beneath.take_stock(doing.leased)
    bad = beneath.suspects(stock, doing.reader, ())
    deleted = _deleted(doing, stock)
    doing.remember("touched", [*bad, *deleted])
    done = beneath.bring_back(doing.leased, stock, doing.reader, [*bad, *deleted])
    _require_open(doing)
    left = [key for key in bad if key not in done]
    indexed = indexed_packs(doing, [key for key in stock.here("index/") if key not in left])
    packs = [key_of_pack(name) for name in _suspected(doing, stock, indexed, depth)]
    harmed = [key for key in packs if doing.reader.fingerprint(key) != name_of(key)]
    doing.remember("touched", harmed)
    done += beneath.bring_back(doing.leased, stock, doing.reader, harmed)
    still = [key for key in harmed if key not in done]
    done += beneath.swap_back(
        doing.leased, doing.reader, [key for key in still if stock.current(key)]
    )
    doing.remember("brought_back", done)
    return [key for key in [*left, *still] if key not in done]


def _deleted(doing: Doing, stock: Inventory) -> list[str]:
    """What somebody else deleted, but for snapshots that are no longer wanted and strange keys."""
    wanted = {f"snapshots/{row.restic_id}" for row in losses.rows_of(doing.site, lost=True)}
    wanted.add(f"keys/{doing.site.row.key_hint}")
    found = [key for folder in FOLDERS for key in stock.deleted_by_strangers(folder)]
    gone = [key for key in wanted if key in stock.versions and stock.current(key) is None]
    narrow = ("keys/", "snapshots/")
    return sorted({*(key for key in found if key in wanted or not key.startswith(narrow)), *gone})


def _require_open(doing: Doing) -> None:
    try:
        commands.open_check(doing.site.restic(Act.READ), doing.leased.here(seconds=60))
    except StorageError:
        raise
    except StrongroomError as error:
        raise NotOpened(
            f"Repository {doing.site.row.id} in region {doing.site.region.name} does not open, and "
            "no earlier version of its key file and config is whole. Give the tenant a new "
            "repository there: `strongroom key rotate TENANT --what epoch --region "
            f"{doing.site.region.name}`; other regions are as they were. {error.message}"
        ) from error


def indexed_packs(doing: Doing, keys: Sequence[str]) -> dict[str, IndexedPack]:
    """The packs that whole indexes name."""
    reading, here = doing.site.restic(Act.READ), doing.leased.here(seconds=SECONDS)
    found: dict[str, IndexedPack] = {}
    for key in keys:
        found |= {pack.name: pack for pack in repairs.index(reading, here, name_of(key) or "")}
    return found


def _suspected(
    doing: Doing, stock: Inventory, indexed: dict[str, IndexedPack], depth: Depth
) -> set[str]:
    """The packs to read: as few as will do."""
    here = {name_of(key): stock.current(key) for key in stock.here("data/")}
    sizes = {name: found.size for name, found in here.items() if name and found}
    names = {str(each) for each in doing.row.seen.get("damaged", ())} | _known_bad(doing.site)
    names |= {pack.name for pack in indexed.values() if sizes.get(pack.name) != pack.bytes}
    names |= {name for key in stock.overwritten("data/") if (name := name_of(key))}
    if depth >= Depth.TREES:
        names |= {pack.name for pack in indexed.values() if pack.has_trees}
    if depth >= Depth.ALL:
        names |= set(sizes)
    return {name for name in names if name in sizes or name in indexed}


def _known_bad(site: Site) -> set[str]:
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        return set(
            session.execute(
                select(Pack.name).where(Pack.repository_id == site.row.id, ~Pack.whole)
            ).scalars()
        )


def tidy(doing: Doing) -> None:
    """What a lost holder left: its locks. Under our lease there is no other."""
    if doing.site.row.unclean:
        commands.unlock_all(doing.leased.restic, doing.leased.here(seconds=SECONDS))


def set_aside(doing: Doing, bad: Sequence[str]) -> None:
    """Hide indexes and snapshots that are not whole; restic can do nothing beside them."""
    known = {f"snapshots/{row.restic_id}" for row in losses.rows_of(doing.site)}
    keys = [key for key in bad if key.startswith("index/") or key in known]
    hide(doing, keys)
    if keys:
        census.take(doing.site, doing.leased.store)
    if any(key.startswith("index/") for key in keys):
        repair_index(doing)


def hide(doing: Doing, keys: Sequence[str], *, packs: Sequence[str] = ()) -> None:
    if not keys:
        return
    doing.guard()
    site = doing.site
    rights = repositories.deleting(site, doing.leased.held, Act.HEAL, packs=packs)
    store = Store(site.region.address(), rights)
    with acts.recorded(site, ActKind.PRUNE, keys, store=doing.leased.store):
        for key in keys:
            store.delete(site.prefix + key)


def repair_packs(doing: Doing, bad: Sequence[str]) -> None:
    """Keep the intact blobs of damaged packs; what is not in an index nobody needs."""
    stock = beneath.take_stock(doing.leased)
    indexed = indexed_packs(doing, stock.here("index/"))
    names = [name for key in bad if key.startswith("data/") and (name := name_of(key))]
    there = [name for name in names if stock.current(key_of_pack(name))]
    doing.remember("packs", names)
    for first in range(0, len(there), AT_ONCE):
        some = there[first : first + AT_ONCE]
        _repair_some(doing, [name for name in some if name in indexed])
        hide(doing, [key_of_pack(n) for n in some if n not in indexed], packs=some)
    here = {name_of(key) for key in stock.here("data/")}
    if here != set(indexed) or doing.site.row.unclean:  # packs or indexes are gone
        repair_index(doing)
        with doing.site.runtime.database.session(
            Role.WORKER, tenant=doing.row.tenant_id
        ) as session:
            session.execute(
                update(Repository).where(Repository.id == doing.site.row.id).values(unclean=False)
            )


def _repair_some(doing: Doing, packs: Sequence[str]) -> None:
    if not packs:
        return
    doing.guard()
    site = doing.site
    rights = repositories.deleting(site, doing.leased.held, Act.HEAL, packs=packs)
    keys = [*map(key_of_pack, packs), *acts.INDEXED]
    with acts.recorded(site, ActKind.PRUNE, keys, store=doing.leased.store):
        repairs.repair_packs(site.restic_with(rights), doing.leased.here(seconds=SECONDS), packs)


def repair_index(doing: Doing) -> None:
    doing.guard()
    site = doing.site
    rights = repositories.deleting(site, doing.leased.held, Act.HEAL)
    with acts.recorded(site, ActKind.PRUNE, acts.INDEXED, store=doing.leased.store):
        commands.repair_index(site.restic_with(rights), doing.leased.here(seconds=SECONDS))


def bring_from_elsewhere(doing: Doing) -> None:
    """Copy what is missing from the regions that have it, and see what stays missing."""
    sources, doing.tried_all = grafting.others(doing.leased)
    see(doing)
    for source in sources:
        if not doing.losses and not doing.missing:
            return
        doing.guard()
        lacking = losses.lacking(doing.losses, doing.missing)
        grafting.bring(doing.leased, source, lacking, tag=f"{grafting.TAG}{doing.row.id}")
        doing.remember("asked", [source.region.name])
        see(doing)


def see(doing: Doing) -> None:
    """What is missing here now; what grafting left behind goes first."""
    grafting.forget_grafts(doing.leased)
    doing.losses, doing.missing = losses.broken(doing.leased), losses.gone(doing.site)


def is_whole(doing: Doing) -> bool:
    """By restic's own check, and by the list of what should lie here."""
    grafting.forget_grafts(doing.leased)
    doing.missing = losses.gone(doing.site)
    here = doing.leased.here(seconds=SECONDS)
    report = commands.check(doing.site.restic(Act.READ), here, CheckExtent())
    doing.report["errors"] = list(report.messages)[:20] if not report.ok else []
    if report.ok:
        doing.losses = []
    return report.ok and not doing.missing


def give_up(doing: Doing) -> None:
    """No region has it, nor had the source when it was read anew: write the points without it.

    Else no later point could be proven here: one broken snapshot fails every check.
    """
    all_of_it = [*doing.losses, *map(losses.whole, doing.missing)]
    hopeless = [loss for loss in all_of_it if not mended.some_region_has(doing, loss)]
    if not hopeless:
        return
    site, here = doing.site, doing.leased.here(seconds=SECONDS)
    with site.runtime.database.session(Role.WORKER, tenant=doing.row.tenant_id) as session:
        said = losses.told(session, hopeless, ())
    doing.report["given_up"] = [*doing.report.get("given_up", ()), *said]
    ids = [loss.row.restic_id for loss in hopeless if loss in doing.losses]
    doing.remember("rewritten", ids)
    if ids:
        rights = repositories.deleting(site, doing.leased.held, Act.HEAL)
        with acts.recorded(site, ActKind.PRUNE, [*HIDDEN, *acts.LOCKS], store=doing.leased.store):
            repairs.repair_snapshots(site.restic_with(rights), here, ids)
    made = _rewritten(doing)
    with site.runtime.database.session(Role.WORKER, tenant=doing.row.tenant_id) as session:
        losses.cut(session, hopeless, made, now=site.runtime.now())
        losses.report(session, site, said, code=losses.LOST, now=site.runtime.now())


def adopt(doing: Doing) -> None:
    """Snapshots that a lost attempt has written anew, before it could write down their names."""
    made = _rewritten(doing)
    rows = [row for row in losses.rows_of(doing.site, lost=True) if row.restic_id in made]
    now = doing.site.runtime.now()
    with doing.site.runtime.database.session(Role.WORKER, tenant=doing.row.tenant_id) as session:
        losses.cut(session, [Loss(row, ()) for row in rows], made, now=now)
    census.take(doing.site, doing.leased.store)


def _rewritten(doing: Doing) -> dict[str, str]:
    """New id by old id of the snapshots that were written anew."""
    listed = commands.snapshots(doing.leased.restic, doing.leased.here(seconds=SECONDS))
    asked = doing.report.get("rewritten", ())
    return {one.original: one.id for one in listed if one.original and one.original in asked}


def _again(runtime: Runtime, row: Healing, held: Held, error: StrongroomError) -> None:
    """Could not be brought to an end: tried again, or given up with the reason."""
    now = runtime.now()
    waits = isinstance(error, RepositoryBusy | StorageError | Stopped)
    over = error.permanent and not waits or (row.attempt >= ATTEMPTS and not waits)
    over = over or isinstance(error, Retired)  # a new epoch took its place
    busy = isinstance(error, RepositoryBusy)
    values: dict[str, Any] = {
        "due_at": now + (BUSY_PAUSE if busy else back_off(row.attempt)),
        "nudged_at": None,
        "owner": None,
        "lease_until": None,
        "failure": failure_of(error),
    }
    if over:
        values["ended_at"] = now
    state = HealingState.FAILED if over else HealingState.WAITING
    move = Move(by=WORKER, at=now, reason=Reason(error.code), fence=held.fence, values=values)
    try:
        with runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
            advance(session, session.get_one(Healing, row.id), state, move)
    except LifecycleError:
        log.warning("a healing went on elsewhere", row=str(row.id))
    else:
        log.warning("a healing did not end", row=str(row.id), to=str(state), error=error.message)
