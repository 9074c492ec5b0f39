"""The ceremony of the escrow key: made, split, given out, forgotten; and tried out again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import repositories
from backup.keyfile import MachinePassword
from backup.models import Repository
from backup.restic import commands
from backup.restic.calls import Surroundings
from strongroom import escrow, platform_records, records, sealed_boxes, shares
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.control_dumps import ControlDump
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound, StrongroomError
from strongroom.escrow import EscrowKey, EscrowWrap
from strongroom.ids import new_id
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.shares import BadShare, Ceremony, Share
from strongroom.storage import Act
from tenants import records as tenant_records
from tenants.models import Tenant
from web.upkeep import all_tenants

OPEN_SECONDS = 120.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    shares: int
    threshold: int
    folder: Path  # empty, or not there yet
    replace: bool = False


@dataclass(frozen=True)
class Made:
    """What came of it."""

    key: UUID
    files: tuple[Path, ...]
    covered: int  # secrets that were sealed to it
    failed: tuple[str, ...]  # tenants whose secrets do not open


@dataclass(frozen=True)
class Drilled:
    """What the shares opened."""

    key: UUID
    tenant: str
    region: str
    repository: UUID
    snapshots: int


def create(runtime: Runtime, wanted: Wanted, *, by: Actor) -> Made:
    """Make the key, write the shares, then keep the public half: a crash in between leaves shares of
    a key that nothing is sealed to, never a key whose shares nobody has.

    Raises BadValue for numbers or a folder that cannot be used, Refused when there is a key.
    """
    signer = records.Signer.from_text(runtime.settings.record_key)
    private = sealed_boxes.new_private()
    words = shares.split(private, shares=wanted.shares, threshold=wanted.threshold)
    key = EscrowKey(
        id=new_id(),
        public=sealed_boxes.public_of(private),
        threshold=wanted.threshold,
        shares=wanted.shares,
        made_at=runtime.now(),
    )
    del private
    with runtime.database.session(Role.OPERATOR) as session:
        escrow.introduce(session, key, replace=wanted.replace, now=runtime.now())
        stands = Ceremony(str(key.id), signer.public, wanted.threshold, key.made_at)
        files = _write(wanted.folder, words, stands)
        said = {"shares": wanted.shares, "threshold": wanted.threshold}
        deed = Deed("escrow-keys.made", "escrow_keys", key.id, details=said)
        entries.note(session, deed, by=by, at=runtime.now())
    covered, failed = _seal_all(runtime)
    return Made(key.id, files, covered, failed)


def drill(runtime: Runtime, files: Sequence[Path], *, slug: str | None, by: Actor) -> Drilled:
    """Open one repository with what the shares give back and nothing else, in a clean folder.

    Raises BadShare, BoxClosed, NotFound, or what restic met.
    """
    private = shares.combine([read_share(file) for file in files])
    public = sealed_boxes.public_of(private)
    with runtime.database.session(Role.OPERATOR) as session:
        key = session.execute(
            select(EscrowKey).where(EscrowKey.public == public)
        ).scalar_one_or_none()
        if key is None:
            raise BadShare("These shares open a key that this platform does not know.")
        wrap, row, region, tenant = _one(session, key, slug)
    context = replace(repositories.password_context(row), generation=wrap.generation)
    secret = escrow.unseal(private, wrap.sealed, context)
    site = repositories.Site(runtime, row, region, MachinePassword(secret))
    with tempfile.TemporaryDirectory(prefix="strongroom-drill-") as clean:
        here = Surroundings(Path(clean), timeout=OPEN_SECONDS, restic=runtime.settings.restic)
        opened = replace(site.restic(Act.READ), cache=Path(clean) / "cache")
        listed = commands.snapshots(opened, here)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        deed = Deed("escrow-keys.drilled", "escrow_keys", key.id, row.id)
        entries.note(session, deed, by=by, at=runtime.now())
    return Drilled(key.id, tenant.slug, region.name, row.id, len(listed))


def read_share(file: Path) -> Share:
    """Raises BadShare for a file that holds none; what it holds is never repeated."""
    try:
        return shares.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise BadShare(f"{file} cannot be read as a share.") from None


def dumps(session: Session) -> list[dict[str, Any]]:
    """Every dump that still lies somewhere, the newest first."""
    rows = session.execute(
        select(ControlDump, Region.name)
        .join(Region, Region.id == ControlDump.region_id)
        .where(ControlDump.removed_at.is_(None))
        .order_by(ControlDump.made_at.desc(), Region.name)
    )
    return [
        {
            "region": row.name,
            "key": row.ControlDump.key,
            "bytes": row.ControlDump.bytes,
            "sha256": row.ControlDump.sha256,
            "made_at": row.ControlDump.made_at,
            "expires_at": row.ControlDump.expires_at,
            "whole": row.ControlDump.version_id is not None,
        }
        for row in rows
    ]


def _seal_all(runtime: Runtime) -> tuple[int, tuple[str, ...]]:
    """Wraps first, for every tenant; then records and the platform's own, which carry them."""
    covered, failed = 0, []
    with runtime.database.session(Role.OPERATOR) as session:
        tenants = all_tenants(session)
    for tenant in tenants:
        try:
            with runtime.database.session(Role.WORKER, tenant=tenant) as session:
                covered += escrow.complete(session, runtime.vault, tenant, now=runtime.now())
        except StrongroomError as error:
            log.error("secrets could not be sealed", tenant=str(tenant), error=error.message)
            failed.append(str(tenant))
    platform_records.keep(runtime)
    for tenant in tenants:
        try:
            tenant_records.refresh(runtime, tenant)
        except StrongroomError as error:  # a region is away: upkeep does it when it is back
            log.warning("records wait", tenant=str(tenant), error=error.message)
    return covered, tuple(failed)


def _one(
    session: Session, key: EscrowKey, slug: str | None
) -> tuple[EscrowWrap, Repository, Region, Tenant]:
    """A repository to try, another one each time."""
    wanted = (
        select(EscrowWrap, Repository, Region, Tenant)
        .join(Repository, Repository.id == EscrowWrap.subject_id)
        .join(Region, Region.id == Repository.region_id)
        .join(Tenant, Tenant.id == EscrowWrap.tenant_id)
        .where(EscrowWrap.key_id == key.id, Repository.key_hint.is_not(None))
        .order_by(EscrowWrap.generation.desc())
    )
    if slug is not None:
        wanted = wanted.where(Tenant.slug == slug)
    rows = session.execute(wanted).all()
    if not rows:
        raise NotFound(
            "No repository is sealed to this key yet. Make a backup first, or see "
            "`strongroom escrow status`."
        )
    row = rows[int.from_bytes(os.urandom(4), "big") % len(rows)]
    return row.EscrowWrap, row.Repository, row.Region, row.Tenant


def _write(folder: Path, words: Sequence[str], ceremony: Ceremony) -> tuple[Path, ...]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadValue(
                f"{folder} is not empty. Name a folder that is, or is not there yet.",
                code="folder-not-empty",
            )
        return tuple(
            _private(
                folder / f"share-{number}-of-{len(words)}.txt",
                shares.text_of(line, number, len(words), ceremony),
            )
            for number, line in enumerate(words, 1)
        )
    except OSError as error:
        raise BadValue(
            f"Nothing can be written in {folder}: {error.strerror}. Name another folder.",
            code="folder-closed",
        ) from error


def _private(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path
