"""Making what somebody asked for: choose a copy, bring the data, seal it, lay it into a region.

A worker that dies leaves a row that is taken up again, an upload that was never ended, and a
throw-away folder whose lock is free: both are removed by whoever comes next, and at the latest when
the delivery ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select

from backup import wanted
from backup.clearing import stands
from backup.making import failure_of
from backup.models import Point, PointSource, Source
from backup.restic.errors import NothingMatched, ResticError
from restore import choosing, kept
from restore.browsing import errors
from restore.choosing import Chosen, NowhereReached
from restore.delivery import contents, ending, sealing, shipping
from restore.delivery.asking import WANTED
from restore.delivery.contents import FOLDERS, Job
from restore.delivery.going import Going
from restore.delivery.models import Delivery
from restore.delivery.sealing import Head, Seal
from restore.delivery.shipping import Shipped
from restore.delivery.states import DeliveryState, End
from restore.fetching import Origin
from strongroom import doorbells, envelopes
from strongroom.actors import WORKER
from strongroom.dispatch import back_off
from strongroom.errors import StrongroomError
from strongroom.keys import Context, KeyUnreachable
from strongroom.lifecycle import Move, Overtaken, Reason, advance
from strongroom.runtime import Runtime
from strongroom.storage import StorageError

ATTEMPTS = 5
LIFE = timedelta(hours=8)  # for which a download can be fetched, once it is made
LOOK_LIFE = timedelta(minutes=10)  # of a preview
MARGIN = timedelta(minutes=15)  # for which its reader's rights outlive it
KEY = "delivery-key"  # the purpose that its wrap is bound to

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Made:
    """What came of it."""

    region: str
    shipped: Shipped
    size: int
    sha256: str
    sealed: dict[str, Any]
    head: bytes
    report: dict[str, Any]


def carry_out(runtime: Runtime, tenant: UUID, delivery_id: UUID) -> None:
    """Make a delivery that waits; its row says how that ended."""
    answered = doorbells.answer(runtime, Delivery, tenant, delivery_id)
    if answered is None:
        return
    row, fence = answered
    with runtime.keeper.holding(row, fence) as held:
        going = Going(runtime, row, held)
        try:
            made = _make(going)
        except Overtaken as error:
            log.info("a delivery was taken back", delivery=str(row.id), error=error.message)
        except (NowhereReached, KeyUnreachable, ResticError, StorageError) as error:
            _again(going, error) if row.attempt < ATTEMPTS else _fail(going, error)
        except StrongroomError as error:
            _fail(going, error)
        else:
            _ready(going, made)


def sweep(runtime: Runtime) -> None:
    """Remove what was brought by processes that were killed: it is a tenant's data, opened."""
    kept.sweep(runtime.folder(FOLDERS), "delivery-*", kept.remove)


def _make(going: Going) -> Made:
    sweep(going.runtime)
    part, source = _part(going)
    passed: dict[str, str] = {}
    while True:
        chosen = choosing.choose(going.runtime, going.row, but=passed)
        try:
            return _from(going, part, source, chosen)
        except NothingMatched:
            raise
        except (ResticError, StorageError) as error:  # try the next region
            if going.held.is_lost:
                raise Overtaken(f"Delivery {going.row.id} is no longer ours to make.") from error
            log.warning("a region could not give it", region=chosen.site.region.name)
            passed[chosen.site.region.name] = error.code


def _part(going: Going) -> tuple[PointSource, Source]:
    """What the point has of the source now, and keeps for us. Raises NotFound for a point that is
    gone, and PointGoing."""
    with going.session() as session:
        row = session.execute(
            select(PointSource, Source, stands().label("stands"))
            .join(Source, Source.id == PointSource.source_id)
            .join(Point, Point.id == PointSource.point_id)
            .where(
                PointSource.point_id == going.row.point_id,
                PointSource.source_id == going.row.source_id,
                PointSource.snapshot_id.is_not(None),
            )
        ).one_or_none()
        if row is None:
            raise errors.no_part()
        if not row.stands:
            raise errors.gone()
        wanted.want(session, row.PointSource, until=going.runtime.now() + WANTED)
    return row.PointSource, row.Source


def _from(going: Going, part: PointSource, source: Source, chosen: Chosen) -> Made:
    region = chosen.site.region
    going.note(region=region.name, progress={"phase": "fetching", "bytes": 0})
    origin = Origin(chosen.site, chosen.restic_id, stop=going.held.lost)
    job = Job(going, origin, part, source)
    seal = Seal(sealing.new_key(), going.row.tenant_id, going.row.id)
    with closing(contents.pieces(job)) as pieces:
        counted = _Counted(going, pieces)
        shipped = shipping.ship(going, region, seal.chunks(counted))
    life = LOOK_LIFE if going.row.kind.is_preview else LIFE
    rights = shipping.reader(
        going.runtime, region, going.row, seconds=int((life + MARGIN).total_seconds())
    )
    head = Head(
        counted.size,
        counted.sha256,
        shipped.key,
        shipped.version_id,
        rights.access_key,
        rights.secret_key,
        rights.session_token,
    )
    context = key_context(going.row)
    sealed = envelopes.to_json(going.runtime.vault.provider.wrap(seal.key, context))
    report = {**job.report, "verified": chosen.verified, "passed_over": [*chosen.passed_over]}
    return Made(
        region.name, shipped, counted.size, counted.sha256, sealed, seal.close_head(head), report
    )


def key_context(row: Delivery) -> Context:
    """What the artefact's key is bound to."""
    return Context(tenant=row.tenant_id, subject=row.id, purpose=KEY)


class _Counted:
    """Pieces on their way: how many bytes, and which."""

    def __init__(self, going: Going, pieces: Iterable[bytes]) -> None:
        self._going, self._pieces = going, pieces
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._digest.update(piece)
            self.size += len(piece)
            self._going.progress("making", self.size)
            yield piece

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _ready(going: Going, made: Made) -> None:
    now = going.runtime.now()
    life = LOOK_LIFE if going.row.kind.is_preview else LIFE
    values = {
        "region": made.region,
        "object_key": made.shipped.key,
        "version_id": made.shipped.version_id,
        "size": made.size,
        "sha256": made.sha256,
        "sealed": made.sealed,
        "head": made.head,
        "report": made.report,
        "made_at": now,
        "expires_at": now + life,
        "due_at": now + life,
        "nudged_at": None,
        "progress": None,
        "failure": None,
    }
    _move(going, DeliveryState.READY, Reason("delivery-ready", {"bytes": made.size}), values)


def _again(going: Going, error: StrongroomError) -> None:
    values = {
        "due_at": going.runtime.now() + back_off(going.row.attempt),
        "nudged_at": None,
        "failure": failure_of(error),
        "progress": None,
    }
    _move(going, DeliveryState.WAITING, Reason(error.code), values)


def _fail(going: Going, error: StrongroomError) -> None:
    log.warning("a delivery failed", delivery=str(going.row.id), error=error.message)
    values = ending.values(End.FAILED, at=going.runtime.now())
    values |= {"failure": failure_of(error)}
    _move(going, DeliveryState.ENDING, Reason(error.code), values)


def _move(going: Going, to: DeliveryState, reason: Reason, values: dict[str, Any]) -> None:
    values = values | {"owner": None, "lease_until": None}
    at = going.runtime.now()
    move = Move(by=WORKER, at=at, reason=reason, fence=going.held.fence, values=values)
    try:
        with going.session() as session:
            advance(session, session.get_one(Delivery, going.row.id), to, move)
    except Overtaken as error:
        log.warning("a delivery went on elsewhere", delivery=str(going.row.id), error=error.message)
