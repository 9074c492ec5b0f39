"""Object versions that no act of ours explains: the repository freezes, until a person has looked.

    seen ─▶ frozen, and a finding that names them ─▶ accepted ─▶ all is checked and read back
         ─▶ recorded as accepted, which makes them ours to sweep ─▶ removal goes on

The word is for exactly the versions that were shown; one more, and it is asked again. After a
recovery it is our own prunes since the last dump that look like this: whoever made them noncurrent
was us, and no row says so any more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from backup import acts, findings, repeats
from backup.findings import Sight
from backup.leases import Leased
from backup.models import Copy, Finding, PointSource, Proof, Removal, Repository, Snapshot
from backup.repositories import Site
from backup.states import (
    ActKind,
    CopyState,
    Decision,
    Level,
    ProofState,
    RemovalState,
    RepositoryState,
)
from strongroom.actors import WORKER, Actor
from strongroom.db import Role
from strongroom.errors import Refused
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record
from strongroom.storage import Version

CODE = "versions-unexplained"
ASK_AGAIN = timedelta(days=7)  # after it was rejected: nothing goes meanwhile, and nobody forgets
SHOWN = 20  # keys that a finding names

log = structlog.get_logger(__name__)


class Frozen(Refused):
    """Something in the repository is not explained by any act of ours; nothing is removed."""

    code = "repository-frozen"


def require_none(leased: Leased) -> None:
    """Raises Frozen, having frozen the repository and said what lies there, unless all is explained
    or was accepted and proven."""
    site = leased.site
    split = _split(leased)
    if split.strangers and repeats.record(leased, split.strangers, split):
        split = _split(leased)
    if not split.strangers:
        if _is_frozen(site):
            raise _frozen(site, "what was found wrong is not mended. See `strongroom finding list`")
        return
    word = _word(site, split.strangers)
    if word is not Decision.ACCEPTED:
        freeze(site, Reason("strangers", _named(site, split.strangers)))
        if word is None:
            _ask(site, split.strangers)
        raise _frozen(
            site,
            f"{len(split.strangers)} object versions were made noncurrent by no act of ours, the "
            f"first being {split.strangers[0].key}. Look at them, then `strongroom finding accept` "
            "or, if somebody else deletes there, `strongroom region undelete`",
            **_named(site, split.strangers),
        )
    _require_unneeded(site, split.strangers)
    _require_proven(site)
    _explain(site, split.strangers)


def freeze(site: Site, reason: Reason) -> None:
    """Nothing is removed in it any more."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        row = session.get_one(Repository, site.row.id)
        if row.state is RepositoryState.READY:
            log.error("a repository was frozen", repository=str(site.row.id), code=reason.code)
            move = Move(by=WORKER, at=site.runtime.now(), reason=reason)
            advance(session, row, RepositoryState.FROZEN, move)


