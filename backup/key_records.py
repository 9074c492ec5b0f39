"""Signed records beside each repository: with one, and the key that opens it, all can be read again.

    t/<tenant>/k/<repository>.json   its wrapped password, escrow wraps, key hint, polynomial
    t/<tenant>/k/tenant.json         who the tenant is (written by the part that knows)

Outside of restic's layout, so that restic never sees them; deletable, never locked. A record that is
not what we wrote last, or older, is put before a person and written anew on top. `refresh` writes
what is missing or out of date and may be called at any time, as often as one likes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import findings
from backup.findings import Sight
from backup.models import Repository
from backup.record_rows import KeyRecord
from backup.repositories import PASSWORD
from backup.states import SHUT, RepositoryState
from strongroom import envelopes, escrow, reaching, records
from strongroom.control_dumps import delete_wholly
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.ids import new_id
from strongroom.keys import Wrapped
from strongroom.records import Forged, NoRecordKey, RecordRefused, Signer
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret
from strongroom.storage import Act, Missing, Store

KIND = "repository"
REFUSED = "record-refused"
OLD = "record-old"
ASIDE = (RepositoryState.COMING, RepositoryState.RETIRED)  # it opens, and does not count
VOLATILE = frozenset({"serial", "made_at"})  # what does not make a record out of date

Body = Mapping[str, Any]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A record as it should lie in a region."""

    region: Region
    subject: UUID  # repository, or the tenant for its own
    body: Body  # without serial and made_at
    repository: UUID | None = None


@dataclass(frozen=True)
class Look:
    """What was found in its place."""

    body: Body | None = None  # None: nothing, or nothing to believe
    refused: str | None = None  # why not
    code: str = REFUSED
    params: Mapping[str, Any] = field(default_factory=dict)


def refresh(runtime: Runtime, tenant: UUID, repository: UUID | None = None) -> int:
    """Write the records of one repository, or all of the tenant's, that are missing or out of date.

    Gives how many were written. Raises NoRecordKey, or the StorageError of the last region that was
    away, once the others are done.
    """
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        escrow.complete(session, runtime.vault, tenant, now=runtime.now())
        wanted = [
            Wanted(region, row.id, _body(session, row, region), row.id)
            for row, region in _that_open(session, tenant)
            if repository in (None, row.id)
        ]
    return keep(runtime, tenant, wanted)


def _that_open(session: Session, tenant: UUID) -> Sequence[tuple[Repository, Region]]:
    """Those that were made and still open, of whatever epoch."""
    rows = session.execute(
        select(Repository, Region)
        .join(Region, Region.id == Repository.region_id)
        .where(
            Repository.tenant_id == tenant,
            Repository.key_hint.is_not(None),
            Repository.state.not_in(SHUT),
        )
        .order_by(Region.rank, Region.name, Repository.epoch)
    )
    return [(row.Repository, row.Region) for row in rows]


def renew(runtime: Runtime, tenant: UUID, repository: UUID | None = None) -> None:
    """As `refresh`, before something old stops opening; a platform without a record key has none."""
    try:
        refresh(runtime, tenant, repository)
    except NoRecordKey as error:
        log.warning("there are no records to renew", tenant=str(tenant), error=error.message)


def keep(runtime: Runtime, tenant: UUID, wanted: Collection[Wanted]) -> int:
    """See that each of these records lies where it should; gives how many were written."""
    signer = Signer.from_text(runtime.settings.record_key)
    written, problem = 0, None
    for each in wanted:
        try:
            written += _keep(runtime, tenant, each, signer)
        except StrongroomError as error:
            log.warning("a record was not kept", region=each.region.name, error=error.message)
            problem = error
    if problem is not None:
        raise problem
    return written


def remove(runtime: Runtime, region: Region, tenant: UUID, subject: UUID) -> None:
    """Every version of a record, for good. Raises Incomplete when one stays."""
    prefix = prefix_of(tenant)
    store = reaching.store(runtime.settings, region, prefix=prefix, act=Act.SWEEP)
    delete_wholly(store, [key_of(tenant, subject)])


def forget(session: Session, tenant: UUID, subject: UUID) -> None:
    """Nobody expects the record any more."""
    session.execute(
        delete(KeyRecord).where(KeyRecord.tenant_id == tenant, KeyRecord.subject_id == subject)
    )


def prefix_of(tenant: UUID) -> str:
    return f"t/{tenant}/k/"


def key_of(tenant: UUID, subject: UUID) -> str:
    return f"{prefix_of(tenant)}{'tenant' if subject == tenant else subject}.json"


def read(
    store: Store, tenant: UUID, subject: UUID, *, kind: str, trusted: Collection[str]
) -> dict[str, Any]:
    """A record of this tenant. Raises Missing, or RecordRefused for what is another's or not ours."""
    body = records.read(store.get(key_of(tenant, subject)), kind=kind, trusted=trusted)
    named = {"tenant": str(tenant), "subject": str(subject), "region": store.region.name}
    for name, value in named.items():
        if body.get(name) != value:
            raise Forged(
                f"The record {key_of(tenant, subject)} in region {store.region.name} is of another "
                f"{name}: somebody put it there."
            )
    if not isinstance(body.get("serial"), int):
        raise records.Malformed("A record without a serial number.")
    return body


def password_of(body: Body) -> Wrapped:
    """The wrapped password in a repository's record. Raises Malformed."""
    try:
        return envelopes.from_json(body["secret"])
    except (KeyError, ValueError, TypeError):
        raise records.Malformed("A record of a repository without a wrapped password.") from None


