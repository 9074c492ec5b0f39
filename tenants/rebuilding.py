"""Tenants and repositories out of their signed records: those that no row knows any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import epochs, places, planning
from backup import policy as policies
from backup.models import AllowedPlace, Policy, Repository, Source
from backup.repositories import UNMADE, password_context
from backup.states import PlaceKind, RepositoryState
from strongroom import rescue
from strongroom.actors import Actor
from strongroom.envelopes import Opener
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, advance, record
from strongroom.records import Malformed
from strongroom.rescue import Opened
from strongroom.secrets_at_rest import Secret, Vault
from tenants.models import PlanVersion, Tenant
from tenants.records import COLUMNS

Body = Mapping[str, Any]
# What a record says of an epoch that does not count.
STANDING = {
    "coming": RepositoryState.COMING,
    "retired": RepositoryState.RETIRED,
}


@dataclass(frozen=True)
class Tools:
    """What a rebuilding works with."""

    vault: Vault
    opener: Opener
    counted: Opened
    by: Actor
    now: datetime
    regions: Mapping[str, UUID] = field(default_factory=dict)


def tenant(session: Session, body: Body, tools: Tools) -> bool:
    """The tenant, unless a row knows it, and its sources that none knows. True if it is new.

    Bound to the tenant. Raises Malformed for a record that lacks something.
    """
    try:
        known = session.get(Tenant, UUID(body["tenant"]))
        if known is None:
            _tenant(session, body, tools)
        _places(session, UUID(body["tenant"]), body["places"], now=tools.now)
        _sources(session, UUID(body["tenant"]), body["sources"], tools)
    except (KeyError, ValueError, TypeError) as error:
        raise Malformed(
            f"The record of a tenant lacks what it should say ({type(error).__name__})."
        ) from None
    return known is None


def repository(session: Session, body: Body, tools: Tools) -> bool:
    """The repository, unless a row knows it; its password too where the record has a newer one.

    True if the repository is new. Raises Malformed.
    """
    try:
        tenant_id, repository_id = UUID(body["tenant"]), UUID(body["subject"])
        row = session.get(Repository, repository_id)
        new = row is None
        if row is None:
            row = _repository(session, body, tools)
        elif row.key_hint is None and row.state in UNMADE:  # founded since
            _founded(session, row, body, tools)
        _stand(session, row, body.get("standing"), tools)
        if new or _generation(session, tenant_id, repository_id) < int(body["generation"]):
            row.key_hint = body["key_hint"]
            take = (password_context(row), body, tools.opener, tools.counted)
            rescue.take(session, tools.vault, *take, now=tools.now)
    except (KeyError, ValueError, TypeError) as error:
        raise Malformed(
            f"The record of a repository lacks what it should say ({type(error).__name__})."
        ) from None
    return new


def settle_epochs(session: Session, tenant_id: UUID, tools: Tools) -> int:
    """Where the rows and the records name several epochs of a region, the latest counts.

    The rows may be of the day before a switch, and what they name may be gone: copies wait until
    they are found again in the epoch that counts. Gives how many epochs were left.
    """
    rows = session.execute(
        select(Repository)
        .where(Repository.tenant_id == tenant_id, Repository.counts())
        .order_by(Repository.epoch)
    ).scalars()
    latest: dict[UUID, Repository] = {}
    left = 0
    for row in rows.all():
        before = latest.get(row.region_id)
        if before is not None:
            epochs.leave(session, before, row, by=tools.by, now=tools.now)
            left += 1
        latest[row.region_id] = row
    return left


def _stand(session: Session, row: Repository, standing: str | None, tools: Tools) -> None:
    """The record was written after the row where it says that the epoch counts, or was left."""
    move = Move(by=tools.by, at=tools.now, reason=Reason("recovered"))
    if row.state is RepositoryState.COMING and standing is None:
        advance(session, row, RepositoryState.READY, move)


def _tenant(session: Session, body: Body, tools: Tools) -> None:
    plan = _plan(session, body["plan"], now=tools.now)
    said = body["policy"]
    policies.from_json(said["body"])
    tenant_id = UUID(body["tenant"])
    session.add(
        Tenant(
            id=tenant_id,
            plan_version_id=plan.id,
            created_at=datetime.fromisoformat(body["created_at"]),
            canary=bool(body.get("canary")),
            **{name: body.get(name) for name in COLUMNS},
        )
    )
    session.flush()
    policy = Policy(
        id=new_id(),
        tenant_id=tenant_id,
        version=said["version"],
        body=said["body"],
        zone=said["zone"],
        cites=said["cites"],
        made_at=tools.now,
    )
    session.add(policy)
    session.flush()
    planning.begin_schedules(session, policy, now=tools.now)


def _plan(session: Session, said: Body, *, now: datetime) -> PlanVersion:
    known = session.execute(
        select(PlanVersion).where(
            PlanVersion.code == said["code"], PlanVersion.version == said["version"]
        )
    ).scalar_one_or_none()
    if known is not None:
        return known
    policies.from_json(said["body"])
    plan = PlanVersion(
        id=new_id(),
        code=said["code"],
        version=said["version"],
        name=said["name"],
        body=said["body"],
        made_at=now,
    )
    session.add(plan)
    session.flush()
    return plan


def _places(
    session: Session, tenant_id: UUID, said: Sequence[Mapping[str, str]], *, now: datetime
) -> None:
    rows = session.execute(
        select(AllowedPlace).where(AllowedPlace.tenant_id == tenant_id)
    ).scalars()
    known = {(row.kind, row.value) for row in rows}
    for each in said:
        kind = PlaceKind(each["kind"])
        if (kind, each["value"]) not in known:
            session.add(
                AllowedPlace(
                    id=new_id(),
                    tenant_id=tenant_id,
                    kind=kind,
                    value=each["value"],
                    added_by=each["added_by"],
                    added_at=now,
                )
            )


def _sources(
    session: Session, tenant_id: UUID, said: Sequence[Mapping[str, Any]], tools: Tools
) -> None:
    for each in said:
        source_id = UUID(each["id"])
        if session.get(Source, source_id) is not None:
            continue
        removed = each["removed_at"]
        session.add(
            Source(
                id=source_id,
                tenant_id=tenant_id,
                kind=each["kind"],
                name=each["name"],
                options=each["options"],
                ceiling_days=each["ceiling_days"],
                transit=bool(each.get("transit", False)),
                added_at=datetime.fromisoformat(each["added_at"]),
                removed_at=None if removed is None else datetime.fromisoformat(removed),
            )
        )
        session.flush()
        if each.get("secret"):
            take = (
                places.password_context(tenant_id, source_id),
                each,
                tools.opener,
                tools.counted,
            )
            rescue.take(session, tools.vault, *take, now=tools.now)


def _repository(session: Session, body: Body, tools: Tools) -> Repository:
    tenant_id, repository_id = UUID(body["tenant"]), UUID(body["subject"])
    if body["prefix"] != f"t/{tenant_id}/r/{repository_id}/":
        raise Malformed("The record of a repository names a prefix that is not its own.")
    row = Repository(
        id=repository_id,
        tenant_id=tenant_id,
        region_id=tools.regions[body["region"]],
        epoch=int(body["epoch"]),
        prefix=body["prefix"],
        state=STANDING.get(body.get("standing", ""), RepositoryState.READY),
        key_hint=body["key_hint"],
        polynomial=body["polynomial"],
        unclean=True,
        created_at=datetime.fromisoformat(body["created_at"]),
    )
    session.add(row)
    session.flush()
    move = Move(by=tools.by, at=tools.now, reason=Reason("recovered"))
    record(session, row, old="", move=move)
    return row


def _founded(session: Session, row: Repository, body: Body, tools: Tools) -> None:
    values = {"key_hint": body["key_hint"], "polynomial": body["polynomial"]}
    if row.state is RepositoryState.COMING:
        row.key_hint, row.polynomial = body["key_hint"], body["polynomial"]
        return
    move = Move(by=tools.by, at=tools.now, reason=Reason("recovered"), values=values)
    advance(session, row, RepositoryState.READY, move)


def _generation(session: Session, tenant_id: UUID, repository_id: UUID) -> int:
    """Of the password in use; 0 when there is none."""
    found = session.execute(
        select(Secret.generation).where(
            Secret.tenant_id == tenant_id,
            Secret.subject_id == repository_id,
            Secret.pending.is_(False),
        )
    ).scalar_one_or_none()
    return found or 0