def prove(session: Session, finding: Finding, *, by: Actor, now: datetime) -> bool:
    """Once it was accepted: have everything there checked and read back. False: nothing to prove."""
    copy = session.execute(
        select(Copy)
        .where(Copy.repository_id == finding.repository_id, Copy.state == CopyState.STORED)
        .order_by(Copy.point_id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if copy is None:
        return False
    proof = Proof(
        id=new_id(),
        tenant_id=copy.tenant_id,
        copy_id=copy.id,
        level=Level.DATA,
        state=ProofState.WAITING,
        due_at=now,
        asked_by=str(by),  # not the worker: then every pack is read
    )
    session.add(proof)
    record(session, proof, old="", move=Move(by=by, at=now, reason=Reason(CODE)))
    return True


def wake(session: Session, repository_id: UUID, *, now: datetime) -> None:
    """After a proof: what waits to go from a frozen repository looks again at once."""
    frozen = select(Repository.id).where(
        Repository.id == repository_id, Repository.state == RepositoryState.FROZEN
    )
    session.execute(
        update(Removal)
        .where(
            Removal.repository_id.in_(frozen),
            Removal.state.in_([RemovalState.PLANNED, RemovalState.FORGOTTEN]),
        )
        .values(due_at=now, nudged_at=None)
    )


def digest(versions: Iterable[Version]) -> str:
    """Which versions exactly, whatever their order. Pure."""
    lines = sorted(f"{each.key}\0{each.version_id}" for each in versions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def told(versions: Sequence[Version], prefix: str) -> dict[str, Any]:
    """What a person has to know of them: where, how many, deleted or overwritten, when. Pure."""

    def count(*, marker: bool) -> dict[str, int]:
        found = Counter(
            each.key.removeprefix(prefix).partition("/")[0]
            for each in versions
            if each.marker is marker
        )
        return dict(sorted(found.items()))

    keys = sorted({each.key.removeprefix(prefix) for each in versions})
    times = [each.modified for each in versions]
    return {
        "count": len(versions),
        "deleted": count(marker=True),
        "beneath": count(marker=False),
        "first": min(times).isoformat(),
        "last": max(times).isoformat(),
        "keys": keys[:SHOWN],
        "digest": digest(versions),
    }


def _split(leased: Leased) -> acts.Split:
    site = leased.site
    versions = leased.store.versions(site.prefix)
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        known = acts.known_versions(session, site.row.id)
    ours = acts.split(versions, known)
    # Locks of the command that is just running are released by the act that is still open.
    lock = site.prefix + "locks/"
    strangers = tuple(each for each in ours.strangers if not each.key.startswith(lock))
    return replace(ours, strangers=strangers)


def _is_frozen(site: Site) -> bool:
    """Now: it may have changed since the lease was taken."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        return session.get_one(Repository, site.row.id).state is RepositoryState.FROZEN


def _word(site: Site, strangers: Sequence[Version]) -> Decision | None:
    """A person's on exactly these; None: to be asked."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        row = _settled(session, site)
    if row is None or row.params.get("digest") != digest(strangers) or row.settled_at is None:
        return None
    if row.decision is Decision.REJECTED and site.runtime.now() - row.settled_at >= ASK_AGAIN:
        return None
    return row.decision if row.decision is not Decision.GONE else None


def _settled(session: Session, site: Site) -> Finding | None:
    return session.execute(
        select(Finding)
        .where(
            Finding.repository_id == site.row.id,
            Finding.code == CODE,
            Finding.settled_at.is_not(None),
        )
        .order_by(Finding.settled_at.desc())
        .limit(1)
    ).scalar_one_or_none()


def _ask(site: Site, strangers: Sequence[Version]) -> None:
    params = {"region": site.region.name, **told(strangers, site.prefix)}
    subject = f"{site.region.name}: {len(strangers)} versions, {params['digest'][:12]}"
    sight = Sight(CODE, subject, params, repository=site.row.id)
    now = site.runtime.now()
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        findings.report(
            session, site.row.tenant_id, [sight], codes=[CODE], repository=site.row.id, now=now
        )


def _require_unneeded(site: Site, strangers: Sequence[Version]) -> None:
    """A deleted snapshot that a point needs is no leaving, whoever accepted it."""
    head = f"{site.prefix}snapshots/"
    names = [each.key.removeprefix(head) for each in strangers if each.key.startswith(head)]
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        needed = session.execute(
            select(Snapshot.restic_id)
            .join(
                PointSource,
                or_(
                    PointSource.snapshot_id == Snapshot.id,
                    PointSource.snapshot_id == Snapshot.origin_id,
                ),
            )
            .join(Copy, Copy.point_id == PointSource.point_id)
            .where(
                Snapshot.repository_id == site.row.id,
                Snapshot.lost_at.is_not(None),
                Snapshot.forgotten_at.is_(None),
                Snapshot.restic_id.in_(names),
                Copy.repository_id == site.row.id,
                Copy.state != CopyState.REMOVED,
            )
            .limit(1)
        ).scalar()
    if needed is not None:
        raise _frozen(
            site,
            f"the deleted snapshot {needed} is one that a point needs. It is mended from another "
            "region, or brought back by `strongroom region undelete`",
        )


def _require_proven(site: Site) -> None:
    """Everything was checked and read since the word was given: nothing beneath is needed."""
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        word = _settled(session, site)
        rows = session.execute(
            select(Snapshot.checked_at, Snapshot.verified_at).where(
                Snapshot.repository_id == site.row.id, Snapshot.standing()
            )
        ).all()
    since = word.settled_at if word is not None else None
    dates = [moment for row in rows for moment in (row.checked_at, row.verified_at)]
    if since is None or not dates or any(each is None or each < since for each in dates):
        raise _frozen(
            site,
            "what lies there was accepted, and waits until everything was checked and read back. "
            "If that failed meanwhile, ask for it again with `strongroom verify`",
        )


def _explain(site: Site, strangers: Sequence[Version]) -> None:
    """They count as made by us from now on: the next sweep takes them."""
    keys = sorted({each.key.removeprefix(site.prefix) for each in strangers})
    with site.runtime.database.session(Role.WORKER, tenant=site.row.tenant_id) as session:
        act = acts.begin(session, site.row, (ActKind.ACCEPTED, keys))
        session.flush()
        acts.end(session, act, [acts.pair_of(each) for each in strangers], at=act.started_at)
        row = session.get_one(Repository, site.row.id)
        if row.state is RepositoryState.FROZEN:
            move = Move(by=WORKER, at=site.runtime.now(), reason=Reason("accepted"))
            advance(session, row, RepositoryState.READY, move)
    log.info("accepted versions are ours to sweep", repository=str(site.row.id), count=len(keys))


def _frozen(site: Site, why: str, **params: Any) -> Frozen:
    return Frozen(
        f"Repository {site.row.id} in region {site.region.name} is frozen: {why}. Nothing was "
        "removed.",
        **params,
    )


def _named(site: Site, strangers: Sequence[Version]) -> dict[str, Any]:
    return {
        "region": site.region.name,
        "count": len(strangers),
        "keys": [each.key for each in strangers[:5]],
    }
