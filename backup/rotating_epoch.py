"""A new epoch for one region: a new repository, filled by copy; the one before is destroyed.

    begun       the next epoch has a row; no other region of the tenant is being switched
    founded     it is made: a new password, wrapped, with escrow wrap and record beside it
    copied      every snapshot that should lie in the epoch before lies in it too
    read        its structure was checked, and every pack in it read back
    switched    it counts: all rows that named the epoch before name it, in one transaction
    settled     points' records, object locks and key record are those of the new epoch
    closed      what opened the epoch before is gone
    destroyed   the epoch before is gone
    kept        it stays: it could not be opened, so nobody could look at it first

Up to `switched` everything goes on with the epoch before, which is only read. What came meanwhile
is copied last, under the leases of both. Unlike a new password this changes the master key: whoever
copied the old one opens nothing any more.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from backup import (
    destroying,
    filling,
    key_records,
    leases,
    locking,
    point_records,
    repositories,
    switching,
)
from backup.filling import Brought, Filling, Origin, Proven, Unsound
from backup.leases import Leased
from backup.models import Copy, Repository, Rotation
from backup.repositories import Place, RepositoryBusy, Retired
from backup.rotating import Going
from backup.states import CopyState, RepositoryState, RotationKind, RotationState
from backup.switching import Switch
from strongroom.actors import WORKER
from strongroom.lifecycle import Move, Reason, advance
from strongroom.regions import Region

FILLING = ("begun", "founded", "copied", "read")
SETTLED, KEPT = "settled", "kept"
SWITCHED = ("switched", SETTLED, "closed", "destroyed", KEPT)
MOST = 3  # epochs given up before a person has to look
GIVEN_UP = "epoch-given-up"


class OtherRegionFirst(RepositoryBusy):
    """Another region of the tenant is being switched; one at a time."""


def carry_out(going: Going) -> None:
    if going.row.stage not in SWITCHED:
        _begin(going)
        going.refresh()
        _fill_and_switch(going)
        going.refresh()
    if going.row.stage == "switched":
        _settle(going)
        going.refresh()
    _destroy_old(going)


def _begin(going: Going) -> None:
    row = going.row
    with going.session() as session:
        session.execute(
            text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"),
            {"key": f"epochs:{row.tenant_id}"},
        )
        if _another_goes_on(session, row):
            raise OtherRegionFirst("Another region of this tenant is being switched just now.")
        old = session.get_one(Repository, row.repository_id)
        if old.state in leases.LEFT:
            raise Retired(f"Repository {old.id} was replaced by another epoch already.")
        coming = _coming(session, going, old)
        going.note(
            session,
            row.stage or "begun",
            turn=going.held.fence,
            to=str(coming.id),
            epoch=coming.epoch,
            region=session.get_one(Region, old.region_id).name,
            given_up=_given_up(session, row),
        )


def _given_up(session: Session, row: Rotation) -> list[str]:
    """Epochs that this rotation gave up, or one before it that failed: they are to be destroyed."""
    reports = session.execute(
        select(Rotation.report).where(
            Rotation.kind == RotationKind.EPOCH, Rotation.repository_id == row.repository_id
        )
    ).scalars()
    return list(dict.fromkeys(each for one in reports for each in (one or {}).get("given_up", ())))


def _another_goes_on(session: Session, row: Rotation) -> bool:
    """A turn lasts as long as the lease under which it was taken."""
    others = session.execute(
        select(Rotation).where(
            Rotation.tenant_id == row.tenant_id,
            Rotation.kind == RotationKind.EPOCH,
            Rotation.id != row.id,
            Rotation.state == RotationState.ROTATING,
            Rotation.stage.in_(FILLING),
        )
    ).scalars()
    return any((other.report or {}).get("turn") == other.fence for other in others)


def _coming(session: Session, going: Going, old: Repository) -> Repository:
    """The epoch that is being filled there, by this rotation or by one that failed; or a new one."""
    here = (Repository.tenant_id == old.tenant_id, Repository.region_id == old.region_id)
    coming = session.execute(
        select(Repository).where(*here, Repository.state == RepositoryState.COMING)
    ).scalar_one_or_none()
    if coming is not None:
        return coming
    last = session.execute(select(func.max(Repository.epoch)).where(*here)).scalar_one()
    place = Place(old.tenant_id, old.region_id, last + 1)
    now = going.runtime.now()
    return repositories.name(session, place, RepositoryState.COMING, by=WORKER, now=now)


def _fill_and_switch(going: Going) -> None:
    tenant, runtime = going.row.tenant_id, going.runtime
    former = repositories.site(runtime, tenant, _old(going))
    origin = filling.origin_of(going, former)
    with going.session() as session:
        switching.require_settled(session, former.row, origin)
    with leases.leased(runtime, tenant, _new(going)) as target:
        if going.row.stage == "begun":
            with going.session() as session:
                going.note(session, "founded")
        doing = Filling(going, target, origin)
        try:
            brought, proven = _filled(doing)
            with _leased_old(going, origin) as old:
                brought, proven = _caught_up(doing, brought, proven)
                switching.switch(Switch(going, old, target, origin), brought, proven)
        except Unsound as error:
            _give_up(going, target, error)
            raise


def _leased_old(going: Going, origin: Origin) -> AbstractContextManager[Leased]:
    """So that nothing comes in, goes or is mended there."""
    closed = origin.closed is not None
    return leases.leased(
        going.runtime, going.row.tenant_id, _old(going), adding=False, damaged=closed
    )


def _filled(doing: Filling) -> tuple[Brought, Proven]:
    """The bulk of it, while everything goes on with the epoch before."""
    brought = filling.bring(doing)
    with doing.going.session() as session:
        doing.going.note(session, "copied", snapshots=len(brought))
    proven = filling.prove(doing, brought)
    with doing.going.session() as session:
        doing.going.note(session, "read", packs=proven.packs, bytes_read=proven.bytes)
    return brought, proven


def _caught_up(doing: Filling, before: Brought, proven: Proven) -> tuple[Brought, Proven]:
    """With what came and went meanwhile; what did not change need not be looked at again."""
    brought = filling.bring(doing)
    dropped = filling.drop_others(doing, brought)
    if brought == before and not dropped:
        return brought, proven
    return brought, filling.prove(doing, brought)


def _give_up(going: Going, target: Leased, error: Unsound) -> None:
    """What was copied is not sound: the next attempt fills another epoch, and destroys this one."""
    new = target.site.row.id
    reason = Reason(GIVEN_UP, {"why": error.message})
    move = Move(by=WORKER, at=going.runtime.now(), reason=reason, fence=target.held.fence)
    with going.session() as session:
        advance(session, session.get_one(Repository, new), RepositoryState.RETIRED, move)
        given_up = [*going.report.get("given_up", []), str(new)]
        error.permanent = len(given_up) >= MOST
        going.note(session, "begun", given_up=given_up, to=None)


def _settle(going: Going) -> None:
    """What lies beside the repository, and what keeps its objects; before anything is destroyed."""
    tenant, new = going.row.tenant_id, _new(going)
    with leases.leased(going.runtime, tenant, new, adding=False) as target:
        with going.session() as session:
            points = session.execute(
                select(Copy.point_id).where(
                    Copy.repository_id == new, Copy.state == CopyState.STORED
                )
            ).scalars()
            stored = list(points)
        for point in stored:
            point_records.keep(target.site, point)
        locking.lock(target)
    key_records.renew(going.runtime, tenant)
    with going.session() as session:
        going.note(session, SETTLED, points=len(stored))


def _destroy_old(going: Going) -> None:
    report = going.report
    keep = report.get("unreadable") is not None and not report.get("destroy_unreadable")
    doomed = [UUID(each) for each in report.get("given_up", [])]
    for each in doomed if keep else [_old(going), *doomed]:
        destroying.destroy(going, each, successor=_new(going))
    with going.session() as session:
        going.note(session, KEPT if keep else "destroyed")


def _old(going: Going) -> UUID:
    assert going.row.repository_id is not None  # an epoch is one repository's
    return going.row.repository_id


def _new(going: Going) -> UUID:
    return UUID(going.report["to"])
