"""What follows a healing: rows say what lies there now, copies are believed again once proven."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from backup import acts, beneath, findings, followers, healing, lags, losses, unexplained
from backup.grafting import root_of
from backup.healing import MISSING
from backup.inventory import Inventory, name_of
from backup.leases import Leased
from backup.losses import Loss
from backup.models import Copy, Finding, Healing, Pack, Point, Proof, Removal, Repository, Snapshot
from backup.states import CopyState, HealingState, ProofState, RemovalState, RepositoryState
from backup.treatment import Doing
from strongroom.actors import WORKER
from strongroom.db import Role
from strongroom.lifecycle import Move, Reason, advance

RELEASED = {"owner": None, "lease_until": None, "failure": None}


def record(doing: Doing, state: HealingState) -> Healing:
    """End the healing: report, findings, packs, copies and the proofs that are wanted now."""
    stock = beneath.take_stock(doing.leased)
    site, now = doing.site, doing.site.runtime.now()
    with site.runtime.database.session(Role.WORKER, tenant=doing.row.tenant_id) as session:
        said = losses.told(session, doing.losses, doing.missing)
        report = {**doing.report, "lost": said, "bytes_read": doing.reader.bytes_read}
        row = session.get_one(Healing, doing.row.id)
        values: dict[str, Any] = {**RELEASED, "ended_at": now, "report": report}
        if state is HealingState.FAILED:
            values["failure"] = _not_healed(site.region.name, report.get("errors", ()))
        reason = Reason(str(state), {"lost": len(said)})
        move = Move(by=WORKER, at=now, reason=reason, fence=doing.held.fence, values=values)
        advance(session, row, state, move)
        losses.report(session, site, said, code=MISSING, now=now)
        undate(session, site.row.id)
        whole = state is HealingState.HEALED
        names = _touched(doing)
        settle(session, doing.leased, stock, names=names, now=now, thawing=whole)
        if whole:
            _wake_others(session, doing, now=now)
    return row


def _not_healed(region: str, errors: Sequence[str]) -> dict[str, Any]:
    said = " ".join(" ".join(errors).split())[:500]
    return {
        "code": "not-healed",
        "params": {"region": region},
        "message": f"All was done that can be, and the check in region {region} still finds: "
        f"{said} Look at the open findings, and give the tenant a new "
        "repository there if need be: `strongroom key rotate --what epoch`.",
    }


def settle(
    session: Session,
    leased: Leased,
    stock: Inventory,
    *,
    names: Sequence[str],
    now: datetime,
    thawing: bool,
) -> int:
    """Rows after a repository was changed outside of backups; gives how many proofs are wanted.

    `names` are packs that have to be read again before they count as whole.
    """
    site = leased.site
    there = {name_of(key) for key in stock.here("data/")}
    known = session.execute(select(Pack.name).where(Pack.repository_id == site.row.id)).scalars()
    stale = {name for name in known if name not in there}.union(names)
    session.execute(delete(Pack).where(Pack.repository_id == site.row.id, Pack.name.in_(stale)))
    stored_again(session, site.row.id, now=now)
    session.execute(
        update(Removal)
        .where(
            Removal.repository_id == site.row.id,
            Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
        )
        .values(due_at=now, nudged_at=None)
    )
    if thawing:
        thaw(session, leased, stock, now=now)
    return want_proofs(session, site.row.id, now=now)


def stored_again(session: Session, repository_id: UUID, *, now: datetime) -> None:
    """Copies whose snapshots lie there again are stored, with no worker's help; the others are due.

    Only under the repository's lease: a worker that has taken such a copy has done nothing yet.
    """
    wanted = select(Copy).where(
        Copy.repository_id == repository_id,
        Copy.state.in_([CopyState.WAITING, CopyState.COPYING]),
    )
    for copy in session.execute(wanted.with_for_update()).scalars():
        if followers.is_whole(session, copy.point_id, repository_id):
            values = {**RELEASED, "stored_at": now, "fence": copy.fence + 1}
            move = Move(by=WORKER, at=now, reason=Reason("there-again"), values=values)
            advance(session, copy, CopyState.STORED, move)
            lags.settle(session, copy, now=now)
        elif copy.state is CopyState.WAITING:
            copy.due_at, copy.nudged_at = now, None


def undate(session: Session, repository_id: UUID) -> None:
    """Where damage was, nothing counts as proven before it is proven again."""
    session.execute(
        update(Snapshot)
        .where(Snapshot.repository_id == repository_id)
        .values(checked_at=None, verified_at=None)
    )


def thaw(session: Session, leased: Leased, stock: Inventory, *, now: datetime) -> None:
    """A repository in which everything is explained again is frozen no longer."""
    row = session.get_one(Repository, leased.site.row.id)
    versions = [each for found in stock.versions.values() for each in found]
    strangers = acts.split(versions, set(stock.recorded)).strangers
    if not strangers:
        codes, of = [unexplained.CODE], (row.tenant_id, row.id)
        findings.report(session, of[0], [], codes=codes, repository=of[1], now=now)
    if row.state is RepositoryState.FROZEN and not strangers:
        advance(
            session, row, RepositoryState.READY, Move(by=WORKER, at=now, reason=Reason("mended"))
        )


def want_proofs(session: Session, repository_id: UUID, *, now: datetime) -> int:
    """A proof of the newest copy that is whole: it reads, and dates, all that lies there."""
    copies = session.execute(
        select(Copy)
        .join(Point, Point.id == Copy.point_id)
        .where(Copy.repository_id == repository_id, Copy.state == CopyState.STORED)
        .order_by(Point.number.desc())
    ).scalars()
    for copy in copies:
        if not followers.is_whole(session, copy.point_id, repository_id):
            continue
        waiting = (Proof.copy_id == copy.id) & (Proof.state == ProofState.WAITING)
        if session.execute(select(Proof.id).where(waiting)).first() is None:
            followers.want_proof(session, copy, now=now)
            session.flush()
        session.execute(update(Proof).where(waiting).values(due_at=now, nudged_at=None))
        return 1
    return 0


def some_region_has(doing: Doing, loss: Loss) -> bool:
    """Whether another region holds the snapshot and has not been found to miss some of it too."""
    root = root_of(loss.row)
    with doing.site.runtime.database.session(Role.WORKER, tenant=doing.row.tenant_id) as session:
        rows = session.execute(
            select(Snapshot).where(
                Snapshot.repository_id != doing.site.row.id,
                Snapshot.standing(),
                or_(Snapshot.id == root, Snapshot.origin_id == root),
            )
        ).scalars()
        found = {row.restic_id for row in rows}
        lacking = session.execute(
            select(Finding.params).where(
                Finding.tenant_id == doing.row.tenant_id,
                Finding.code == MISSING,
                Finding.settled_at.is_(None),
            )
        ).scalars()
        return bool(found - {params.get("snapshot") for params in lacking})


def _touched(doing: Doing) -> list[str]:
    return [name for key in doing.report.get("touched", ()) if (name := name_of(key))]


def _wake_others(session: Session, doing: Doing, *, now: datetime) -> None:
    """What other regions miss may be had from here now."""
    waiting = session.execute(
        select(Finding.repository_id).where(
            Finding.tenant_id == doing.row.tenant_id,
            Finding.code == MISSING,
            Finding.settled_at.is_(None),
            Finding.repository_id != doing.site.row.id,
        )
    ).scalars()
    for repository_id in {each for each in waiting if each is not None}:
        seen = {"healed": doing.site.region.name}
        healing.want(session, doing.row.tenant_id, repository_id, seen=seen, by=WORKER, now=now)