def secret_json(session: Session, tenant: UUID, subject: UUID, purpose: str) -> dict[str, Any]:
    """A secret in use, as a record carries it: wrapped as in its row, with its escrow wraps."""
    row = session.execute(
        select(Secret)
        .where(
            Secret.tenant_id == tenant,
            Secret.subject_id == subject,
            Secret.purpose == purpose,
            Secret.pending.is_(False),
        )
        .order_by(Secret.generation.desc())
        .limit(1)
    ).scalar_one_or_none()
    if row is None:
        return {}
    wrapped = Wrapped(
        row.provider, row.key_id, row.key_version, row.algorithm, row.nonce, row.ciphertext
    )
    wraps = [
        {"escrow": str(each.key_id), "sealed": envelopes.text(each.sealed)}
        for each in escrow.of_subject(session, tenant, subject)
        if each.generation == row.generation
    ]
    return {
        "purpose": purpose,
        "generation": row.generation,
        "secret": envelopes.to_json(wrapped),
        "escrow": sorted(wraps, key=lambda each: each["escrow"]),
    }


def _body(session: Session, row: Repository, region: Region) -> Body:
    return {
        "kind": KIND,
        "tenant": str(row.tenant_id),
        "subject": str(row.id),
        "region": region.name,
        "prefix": row.prefix,
        "epoch": row.epoch,
        "key_hint": row.key_hint,
        "polynomial": row.polynomial,
        "created_at": row.created_at.isoformat(),
        **({"standing": str(row.state)} if row.state in ASIDE else {}),
        **secret_json(session, row.tenant_id, row.id, PASSWORD),
    }


def _keep(runtime: Runtime, tenant: UUID, wanted: Wanted, signer: Signer) -> int:
    known = _known(runtime, tenant, wanted)
    prefix = prefix_of(tenant)
    store = reaching.store(runtime.settings, wanted.region, prefix=prefix, act=Act.RECORD)
    look = _look(store, tenant, wanted, known, signer)
    now = runtime.now()
    if look.refused is not None:
        with runtime.database.session(Role.WORKER, tenant=tenant) as session:
            findings.see(session, tenant, _sight(tenant, wanted, look), now=now)
    if look.body is not None and _same(look.body, wanted.body):
        _note(runtime, tenant, wanted, serial=look.body["serial"])
        return 0
    before = [known.serial if known else 0, look.body["serial"] if look.body else 0]
    body = {**wanted.body, "serial": max(before) + 1, "made_at": now.isoformat()}
    data = signer.sign(body)
    store.put(key_of(tenant, wanted.subject), data)
    _note(runtime, tenant, wanted, serial=body["serial"], sha256=hashlib.sha256(data).hexdigest())
    if look.refused is None:  # else what lay there stays beneath, for who looks into it
        _sweep_older(runtime, tenant, wanted)
    return 1


def _known(runtime: Runtime, tenant: UUID, wanted: Wanted) -> KeyRecord | None:
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        return session.execute(
            select(KeyRecord).where(
                KeyRecord.tenant_id == tenant,
                KeyRecord.region_id == wanted.region.id,
                KeyRecord.subject_id == wanted.subject,
            )
        ).scalar_one_or_none()


def _look(
    store: Store, tenant: UUID, wanted: Wanted, known: KeyRecord | None, signer: Signer
) -> Look:
    try:
        body = read(
            store, tenant, wanted.subject, kind=wanted.body["kind"], trusted=[signer.public]
        )
    except Missing:
        return Look()
    except RecordRefused as error:
        return Look(refused=error.message, params={"why": error.code})
    if known is not None and body["serial"] < known.serial:
        params = {"found": body["serial"], "known": known.serial}
        return Look(refused="an older record was put in its place", code=OLD, params=params)
    return Look(body=body)


def _same(found: Body, wanted: Body) -> bool:
    """Whether both say the same, whenever they said it. Pure."""
    return {k: v for k, v in found.items() if k not in VOLATILE} == dict(wanted)


def _sight(tenant: UUID, wanted: Wanted, look: Look) -> Sight:
    return Sight(
        code=look.code,
        subject=f"{wanted.region.name}:{key_of(tenant, wanted.subject)}",
        params={"region": wanted.region.name, "found": look.refused, **look.params},
        repository=wanted.repository,
    )


def _note(
    runtime: Runtime, tenant: UUID, wanted: Wanted, *, serial: int, sha256: str | None = None
) -> None:
    """It lies there as it should; with a hash: as it was just written."""
    now = runtime.now()
    values: dict[str, Any] = {"serial": serial, "checked_at": now}
    written = {"sha256": sha256 or "", "written_at": now}
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        session.execute(
            insert(KeyRecord)
            .values(
                id=new_id(),
                tenant_id=tenant,
                region_id=wanted.region.id,
                subject_id=wanted.subject,
                **values,
                **written,
            )
            .on_conflict_do_update(
                index_elements=["tenant_id", "region_id", "subject_id"],
                set_=values | (written if sha256 else {}),
            )
        )


def _sweep_older(runtime: Runtime, tenant: UUID, wanted: Wanted) -> None:
    """An older version holds the password as it was wrapped before: it goes for good."""
    sweeper = reaching.store(
        runtime.settings, wanted.region, prefix=prefix_of(tenant), act=Act.SWEEP
    )
    key = key_of(tenant, wanted.subject)
    older = [each for each in sweeper.versions(key) if each.key == key and not each.latest]
    sweeper.delete_versions([(each.key, each.version_id) for each in older])
